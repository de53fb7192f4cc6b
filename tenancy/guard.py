"""The start-up check: the service does not serve on a database that would let a wrong handler out of its workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrations.control.tables import metadata
from tenancy.errors import TenancyError
from tenancy.roles import SET_CONFIG, STRICT, WITHHELD

if TYPE_CHECKING:
    import asyncpg

_CONTROL_TABLES = ", ".join(f"'{name}'" for name in metadata.tables)
_WITHHELD = ", ".join(
    f"(has_function_privilege(who, '{function}', 'EXECUTE'), 'may call {function.partition('(')[0]}')"
    for function in (SET_CONFIG, *WITHHELD)
)

# Each query returns one text per weakness that it finds, as seen by the service's own login.
_CHECKS = (
    "SELECT 'there is no schema control' WHERE to_regnamespace('control') IS NULL",
    # The login itself
    """
    SELECT format('the login %I is %s', rolname, weakness)
    FROM pg_roles,
        LATERAL (VALUES
            (rolsuper, 'a superuser'), (rolbypassrls, 'exempt from row security'),
            (rolcreaterole, 'able to make roles'),
            (rolcreatedb, 'able to make databases'), (rolreplication, 'able to replicate'),
            (rolinherit, 'an inheriting role')
        ) AS found (present, weakness)
    WHERE rolname = session_user AND present
    """,
    """
    SELECT format('the login %I owns objects', session_user)
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = session_user::regrole AND deptype = 'o'
    LIMIT 1
    """,
    # By its own name anywhere, or as one of everybody on the tables of the control plane
    f"""
    SELECT format('the login %I has rights on a table', rolname)
    FROM pg_roles r
    WHERE rolname = session_user AND NOT rolsuper AND (
        EXISTS (SELECT FROM pg_shdepend
                WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid AND deptype = 'a'
                    AND classid = 'pg_class'::regclass)
        OR EXISTS (SELECT FROM unnest(ARRAY[{_CONTROL_TABLES}]) AS name
                   WHERE has_any_column_privilege(r.oid, to_regclass(name)::oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                       OR has_table_privilege(r.oid, to_regclass(name)::oid, 'DELETE, TRUNCATE, TRIGGER')))
    """,
    """
    SELECT format('the login %I is a member of %I%s', session_user, r.rolname,
        CASE WHEN m.inherit_option THEN ' and inherits its rights'
             WHEN m.admin_option THEN ' and may grant it' ELSE ', which is no workspace' END)
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE m.member = session_user::regrole AND (m.inherit_option OR m.admin_option OR r.rolname !~ '^w_[a-z0-9]+$')
    """,
    # What nobody may do in a workspace; where everybody may, no single role is named.
    f"""
    SELECT DISTINCT ON (weakness)
        CASE who WHEN 'public' THEN 'everybody' ELSE format('the workspace role %I', who) END || ' ' || weakness
    FROM (SELECT 'public' AS who
          UNION ALL
          SELECT r.rolname
          FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
          WHERE m.member = session_user::regrole AND r.rolname ~ '^w_[a-z0-9]+$') AS asked
    CROSS JOIN LATERAL (VALUES
        {_WITHHELD},
        (EXISTS (SELECT FROM pg_language l
                 WHERE l.lanpltrusted AND l.lanname <> 'sql' AND has_language_privilege(who, l.oid, 'USAGE')),
            'may run blocks in a procedural language'),
        (has_database_privilege(who, current_database(), 'TEMPORARY'), 'may make temporary tables'),
        (has_database_privilege(who, current_database(), 'CREATE'), 'may make schemas'),
        (has_schema_privilege(who, to_regnamespace('public')::oid, 'USAGE, CREATE'), 'may use the schema public'),
        (has_schema_privilege(who, to_regnamespace('control')::oid, 'USAGE, CREATE'), 'may use the schema control')
    ) AS found (present, weakness)
    WHERE present
    ORDER BY weakness, who <> 'public'
    """,
    # What the workspaces' roles are members of in strict mode
    f"""
    SELECT 'the role {STRICT} may do more than connect'
    FROM pg_roles r
    WHERE r.rolname = '{STRICT}' AND (
        r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolcanlogin
        OR EXISTS (SELECT FROM pg_auth_members up WHERE up.member = r.oid)
        OR EXISTS (SELECT FROM pg_shdepend d
                   WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                       AND d.classid <> 'pg_database'::regclass))
    """,
    # The workspaces' roles
    f"""
    SELECT format('the workspace role %I %s', r.rolname, weakness)
    FROM pg_auth_members m
    JOIN pg_roles r ON r.oid = m.roleid
    CROSS JOIN LATERAL (VALUES
        (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication, 'has special powers'),
        -- In strict mode it may, and where Citus asks other servers as this role.
        (r.rolcanlogin AND to_regnamespace(r.rolname::text) IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_auth_members s WHERE s.member = r.oid AND s.roleid = to_regrole('{STRICT}'))
            AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'), 'may log in'),
        (EXISTS (SELECT FROM pg_auth_members up
                 WHERE up.member = r.oid AND (up.roleid <> to_regrole('{STRICT}') OR up.set_option OR up.admin_option)),
            'is a member of another role'),
        (EXISTS (SELECT FROM pg_shdepend d
                 WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'),
            'owns objects'),
        (EXISTS (SELECT FROM pg_shdepend d JOIN pg_namespace n ON n.oid = d.objid
                 WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                     AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND d.classid = 'pg_namespace'::regclass AND n.nspname NOT IN (r.rolname, 'public', 'control')),
            'reaches another schema')
    ) AS found (present, weakness)
    WHERE m.member = session_user::regrole AND r.rolname ~ '^w_[a-z0-9]+$' AND present
    """,
    """
    SELECT format('everybody may use the schema %I', nspname)
    FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl
    WHERE nspname ~ '^w_[a-z0-9]+$' AND acl.grantee = 0
    """,
)


async def weaknesses(connection: asyncpg.Connection) -> list[str]:
    """Return what is weaker in the database than the service relies on; *connection* is the service's own login."""
    return [row[0] for check in _CHECKS for row in await connection.fetch(check)]


async def require_isolation(connection: asyncpg.Connection) -> None:
    """Raise TenancyError, naming the weaknesses, unless the database isolates the workspaces."""
    if found := await weaknesses(connection):
        raise TenancyError(
            f"The database does not isolate the workspaces: {'; '.join(found)}. Run: testorchestrator migrate"
        )
