"""The queries of `posture`: what the roles may do, and all that differs from what `roles` and `provision` make.

Each of them asks for all workspaces at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrations.workspace.tables import metadata
from tenancy.roles import (
    APP,
    APP_SETTINGS,
    CONTROL,
    CONTROL_ROLES,
    DRIVER,
    MONITOR,
    OWNER,
    RESTING,
    SET_CONFIG,
    STRICT,
    stored_settings,
)
from tenancy.withheld import PREPARED_STATEMENTS, WITHHELD

if TYPE_CHECKING:
    from collections.abc import Sequence

MIGRATE = "testorchestrator migrate"
RESTORE = "restore the workspace from a backup"
FIXED = (APP, OWNER, CONTROL, *CONTROL_ROLES, STRICT)


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_FUNCTIONS = ", ".join(f"to_regprocedure('{name}')" for name in (SET_CONFIG, *WITHHELD))
_IS_WORKSPACE = "~ '^w_[a-z0-9]+$'"

# The roles that we make, and which workspace of this database each is of. The cluster's other databases may have
# workspaces too; their roles have the same form and no slug here.
_OURS = f"""
    ours AS (
        SELECT r.oid, r.rolname, w.slug,
            CASE WHEN w.slug IS NULL THEN format('the role %I', r.rolname) ELSE 'its role' END AS who
        FROM pg_roles r LEFT JOIN control.workspaces w ON w.schema_name = r.rolname
        WHERE r.rolname IN ({_list(FIXED)}) OR r.rolname {_IS_WORKSPACE}
    ),
    spaces AS (
        SELECT n.oid FROM pg_namespace n
        WHERE n.nspname = 'control' OR n.nspname IN (SELECT schema_name FROM control.workspaces)
    )
"""

ROLES = f"""
SELECT CASE WHEN r.rolname {_IS_WORKSPACE} THEN 'workspaces' ELSE r.rolname::text END AS role, count(*) AS count,
    bool_or(rolcanlogin) AS login, bool_or(rolinherit) AS inherit, bool_or(rolsuper) AS superuser,
    bool_or(rolcreaterole) AS createrole, bool_or(rolcreatedb) AS createdb, bool_or(rolreplication) AS replication,
    bool_or(rolbypassrls) AS bypassrls
FROM pg_roles r
WHERE r.rolname IN ({_list(FIXED)}) OR r.rolname {_IS_WORKSPACE}
GROUP BY 1 ORDER BY 1
"""

MEMBERSHIPS = f"""
SELECT CASE WHEN r.rolname {_IS_WORKSPACE} THEN 'workspaces' ELSE r.rolname::text END AS role,
    m.rolname::text AS member, count(*) AS count,
    a.inherit_option AS inherit, a.set_option AS set, a.admin_option AS admin
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE r.rolname IN ({_list(FIXED)}) OR r.rolname {_IS_WORKSPACE}
    OR m.rolname IN ({_list(FIXED)}) OR m.rolname {_IS_WORKSPACE}
GROUP BY 1, 2, 4, 5, 6 ORDER BY 1, 2
"""

EVERYBODY = """
SELECT on_what, string_agg(acl.privilege_type, ', ' ORDER BY acl.privilege_type) AS may
FROM (
    SELECT 'database ' || datname, coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'schema ' || nspname, nspacl FROM pg_namespace
    UNION ALL
    SELECT 'language ' || lanname, coalesce(lanacl, acldefault('l', lanowner)) FROM pg_language WHERE lanpltrusted
) AS objects (on_what, acl_items)
CROSS JOIN LATERAL aclexplode(acl_items) AS acl
WHERE acl.grantee = 0
GROUP BY on_what ORDER BY on_what
"""

WITHHELD_FUNCTIONS = f"""
SELECT string_agg(name, ', ' ORDER BY name) AS functions, callers
FROM (
    SELECT p.oid::regprocedure::text,
        string_agg(CASE acl.grantee WHEN 0 THEN 'everybody' ELSE acl.grantee::regrole::text END, ', '
            ORDER BY acl.grantee::regrole::text)
    FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS acl
    WHERE p.oid = ANY (ARRAY[{_FUNCTIONS}]::oid[])
    GROUP BY p.oid
) AS withheld (name, callers)
GROUP BY callers ORDER BY callers
"""

PASSWORDS = f"""
SELECT r.rolname::text, r.rolpassword, w.slug
FROM control.workspaces w JOIN pg_authid r ON r.rolname = w.schema_name
WHERE r.rolcanlogin AND EXISTS (
    SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = to_regrole('{STRICT}'))
