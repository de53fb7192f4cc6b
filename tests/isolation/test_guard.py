"""The start-up guard: each weakness, made on a database of its own, is found and refuses the start."""

from __future__ import annotations

import pytest

from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.guard import require_isolation, weaknesses
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tests.conftest import new_database, serving

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
    "set_config": (
        "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO PUBLIC",
        "everybody may call pg_catalog.set_config",
    ),
    "pg_notify": (
        "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC",
        "everybody may call pg_catalog.pg_notify",
    ),
    "large objects": ("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC", "everybody may call pg_catalog.lo_create"),
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
    "no control schema": ("DROP SCHEMA control CASCADE", "there is no schema control"),
}
# What `migrate`, which the guard advises, puts right by itself.
MENDED = (
    *("superuser", "bypassrls", "createrole", "createdb", "replication", "inherits"),
    *("set_config", "pg_notify", "large objects", "plpgsql", "temporary tables", "schemas", "public schema"),
)


@pytest.fixture(scope="module")
async def database(postgres):
    """A database with two workspaces: its name, an administrator's connection, and the two schemas."""
    async with new_database(postgres) as (name, admin):
        made = [await create_workspace(admin, slug=slug, name=slug) for slug in ("one", "two")]
        yield name, admin, *(workspace.schema_name for workspace in made)


async def seen_by_the_login(postgres, name: str) -> list[str]:
    login = await connect(postgres.dsn(user=APP, database=name), name="the login")
    try:
        return await weaknesses(login)
    finally:
        await login.close()


async def test_database_as_it_is_made_has_no_weakness(database, postgres):
    name, *_ = database
    assert await seen_by_the_login(postgres, name) == []


@pytest.mark.parametrize("weakness", WEAKNESSES)
async def test_weakness_is_found(weakness, database):
    name, admin, one, two = database
    make, told = (text.format(w=one, v=two, d=name) for text in WEAKNESSES[weakness])
    # Roles are the whole cluster's: nothing of this is ever committed.
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute(make)
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        assert await weaknesses(admin) == [told]
        with pytest.raises(TenancyError, match="does not isolate") as raised:
            await require_isolation(admin)
        assert told in str(raised.value)
        assert "\n" not in str(raised.value)
    finally:
        await transaction.rollback()


async def test_weakness_of_everybody_is_told_once_and_not_for_each_role(database):
    _, admin, *_ = database
    transaction = admin.transaction()
    await transaction.start()
    try:
        for weakness in ("set_config", "pg_notify"):
            await admin.execute(WEAKNESSES[weakness][0])
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        assert len(await weaknesses(admin)) == 2
    finally:
        await transaction.rollback()


async def test_database_without_the_schema_public_is_no_weaker(database):
    _, admin, *_ = database
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute("DROP SCHEMA public")
        await migrate(admin)
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        assert await weaknesses(admin) == []
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("weakness", MENDED)
async def test_migrating_puts_right_what_a_revoke_can(weakness, database):
    name, admin, *_ = database
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute(WEAKNESSES[weakness][0].format(d=name))
        await migrate(admin)
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        assert await weaknesses(admin) == []
    finally:
        await transaction.rollback()


@pytest.mark.parametrize(
    ("make", "undo", "told"),
    [
        (
            "GRANT TEMPORARY ON DATABASE {d} TO PUBLIC",
            "REVOKE TEMPORARY ON DATABASE {d} FROM PUBLIC",
            "temporary tables",
        ),
        (f"ALTER ROLE {APP} INHERIT", f"ALTER ROLE {APP} NOINHERIT", "an inheriting role"),
    ],
)
async def test_service_does_not_start_on_a_weaker_database(make, undo, told, database, postgres):
    name, admin, *_ = database
    await admin.execute(make.format(d=name))
    try:
        with pytest.raises(TenancyError, match=told), serving(postgres.dsn(user=APP, database=name)):
            pass
    finally:
        await admin.execute(undo.format(d=name))
    with serving(postgres.dsn(user=APP, database=name)):
        pass


async def test_service_does_not_start_as_a_superuser(database, postgres):
    name, *_ = database
    with pytest.raises(TenancyError, match="a superuser"), serving(postgres.dsn(database=name)):
        pass


async def test_service_does_not_start_on_a_database_that_was_never_migrated(postgres):
    root = await connect(postgres.dsn(), name="root")
    await root.execute("CREATE DATABASE never_migrated")
    try:
        with (
            pytest.raises(TenancyError, match=r"there is no schema control.*Run: testorchestrator migrate"),
            serving(postgres.dsn(user=APP, database="never_migrated")),
        ):
            pass
    finally:
        await root.execute("DROP DATABASE never_migrated WITH (FORCE)")
        await root.close()
