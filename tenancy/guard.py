"""The start-up check: the service does not serve on a database that would let a wrong handler out of its workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    import asyncpg

# Each query returns one text per weakness that it finds, as seen by the service's own login.
_CHECKS = (
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
    """
    SELECT format('the login %I has rights on a table', session_user)
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = session_user::regrole AND deptype = 'a'
        AND classid = 'pg_class'::regclass
    LIMIT 1
    """,
    """
    SELECT format('the login %I is a member of %I%s', session_user, r.rolname,
        CASE WHEN m.inherit_option THEN ' and inherits its rights'
             WHEN m.admin_option THEN ' and may grant it' ELSE ', which is no workspace' END)
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE m.member = session_user::regrole AND (m.inherit_option OR m.admin_option OR r.rolname !~ '^w_[a-z0-9]+$')
    """,
    # What everybody may do
    """
    SELECT weakness
    FROM (VALUES
        (has_function_privilege('public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE'),
            'everybody may call set_config'),
        (has_function_privilege('public', 'pg_catalog.pg_notify(text, text)', 'EXECUTE'),
            'everybody may call pg_notify'),
        (has_language_privilege('public', 'plpgsql', 'USAGE'), 'everybody may run plpgsql blocks'),
        (has_database_privilege('public', current_database(), 'TEMPORARY'), 'everybody may make temporary tables'),
        (has_schema_privilege('public', 'public', 'USAGE, CREATE'), 'everybody may use the schema public'),
        (has_schema_privilege('public', 'control', 'USAGE, CREATE'), 'everybody may use the schema control')
    ) AS found (present, weakness)
    WHERE present
    """,
    # The workspaces' roles
    """
    SELECT format('the workspace role %I %s', r.rolname, weakness)
    FROM pg_auth_members m
    JOIN pg_roles r ON r.oid = m.roleid
    CROSS JOIN LATERAL (VALUES
        (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication, 'has special powers'),
        (EXISTS (SELECT FROM pg_auth_members up WHERE up.member = r.oid), 'is a member of another role'),
        (EXISTS (SELECT FROM pg_shdepend d
                 WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'),
            'owns objects'),
        (EXISTS (SELECT FROM pg_shdepend d JOIN pg_namespace n ON n.oid = d.objid
                 WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                     AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND d.classid = 'pg_namespace'::regclass AND n.nspname <> r.rolname), 'reaches another schema'),
        (has_function_privilege(r.oid, 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE'), 'may call set_config')
    ) AS found (present, weakness)
    WHERE m.member = session_user::regrole AND present
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