ORDER BY w.slug
"""

EXTENSIONS = "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname"

SUPERUSERS = """
SELECT r.rolname::text AS role, r.rolcanlogin AS login,
    (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.pid <> pg_backend_pid()
        AND a.backend_type = 'client backend') AS sessions
FROM pg_roles r WHERE r.rolsuper ORDER BY r.rolname
"""

# Each query returns what differs, what mends it, and the workspace that it is in, if it is in one. Citus asks other
# servers as workspaces' roles and their owner: these may log in there, without a password, so that nobody else does.
COMPARISONS = (
    f"""
    WITH {_OURS}
    SELECT format('%s %s', o.who, found.what) AS what,
        CASE o.rolname WHEN '{APP}' THEN '{MIGRATE}' ELSE format('ALTER ROLE %I %s', o.rolname, found.mend) END AS mend,
        o.slug
    FROM ours o JOIN pg_authid r ON r.oid = o.oid
    CROSS JOIN LATERAL (
        SELECT r.rolname = '{OWNER}' OR r.rolname {_IS_WORKSPACE} AS is_asked_as,
            EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS has_citus,
            EXISTS (SELECT FROM pg_auth_members a JOIN pg_roles s ON s.oid = a.roleid AND s.rolname = '{STRICT}'
                    WHERE a.member = r.oid AND r.rolname {_IS_WORKSPACE}) AS is_strict
    ) AS known
    CROSS JOIN LATERAL (VALUES
        (r.rolsuper, 'is a superuser', 'NOSUPERUSER'),
        (r.rolbypassrls, 'is exempt from row security', 'NOBYPASSRLS'),
        (r.rolcreaterole, 'may make roles', 'NOCREATEROLE'),
        (r.rolcreatedb, 'may make databases', 'NOCREATEDB'),
        (r.rolreplication, 'may replicate', 'NOREPLICATION'),
        (r.rolinherit AND r.rolname = '{APP}', 'inherits by default', 'NOINHERIT'),
        (r.rolcanlogin AND r.rolname <> '{APP}' AND NOT is_strict AND NOT (is_asked_as AND has_citus), 'may log in',
            'NOLOGIN'),
        (r.rolcanlogin AND NOT is_strict AND is_asked_as AND has_citus AND r.rolpassword IS NOT NULL, 'has a password',
            'PASSWORD NULL')
    ) AS found (present, what, mend)
    WHERE found.present
    ORDER BY o.rolname
    """,
    # The service enters a workspace by this one membership, and nobody else does. In strict mode the workspaces'
    # roles may connect, as members of another.
    f"""
    WITH {_OURS}
    SELECT found.what, found.mend, granted.slug
    FROM pg_auth_members a
    JOIN pg_roles role ON role.oid = a.roleid
    JOIN pg_roles member ON member.oid = a.member
    JOIN pg_roles grantor ON grantor.oid = a.grantor
    LEFT JOIN ours granted ON granted.oid = a.roleid
    CROSS JOIN LATERAL (
        SELECT (role.rolname {_IS_WORKSPACE} OR role.rolname IN ({_list(CONTROL_ROLES)})) AND member.rolname = '{APP}'
                AS expected,
            role.rolname = '{STRICT}' AND member.rolname {_IS_WORKSPACE} AND NOT a.set_option AND NOT a.admin_option
                AS in_strict_mode,
            coalesce(granted.who, format('the role %I', role.rolname)) AS whom
    ) AS known
    CROSS JOIN LATERAL (VALUES
        (NOT expected AND NOT in_strict_mode, format('the role %I is a member of %s', member.rolname, whom),
            format('REVOKE %I FROM %I GRANTED BY %I', role.rolname, member.rolname, grantor.rolname)),
        (expected AND a.inherit_option, format('the login inherits the rights of %s', whom),
            format('GRANT %I TO %I WITH INHERIT FALSE GRANTED BY %I', role.rolname, member.rolname, grantor.rolname)),
        (expected AND a.admin_option, format('the login may grant %s', whom),
            format('REVOKE ADMIN OPTION FOR %I FROM %I GRANTED BY %I',
                role.rolname, member.rolname, grantor.rolname)),
        (expected AND NOT a.set_option, format('the login cannot become %s', whom),
            format('GRANT %I TO %I WITH SET TRUE GRANTED BY %I', role.rolname, member.rolname, grantor.rolname))
    ) AS found (present, what, mend)
    WHERE found.present AND (granted.oid IS NOT NULL OR a.member IN (SELECT oid FROM ours))
        AND (a.member IN (SELECT oid FROM ours) OR NOT member.rolsuper)
    ORDER BY role.rolname
    """,
    # Whoever owns an object may do anything with it. The owner and control own in schemas of theirs, compared below.
    f"""
    WITH {_OURS}
    SELECT format('%s owns objects in %s: %s', o.who, coalesce(db.datname, 'the cluster'),
            string_agg(DISTINCT CASE WHEN d.dbid IN (0, current.oid) THEN pg_describe_object(d.classid, d.objid, 0)
                       ELSE '?' END, ', ')) AS what,
        format('REASSIGN OWNED BY %I TO {OWNER}', o.rolname) AS mend, o.slug
    FROM pg_shdepend d
    JOIN ours o ON o.oid = d.refobjid
    JOIN pg_database current ON current.datname = current_database()
    LEFT JOIN pg_database db ON db.oid = d.dbid
    WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND o.rolname NOT IN ('{OWNER}', '{CONTROL}')
    GROUP BY o.who, o.rolname, o.slug, db.datname
    """,
    # Rights of our roles by their own name, outside of the schemas that are compared below.
    f"""
    WITH {_OURS}
    SELECT format('%s has rights on %s', o.who, pg_describe_object(d.classid, d.objid, 0)) AS what,
        coalesce('REVOKE ALL ON ' || CASE d.classid
            WHEN 'pg_class'::regclass
            THEN (SELECT format('%s %I.%I', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, relname)
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = d.objid)
            WHEN 'pg_namespace'::regclass
            THEN (SELECT format('SCHEMA %I', nspname) FROM pg_namespace WHERE oid = d.objid)
            WHEN 'pg_proc'::regclass THEN format('ROUTINE %s', d.objid::regprocedure)
            WHEN 'pg_language'::regclass
            THEN (SELECT format('LANGUAGE %I', lanname) FROM pg_language WHERE oid = d.objid)
            WHEN 'pg_type'::regclass THEN format('TYPE %s', d.objid::regtype)
        END || format(' FROM %I', o.rolname), format('revoke what %I may do with it', o.rolname)) AS mend,
        o.slug
    FROM pg_shdepend d
    JOIN ours o ON o.oid = d.refobjid
    JOIN pg_database db ON db.datname = current_database() AND d.dbid IN (0, db.oid)
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
    WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'a' AND d.classid <> 'pg_database'::regclass
        AND NOT EXISTS (
            SELECT FROM spaces s
            WHERE s.oid = coalesce(c.relnamespace, p.pronamespace, t.typnamespace,
                CASE d.classid WHEN 'pg_namespace'::regclass THEN d.objid END))
        AND (o.rolname, d.classid, d.objid) NOT IN (VALUES
            ('{OWNER}'::name, 'pg_proc'::regclass, to_regprocedure('{SET_CONFIG}')::oid),
            ('{APP}', 'pg_proc', to_regprocedure('{PREPARED_STATEMENTS}')),
            ('{OWNER}', 'pg_language', (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')),
            ('{CONTROL}', 'pg_language', (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')))
    GROUP BY o.who, o.rolname, o.slug, d.classid, d.objid
    ORDER BY o.rolname
    """,
    f"""
    WITH {_OURS}
    SELECT CASE acl.grantee WHEN 0 THEN 'everybody' ELSE o.who END
            || format(' has %s on the database', acl.privilege_type) AS what,
        CASE acl.grantee WHEN 0 THEN '{MIGRATE}'
            ELSE format('REVOKE %s ON DATABASE %I FROM %I', acl.privilege_type, d.datname, o.rolname) END AS mend,
        o.slug
    FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS acl
    LEFT JOIN ours o ON o.oid = acl.grantee
    WHERE d.datname = current_database() AND (acl.grantee = 0 OR o.oid IS NOT NULL)
        AND (coalesce(o.rolname, ''), acl.privilege_type) NOT IN (VALUES
            ('{APP}', 'CONNECT'), ('{STRICT}', 'CONNECT'), ('{OWNER}', 'CREATE'))
    """,
    # What everybody may do outside of those schemas
    f"""
    WITH {_OURS}
    SELECT format('everybody has %s on the schema %I', acl.privilege_type, n.nspname) AS what,
        CASE n.nspname WHEN 'public' THEN '{MIGRATE}'
            ELSE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', n.nspname) END AS mend, NULL AS slug
    FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) AS acl
    WHERE acl.grantee = 0 AND n.oid NOT IN (SELECT oid FROM spaces)
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{DRIVER}')
    UNION ALL
    SELECT format('everybody may run blocks in the language %I', l.lanname),
        CASE l.lanname WHEN 'plpgsql' THEN '{MIGRATE}'
            ELSE format('REVOKE USAGE ON LANGUAGE %I FROM PUBLIC', l.lanname) END, NULL
    FROM pg_language l
    WHERE l.lanpltrusted AND l.lanname <> 'sql' AND has_language_privilege('public', l.oid, 'USAGE')
    UNION ALL
    SELECT format('everybody may call %s', withheld.oid::regprocedure), '{MIGRATE}', NULL
    FROM unnest(ARRAY[{_FUNCTIONS}]::oid[]) AS withheld (oid)
    WHERE has_function_privilege('public', withheld.oid, 'EXECUTE')
    UNION ALL
    SELECT format('everybody may call %s with the rights of %I', p.oid::regprocedure, p.proowner::regrole),
        format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', p.oid::regprocedure), NULL
    FROM pg_proc p
    WHERE p.prosecdef AND p.pronamespace NOT IN (SELECT oid FROM spaces)
        AND has_function_privilege('public', p.oid, 'EXECUTE')
        AND has_schema_privilege('public', p.pronamespace, 'USAGE')
    """,
    # What initdb had kept from everybody, and somebody gave.
    """
    SELECT format('everybody has %s on %s', acl.privilege_type, pg_describe_object(i.classoid, i.objoid, i.objsubid))
            AS what,
        format('REVOKE %s ON %s FROM PUBLIC', acl.privilege_type || coalesce(' (' || quote_ident(a.attname) || ')', ''),
            CASE i.classoid WHEN 'pg_proc'::regclass THEN 'ROUTINE ' || i.objoid::regprocedure
                ELSE 'TABLE ' || i.objoid::regclass END) AS mend,
        NULL AS slug
    FROM (
        SELECT 'pg_proc'::regclass AS classoid, oid AS objoid, 0 AS objsubid, proacl AS items FROM pg_proc
        WHERE proacl IS NOT NULL
        UNION ALL
        SELECT 'pg_class'::regclass, oid, 0, relacl FROM pg_class
        WHERE relacl IS NOT NULL AND relnamespace = 'pg_catalog'::regnamespace
        UNION ALL
        SELECT 'pg_class'::regclass, attrelid, attnum, attacl FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid
        WHERE attacl IS NOT NULL AND c.relnamespace = 'pg_catalog'::regnamespace
    ) AS i
    CROSS JOIN LATERAL aclexplode(i.items) AS acl
    LEFT JOIN pg_attribute a ON i.objsubid > 0 AND a.attrelid = i.objoid AND a.attnum = i.objsubid
    LEFT JOIN pg_init_privs p ON p.classoid = i.classoid AND p.objoid = i.objoid AND p.objsubid = i.objsubid
    WHERE acl.grantee = 0 AND (p.objoid IS NOT NULL OR i.classoid = 'pg_class'::regclass)
        AND NOT EXISTS (SELECT FROM aclexplode(p.initprivs) AS at_first
                        WHERE at_first.grantee = 0 AND at_first.privilege_type = acl.privilege_type)
    """,
    # What the sessions of a role begin with. In strict mode a workspace's role may change its own.
    f"""
    WITH {_OURS},
    wanted AS (
        SELECT o.*, CASE WHEN o.rolname = '{APP}' THEN ARRAY[{_list(stored_settings(APP_SETTINGS))}]
            WHEN o.rolname {_IS_WORKSPACE} THEN ARRAY[{_list(stored_settings(RESTING))}] ELSE '{{}}'::text[]
            END AS settings
        FROM ours o WHERE o.slug IS NOT NULL OR o.rolname IN ({_list(FIXED)})
    ),
    found AS (
        SELECT w.oid, coalesce(array_agg(one ORDER BY one) FILTER (WHERE one IS NOT NULL), '{{}}') AS settings,
            coalesce(bool_or(s.setdatabase <> 0), false) AS is_elsewhere
        FROM wanted w LEFT JOIN pg_db_role_setting s ON s.setrole = w.oid LEFT JOIN unnest(s.setconfig) AS one ON true
        GROUP BY w.oid
    )
    SELECT format('%s does not rest as it should: its settings are %s', w.who, array_to_string(f.settings, ', '))
            AS what,
        '{MIGRATE}' AS mend, w.slug
    FROM wanted w JOIN found f ON f.oid = w.oid
    WHERE f.settings <> w.settings OR f.is_elsewhere
    ORDER BY w.rolname
    """,
    f"""
    SELECT found.what, found.mend, w.slug
    FROM control.workspaces w
    LEFT JOIN pg_roles r ON r.rolname = w.schema_name
    CROSS JOIN LATERAL (VALUES
        (to_regnamespace(w.schema_name) IS NULL, 'its schema is missing', '{RESTORE}'),
        (r.oid IS NULL, 'its role is missing', format('CREATE ROLE %I NOLOGIN', w.schema_name)),
        (r.oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_auth_members a
                                           WHERE a.roleid = r.oid AND a.member = '{APP}'::regrole),
            'the login is no member of its role',
            format('GRANT %I TO {APP} WITH INHERIT FALSE, SET TRUE', w.schema_name))
    ) AS found (present, what, mend)
    WHERE found.present
    ORDER BY w.slug
    """,
)

_FOLLOWING = _list([str(k.name) for t in metadata.sorted_tables for k in t.foreign_key_constraints if k.ondelete])
# Which foreign keys delete or change rows that none of ours does: they do so with the rights of the tables' owner.
# $1: the revision of this release.
CASCADES = f"""
-- These are none or few; to look for those of each workspace would read all of the database for each.
WITH found AS MATERIALIZED (
    SELECT k.oid, k.conname, k.conrelid, k.connamespace FROM pg_constraint k
    WHERE k.contype = 'f' AND (k.confdeltype <> 'a' OR k.confupdtype <> 'a') AND k.conname NOT IN ({_FOLLOWING})
)
SELECT format('%I deletes or changes rows of %I', k.conname, c.relname) AS what,
    format('ALTER TABLE %1$I.%2$I DROP CONSTRAINT %3$I, ADD CONSTRAINT %3$I %4$s', n.nspname, c.relname, k.conname,
        regexp_replace(pg_get_constraintdef(k.oid),
            ' ON (UPDATE|DELETE) (CASCADE|RESTRICT|SET NULL|SET DEFAULT)( \\([^)]*\\))?', '', 'g')) AS mend,
    w.slug
FROM found k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = k.connamespace
JOIN control.workspaces w ON w.schema_name = n.nspname AND w.schema_version = $1
ORDER BY w.slug, k.conname
"""

# Every object of every workspace and of control with its owner and the grants on it, against what they should be.
# $1: the revision of this release; $2 to $6: what is expected (tree, kind, name, privileges, grantee; no grantee is the
# workspace's role).
DRIFT = f"""
WITH expected AS (
    SELECT e.tree, e.kind, e.name, string_to_array(nullif(e.privileges, ''), ', ') AS privileges, e.grantee
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS e (tree, kind, name, privileges, grantee)
),
space AS MATERIALIZED (
    SELECT 'workspace' AS tree, w.slug, n.oid, n.nspname, n.nspowner, n.nspacl,
        '{OWNER}'::regrole::oid AS owner, r.oid AS role, 'its role' AS who
    FROM control.workspaces w
    JOIN pg_namespace n ON n.nspname = w.schema_name
    JOIN pg_roles r ON r.rolname = w.schema_name
    WHERE w.schema_version = $1
    UNION ALL
    SELECT 'control', NULL, n.oid, n.nspname, n.nspowner, n.nspacl,
        '{CONTROL}'::regrole, '{APP}'::regrole, 'the login'
    FROM pg_namespace n WHERE n.nspname = 'control'
),
present AS MATERIALIZED (
    SELECT oid AS space, 'SCHEMA' AS kind, '' AS name, nspowner AS owner, nspacl AS items FROM space
    UNION ALL
    SELECT c.relnamespace,
        CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
            WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
        c.relname::text, c.relowner, c.relacl
    FROM pg_class c WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f', 'c') AND c.relnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT p.pronamespace, CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
        format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)), p.proowner,
        coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT t.typnamespace, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.typname::text, t.typowner, t.typacl
    FROM pg_type t WHERE t.typtype IN ('d', 'e', 'r') AND t.typnamespace IN (SELECT oid FROM space)
),
known AS (
    SELECT s.*, e.kind, e.name, p.owner AS present_owner, p.items, p.space IS NOT NULL AS is_present,
        format('%s %s', e.kind, format('%I', s.nspname)
            || CASE WHEN e.name = '' THEN '' ELSE '.' || e.name END) AS in_sql,
        CASE WHEN e.name = '' THEN 'the schema' ELSE e.name END AS called
    FROM space s
    JOIN (SELECT DISTINCT tree, kind, name FROM expected WHERE kind <> 'COLUMN') AS e ON e.tree = s.tree
    LEFT JOIN present p ON p.space = s.oid AND p.kind = e.kind AND p.name = e.name
),
wanted AS (
    SELECT s.oid AS space, e.kind, e.name, coalesce(to_regrole(nullif(e.grantee, ''))::oid, s.role) AS grantee,
        privilege
    FROM space s JOIN expected e ON e.tree = s.tree CROSS JOIN LATERAL unnest(e.privileges) AS privilege
),
granted AS (
    SELECT k.oid AS space, k.kind, k.name, acl.grantee, acl.privilege_type, acl.is_grantable,
        CASE acl.grantee WHEN 0 THEN 'everybody' WHEN k.role THEN k.who
            ELSE format('the role %I', acl.grantee::regrole) END AS who,
        EXISTS (
            SELECT FROM wanted w
            WHERE w.space = k.oid AND w.kind = k.kind AND w.name = k.name AND w.grantee = acl.grantee
                AND w.privilege = acl.privilege_type
        ) AS is_wanted
    FROM known k CROSS JOIN LATERAL aclexplode(k.items) AS acl
    WHERE acl.grantee <> k.present_owner
),
columns AS MATERIALIZED (
    SELECT s.oid AS space, s.tree, s.slug, s.nspname, c.relname, a.attname, acl.grantee, acl.privilege_type,
        acl.is_grantable,
        CASE acl.grantee WHEN 0 THEN 'everybody' WHEN s.role THEN s.who
            ELSE format('the role %I', acl.grantee::regrole) END AS who,
        CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS in_sql,
        w.grantee IS NOT NULL AS is_wanted
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN space s ON s.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
    LEFT JOIN wanted w ON w.space = s.oid AND w.kind = 'COLUMN' AND w.name = c.relname || '.' || a.attname
        AND w.grantee = acl.grantee AND w.privilege = acl.privilege_type
    WHERE a.attacl IS NOT NULL AND acl.grantee <> c.relowner
)
SELECT format('it is at revision %s, this release at %s', w.schema_version, $1) AS what, '{MIGRATE}' AS mend, w.slug
FROM control.workspaces w WHERE w.schema_version <> $1
UNION ALL
SELECT format('%s is missing', k.called), CASE k.tree WHEN 'control' THEN '{MIGRATE}' ELSE '{RESTORE}' END, k.slug
FROM known k WHERE NOT k.is_present
UNION ALL
SELECT format('%s is owned by %I', k.called, k.present_owner::regrole),
    format('ALTER %s OWNER TO %I', k.in_sql, k.owner::regrole), k.slug
FROM known k
-- That of a column goes with its table.
WHERE k.present_owner <> k.owner AND NOT (k.kind = 'SEQUENCE' AND EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = to_regclass(substr(k.in_sql, 10))
        AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0))
