"""What can be weaker in a database than the service relies on, and what the guard says of it."""

from __future__ import annotations

from tenancy.roles import APP, APP_SETTINGS, GATE, ISSUER, stored_settings

_RESTLESS = "does not rest as it should: its settings are"


def versions_go_with_their_case(schema: str) -> str:
    """What makes the deletion of a case take its versions with it."""
    return (
        f"ALTER TABLE {schema}.case_versions DROP CONSTRAINT case_versions_case_id_fkey, "
        "ADD CONSTRAINT case_versions_case_id_fkey "
        f"FOREIGN KEY (case_id) REFERENCES {schema}.cases (id) ON DELETE CASCADE"
    )


# What is done to the database, in a transaction that is rolled back, and what the guard says of it.
WEAKNESSES = {
    "superuser": (f"ALTER ROLE {APP} SUPERUSER", f"the login {APP} is a superuser"),
    "bypassrls": (f"ALTER ROLE {APP} BYPASSRLS", f"the login {APP} is exempt from row security"),
    "createrole": (f"ALTER ROLE {APP} CREATEROLE", f"the login {APP} is able to make roles"),
    "createdb": (f"ALTER ROLE {APP} CREATEDB", f"the login {APP} is able to make databases"),
    "replication": (f"ALTER ROLE {APP} REPLICATION", f"the login {APP} is able to replicate"),
    "inherits": (f"ALTER ROLE {APP} INHERIT", f"the login {APP} is an inheriting role"),
    "owns a table": (f"CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO {APP}", f"the login {APP} owns objects"),
    "owns a schema": (f"CREATE SCHEMA s AUTHORIZATION {APP}", f"the login {APP} owns objects"),
    "table right": (f"GRANT SELECT ON control.api_keys TO {APP}", f"the login {APP} has rights on a table"),
    "column right": (f"GRANT SELECT (hash) ON control.api_keys TO {APP}", f"the login {APP} has rights on a table"),
    "right on a workspace's table": ("GRANT SELECT ON {w}.users TO " + APP, f"the login {APP} has rights on a table"),
    "table right of all": ("GRANT DELETE ON control.api_keys TO PUBLIC", f"the login {APP} has rights on a table"),
    "column right of all": (
        "GRANT SELECT (slug) ON control.workspaces TO PUBLIC",
        f"the login {APP} has rights on a table",
    ),
    "inheriting membership": (
        "GRANT {w} TO " + APP + " WITH INHERIT TRUE",
        f"the login {APP} is a member of {{w}} and inherits its rights",
    ),
    "admin option": (
        "GRANT {w} TO " + APP + " WITH ADMIN TRUE",
        f"the login {APP} is a member of {{w}} and may grant it",
    ),
    "membership in the owner": (
        f"GRANT testorchestrator_owner TO {APP} WITH INHERIT FALSE",
        f"the login {APP} is a member of testorchestrator_owner, which is no workspace",
    ),
    "membership that reads all": (
        f"GRANT pg_read_all_data TO {APP} WITH INHERIT FALSE",
        f"the login {APP} is a member of pg_read_all_data, which is no workspace",
    ),
    "login that calls control's functions": (
        f"GRANT EXECUTE ON FUNCTION control.authenticate_key(bytea) TO {APP}",
        f"the login {APP} may call functions of control by itself",
    ),
    "login that may set": (
        f"GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO {APP}",
        f"the login {APP} may call set_config by itself",
    ),
    "login that writes at rest": (
        f"ALTER ROLE {APP} RESET default_transaction_read_only",
        f'the login {APP} {_RESTLESS} lock_timeout=3s, search_path="", statement_timeout=10s',
    ),
    "login that writes at rest in this database": (
        f"ALTER ROLE {APP} IN DATABASE {{d}} SET default_transaction_read_only = off",
        f"the login {APP} {_RESTLESS} {', '.join(stored_settings(APP_SETTINGS))}, default_transaction_read_only=off",
    ),
    "workspace that finds its tables at rest": (
        "ALTER ROLE {w} SET search_path = {w}",
        f"the workspace role {{w}} {_RESTLESS} default_transaction_read_only=on, search_path={{w}}",
    ),
    "gate that may log in": (f"ALTER ROLE {GATE} LOGIN", f"the role {GATE} may log in"),
    "gate that enters a workspace": ("GRANT {w} TO " + GATE, f"the role {GATE} is a member of another role"),
    "issuer with rights on a table": (
        f"GRANT SELECT ON control.password_links TO {ISSUER}",
        f"the role {ISSUER} may do more than call functions",
    ),
    "login of a workspace": ("ALTER ROLE {w} LOGIN", "the workspace role {w} may log in"),
    "set_config": (
        "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO PUBLIC",
        "everybody may call pg_catalog.set_config",
    ),
    "pg_notify": (
        "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC",
        "everybody may call pg_catalog.pg_notify",
    ),
    "large objects": ("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC", "everybody may call pg_catalog.lo_create"),
    "advisory locks": (
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint), pg_advisory_lock(integer, integer) TO PUBLIC",
        "everybody may call pg_catalog.pg_advisory_lock",
    ),
    "plpgsql": ("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "everybody may run blocks in a procedural language"),
    "another language": (
        "CREATE TRUSTED LANGUAGE other HANDLER plpgsql_call_handler",
        "everybody may run blocks in a procedural language",
    ),
    "temporary tables": ("GRANT TEMPORARY ON DATABASE {d} TO PUBLIC", "everybody may make temporary tables"),
    "schemas": ("GRANT CREATE ON DATABASE {d} TO PUBLIC", "everybody may make schemas"),
    "public schema": ("GRANT USAGE ON SCHEMA public TO PUBLIC", "everybody may use the schema public"),
    "control schema": ("GRANT USAGE ON SCHEMA control TO PUBLIC", "everybody may use the schema control"),
    "two schemas": ("GRANT USAGE ON SCHEMA {v} TO {w}", "the workspace role {w} reaches another schema"),
    "role with special powers": ("ALTER ROLE {w} CREATEROLE", "the workspace role {w} has special powers"),
    "role that owns": (
        "CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO {w}",
        "the workspace role {w} owns objects",
    ),
    "role that is a member": ("GRANT {v} TO {w}", "the workspace role {w} is a member of another role"),
    "role that may set": (
        "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO {w}",
        "the workspace role {w} may call pg_catalog.set_config",
    ),
    "role that may notify": (
        "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO {w}",
        "the workspace role {w} may call pg_catalog.pg_notify",
    ),
    "role that may shadow": (
        "GRANT TEMPORARY ON DATABASE {d} TO {w}",
        "the workspace role {w} may make temporary tables",
    ),
    "role that may use control": (
        "GRANT USAGE ON SCHEMA control TO {w}",
        "the workspace role {w} may use the schema control",
    ),
    "workspace open to all": ("GRANT USAGE ON SCHEMA {w} TO PUBLIC", "everybody may use the schema {w}"),
    "strict role with powers": (
        "ALTER ROLE testorchestrator_strict CREATEDB",
        "the role testorchestrator_strict may do more than connect",
    ),
    "strict role with rights": (
        "CREATE TABLE public.t (); GRANT SELECT ON public.t TO testorchestrator_strict",
        "the role testorchestrator_strict may do more than connect",
    ),
    "no control schema": ("DROP SCHEMA control CASCADE", "there is no schema control"),
}
