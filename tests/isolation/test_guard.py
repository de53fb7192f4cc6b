"""The start-up guard: each weakness, made on a database of its own, is found and refuses the start."""

from __future__ import annotations

import pytest

from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.guard import _CHECKS, require_isolation, weaknesses
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tests.conftest import new_database, serving
from tests.isolation.weaknesses import WEAKNESSES

# What `migrate`, which the guard advises, puts right by itself.
MENDED = (
    *("superuser", "bypassrls", "createrole", "createdb", "replication", "inherits"),
    *("set_config", "pg_notify", "large objects", "advisory locks", "plpgsql", "temporary tables", "schemas"),
    "public schema",
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
        assert await weaknesses(admin) == ["everybody may call pg_catalog.pg_notify, pg_catalog.set_config"]
    finally:
        await transaction.rollback()


async def test_twice_the_workspaces_are_twice_the_work_though_the_server_knows_nothing_of_them_yet(database):
    _, admin, *_ = database
    looks = []
    transaction = admin.transaction()
    await transaction.start()
    try:
        for batch in ("a", "b"):
            # What no ANALYZE has seen: as after a restore, or a thousand new customers in a minute.
            await admin.execute(f"""
                DO $$ DECLARE name text; BEGIN
                    FOR name IN SELECT 'w_{batch}' || n FROM generate_series(1, 400) AS n LOOP
                        EXECUTE format('CREATE ROLE %I', name);
                        EXECUTE format('GRANT %I TO {APP} WITH INHERIT FALSE', name);
                        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', name);
                        EXECUTE format('ALTER ROLE %I SET search_path TO %L', name, '');
                        EXECUTE format('CREATE SCHEMA %I', name);
                        EXECUTE format('GRANT USAGE ON SCHEMA %1$I TO %1$I', name);
                    END LOOP;
                END $$""")
            await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
            assert await weaknesses(admin) == []
            plans = [await admin.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {check}") for check in _CHECKS]
            looks.append(sum(plan[0]["Plan"]["Shared Hit Blocks"] for plan in plans))
            await admin.execute("RESET SESSION AUTHORIZATION")
    finally:
        await transaction.rollback()
    assert looks[1] < 2.5 * looks[0]


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
