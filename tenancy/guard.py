"""The start-up check: the service does not serve on a database that would let a wrong handler out of its workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrations.control.tables import metadata
from tenancy.errors import TenancyError
from tenancy.roles import APP_SETTINGS, CONTROL_ROLES, RESTING, SET_CONFIG, STRICT, stored_settings
from tenancy.withheld import WITHHELD

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

_CONTROL_TABLES = ", ".join(f"'{name}'" for name in metadata.tables)
_WITHHELD = ", ".join(f"to_regprocedure('{function}')" for function in (SET_CONFIG, *WITHHELD))

# The workspaces' roles, by what the login is a member of and not by their names: where the server's statistics know of
# few roles and there are thousands, a search for names would read all of them for each one.
_ENTERED = """
    SELECT m.roleid AS oid, pg_get_userbyid(m.roleid) AS rolname
    FROM pg_auth_members m
    WHERE m.member = session_user::regrole AND pg_get_userbyid(m.roleid) ~ '^w_[a-z0-9]+$'
"""

_CALLERS = ", ".join(f"'{role}'" for role in CONTROL_ROLES)
# The last revision of control drops it.
_IS_CONTRACTED = "to_regprocedure('control.read_password(bigint, bigint)') IS NULL"
# What a role's sessions begin with, in all databases and then in single ones.
_SETTINGS_OF = """
    SELECT r.oid AS role, string_agg(one, ', ' ORDER BY s.setdatabase, one) AS settings
    FROM pg_roles r
    LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid
    LEFT JOIN LATERAL unnest(s.setconfig) AS one ON true
    GROUP BY r.oid
"""


def _list(settings: Mapping[str, str]) -> str:
    return ", ".join(stored_settings(settings))


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
    f"""
    SELECT format('the login %I is a member of %I%s', session_user, r.rolname,
        CASE WHEN m.inherit_option THEN ' and inherits its rights'
             WHEN m.admin_option THEN ' and may grant it' ELSE ', which is no workspace' END)
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE m.member = session_user::regrole AND (m.inherit_option OR m.admin_option
        OR (r.rolname !~ '^w_[a-z0-9]+$' AND r.rolname NOT IN ({_CALLERS})))
    """,
    # What the login enters to call functions of control
    f"""
    SELECT format('the role %I %s', r.rolname, weakness)
    FROM pg_roles r
    CROSS JOIN LATERAL (VALUES
        (r.rolcanlogin, 'may log in'),
        (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication, 'has special powers'),
        (EXISTS (SELECT FROM pg_auth_members up WHERE up.member = r.oid), 'is a member of another role'),
        (EXISTS (SELECT FROM pg_shdepend d
                 WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                     AND (d.deptype = 'o' OR d.classid NOT IN ('pg_proc'::regclass, 'pg_namespace'::regclass))),
            'may do more than call functions')
    ) AS found (present, weakness)
    WHERE r.rolname IN ({_CALLERS}) AND present
    """,
    # While the release before serves, the login still calls what that calls.
    f"""
    SELECT DISTINCT format('the login %I may call %s by itself', session_user,
        CASE WHEN p.pronamespace = 'pg_catalog'::regnamespace THEN p.proname ELSE 'functions of control' END)
    FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) AS acl
    WHERE acl.grantee = session_user::regrole AND (p.oid = to_regprocedure('{SET_CONFIG}')
            OR (p.pronamespace = to_regnamespace('control') AND p.proname <> 'confirm_key'))
        AND {_IS_CONTRACTED}
    """,
    f"""
    SELECT format('the login %I does not rest as it should: its settings are %s', session_user, found.settings)
    FROM ({_SETTINGS_OF}) AS found
    WHERE found.role = session_user::regrole AND found.settings IS DISTINCT FROM '{_list(APP_SETTINGS)}'
        AND {_IS_CONTRACTED}
    """,
    f"""
    SELECT format('the workspace role %I does not rest as it should: its settings are %s', e.rolname, found.settings)
    FROM ({_ENTERED}) AS e JOIN ({_SETTINGS_OF}) AS found ON found.role = e.oid
    WHERE found.settings IS DISTINCT FROM '{_list(RESTING)}'
    LIMIT 10
    """,
    # What nobody may do in a workspace; where everybody may, no single role is named.
    f"""
    SELECT DISTINCT ON (weakness)
        CASE who WHEN 'public' THEN 'everybody' ELSE format('the workspace role %I', who) END || ' ' || weakness
    FROM (SELECT 'public' AS who
          UNION ALL
          SELECT rolname FROM ({_ENTERED}) AS entered) AS asked
    CROSS JOIN LATERAL (VALUES
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
    # What it may call, from the functions' own lists: to ask for each role and function would take long with many.
    f"""
    SELECT CASE acl.grantee WHEN 0 THEN 'everybody' ELSE format('the workspace role %I', min(entered.rolname)) END
        || ' may call ' || string_agg(DISTINCT format('pg_catalog.%I', p.proname), ', ')
    FROM pg_proc p
    CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS acl
    LEFT JOIN ({_ENTERED}) AS entered ON entered.oid = acl.grantee
    WHERE p.oid IN ({_WITHHELD}) AND (acl.grantee = 0 OR entered.oid IS NOT NULL)
    GROUP BY acl.grantee
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
    FROM ({_ENTERED}) AS entered
    JOIN pg_roles r USING (oid)
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
            'owns objects')
    ) AS found (present, weakness)
    WHERE present
    """,
    """
    SELECT DISTINCT format('the workspace role %I reaches another schema', pg_get_userbyid(acl.grantee))
    FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl
    WHERE acl.grantee <> 0 AND pg_get_userbyid(acl.grantee) ~ '^w_[a-z0-9]+$'
        AND nspname NOT IN (pg_get_userbyid(acl.grantee), 'public', 'control')
        AND pg_has_role(session_user, acl.grantee, 'MEMBER')
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


async def is_held(connection: asyncpg.Connection) -> bool:
    """Return whether the login still has the rights of the release before, until a migration finds that gone."""
    return not await connection.fetchval(f"SELECT {_IS_CONTRACTED}")


async def require_isolation(connection: asyncpg.Connection) -> None:
    """Raise TenancyError, naming the weaknesses, unless the database isolates the workspaces."""
    if found := await weaknesses(connection):
        raise TenancyError(
            f"The database does not isolate the workspaces: {'; '.join(found)}. Run: testorchestrator migrate"
        )