UNION ALL
SELECT format('there is a %s that no release made: %s', lower(p.kind), p.name),
    format('DROP %s %I.%s', p.kind, s.nspname,
        CASE WHEN p.kind IN ('FUNCTION', 'PROCEDURE', 'AGGREGATE') THEN p.name ELSE quote_ident(p.name) END), s.slug
FROM present p JOIN space s ON s.oid = p.space
WHERE NOT EXISTS (SELECT FROM expected e WHERE e.tree = s.tree AND e.kind = p.kind AND e.name = p.name)
    AND NOT (p.kind = 'SEQUENCE' AND EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
            AND d.objid = to_regclass(format('%I.%I', s.nspname, p.name))))
UNION ALL
SELECT format('%s has %s on %s', g.who, g.privilege_type, k.called),
    format('REVOKE %s ON %s FROM %s', g.privilege_type, k.in_sql,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END), k.slug
FROM granted g JOIN known k ON k.oid = g.space AND k.kind = g.kind AND k.name = g.name
WHERE NOT g.is_wanted
    AND NOT (k.tree = 'control' AND k.kind = 'SCHEMA' AND g.privilege_type = 'USAGE' AND NOT g.is_grantable
        AND g.grantee IS NOT DISTINCT FROM to_regrole('{MONITOR}')::oid)
UNION ALL
SELECT format('%s may grant %s on %s to others', g.who, g.privilege_type, k.called),
    format('REVOKE GRANT OPTION FOR %s ON %s FROM %s', g.privilege_type, k.in_sql, g.grantee::regrole), k.slug
FROM granted g JOIN known k ON k.oid = g.space AND k.kind = g.kind AND k.name = g.name
WHERE g.is_grantable AND g.is_wanted
UNION ALL
SELECT format('%s has %s on the column %I of %I', c.who, c.privilege_type, c.attname, c.relname),
    format('REVOKE %s (%I) ON TABLE %I.%I FROM %s', c.privilege_type, c.attname, c.nspname, c.relname, c.in_sql), c.slug
FROM columns c
WHERE NOT c.is_wanted
    AND NOT (c.tree = 'control' AND c.relname = 'workspaces' AND c.attname IN ('state', 'schema_version')
        AND c.privilege_type = 'SELECT' AND c.grantee IS NOT DISTINCT FROM to_regrole('{MONITOR}')::oid)
UNION ALL
SELECT format('%s may grant %s on the column %I of %I to others', c.who, c.privilege_type, c.attname, c.relname),
    format('REVOKE GRANT OPTION FOR %s (%I) ON TABLE %I.%I FROM %s', c.privilege_type, c.attname, c.nspname, c.relname,
        c.in_sql), c.slug
FROM columns c
WHERE c.is_grantable AND c.is_wanted
UNION ALL
SELECT format('%s lacks %s on the column %I of %I', s.who, w.privilege, split_part(w.name, '.', 2),
        split_part(w.name, '.', 1)),
    format('GRANT %s (%I) ON TABLE %I.%I TO %s', w.privilege, split_part(w.name, '.', 2), s.nspname,
        split_part(w.name, '.', 1), w.grantee::regrole), s.slug
FROM wanted w JOIN space s ON s.oid = w.space
WHERE w.kind = 'COLUMN' AND NOT EXISTS (
        SELECT FROM columns c
        WHERE c.space = w.space AND c.relname || '.' || c.attname = w.name AND c.grantee = w.grantee
            AND c.privilege_type = w.privilege)
    AND EXISTS (SELECT FROM present p WHERE p.space = w.space AND p.kind = 'TABLE'
        AND p.name = split_part(w.name, '.', 1))
UNION ALL
SELECT format('%s lacks %s on %s', CASE w.grantee WHEN k.role THEN k.who
            ELSE format('the role %I', w.grantee::regrole) END, w.privilege, k.called),
    format('GRANT %s ON %s TO %s', w.privilege, k.in_sql, w.grantee::regrole), k.slug
FROM wanted w JOIN known k ON k.oid = w.space AND k.kind = w.kind AND k.name = w.name
WHERE k.is_present AND NOT EXISTS (
    SELECT FROM granted g
    WHERE g.space = k.oid AND g.kind = k.kind AND g.name = k.name AND g.grantee = w.grantee
        AND g.privilege_type = w.privilege)
ORDER BY slug NULLS FIRST
"""
