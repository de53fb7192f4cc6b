"""Strict mode: logins derived from one secret, checked by the server, and a pool that keeps workspaces apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.embedded import embedded_server
from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.guard import weaknesses
from tenancy.migrate import migrate
from tenancy.pool import Pool
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.roles import APP, STRICT
from tenancy.session import Gateway
from tenancy.strict import StrictLogins, open_logins
from tests.conftest import new_database

if TYPE_CHECKING:
    from pathlib import Path

LOGINS = StrictLogins("a secret of the operator, which has 32 characters or more")
OTHERS = StrictLogins("another secret, which has 32 characters or more as well")


PASSWORD = "of-the-login"


def ask_for_passwords(folder: Path) -> None:
    [hba_file] = folder.rglob("pg_hba.conf")
    hba_file.write_text("local all postgres trust\nlocal all all scram-sha-256\n")


@pytest.fixture(scope="module")
async def strict(tmp_path_factory):
    """A server that asks everybody but its superuser for a password; a superuser's connection, URL and schemas."""
    folder = tmp_path_factory.mktemp("strict")
    with embedded_server(folder / "data", durable=False) as server:
        async with new_database(server) as (name, admin):
            made = [await create_workspace(admin, slug=f"strict-{n}", name="Strict") for n in range(6)]
            schemas = [workspace.schema_name for workspace in made]
            assert await open_logins(admin, LOGINS, schemas) == len(schemas)
            await admin.execute(f"ALTER ROLE {APP} PASSWORD '{PASSWORD}'")
            ask_for_passwords(folder)
            await admin.execute("SELECT pg_reload_conf()")
            yield admin, server.dsn(user=APP, database=name).replace("@", f":{PASSWORD}@"), schemas


@pytest.fixture
async def gateway(strict):
    _, url, _ = strict
    pools = Pool(url, size=2), Pool(url, size=3, wait_seconds=1, login_of=LOGINS.login)
    yield Gateway(pools[0], workspaces=pools[1])
    for pool in pools:
        await pool.close()


async def backends(admin, schemas) -> list[str]:
    rows = await admin.fetch("SELECT usename FROM pg_stat_activity WHERE usename = ANY ($1::text[])", schemas)
    return sorted(row["usename"] for row in rows)


async def test_a_workspace_is_entered_by_its_own_login(strict, gateway):
    _, _, schemas = strict
    for schema in schemas:
        async with gateway.workspace(schema, read_only=True) as connection:
            row = await connection.fetchrow("SELECT session_user::text AS s, current_user::text AS c")
            assert tuple(row) == (schema, schema)
            assert await connection.fetchval("SELECT count(*) FROM roles") == 3


async def test_the_server_asks_for_the_password(strict):
    _, url, schemas = strict
    pool = Pool(url, size=1, login_of=OTHERS.login)
    with pytest.raises(DatabaseUnavailable, match="refuses the login") as raised:
        async with Gateway(pool, workspaces=pool).workspace(schemas[0], read_only=True):
            pass
    assert OTHERS.password(schemas[0]) not in str(raised.value)


async def test_a_login_leads_to_its_own_workspace_alone(strict):
    _, url, schemas = strict
    one, other = schemas[:2]
    connection = await connect(url, name="strict", login=LOGINS.login(one))
    # Not the facade's refusals: the server's, to anybody who has got hold of the connection itself.
    for statement in (
        f"SET ROLE {other}",
        f"SET ROLE {APP}",
        f"SET ROLE {STRICT}",
        f"SET SESSION AUTHORIZATION {other}",
        f"SELECT * FROM {other}.users",
        f"INSERT INTO {other}.groups (name) VALUES ('x')",
        "SELECT * FROM control.api_keys",
        "SELECT * FROM control.authenticate('x')",
        "CREATE TEMP TABLE t ()",
        f"CREATE TABLE {one}.t ()",
        "SELECT set_config('role', 'none', false)",
        "DO $$ BEGIN END $$",
        "LISTEN x; SELECT pg_notify('x', 'y')",
        f"GRANT {one} TO {other}",
    ):
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement)
    await connection.execute(f"RESET ROLE; SET search_path = {other}")
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetch("SELECT name FROM users")
    await connection.close()


async def test_connections_are_a_workspaces_own_and_bounded(strict, gateway):
    admin, _, schemas = strict
    for schema in (*schemas, *schemas):
        async with gateway.workspace(schema, read_only=True) as connection:
            await connection.fetchval("SELECT 1")
    for _ in range(100):
        # A backend takes a moment to leave the list.
        if len(open_ones := await backends(admin, schemas)) <= 3:
            break
        await asyncio.sleep(0.05)
    assert open_ones == sorted(schemas[-3:])


async def test_the_connection_idle_for_the_longest_makes_room(strict, gateway):
    _, _, (one, two, three, four, *_) = strict

    async def pid(schema: str) -> int:
        async with gateway.workspace(schema, read_only=True) as connection:
            return await connection.fetchval("SELECT pg_backend_pid()")

    pids = {schema: await pid(schema) for schema in (one, two, three)}
    assert await pid(one) == pids[one]
    await pid(four)
    assert await pid(one) == pids[one]
    assert await pid(three) == pids[three]
    assert await pid(two) != pids[two]


async def test_a_storm_of_workspaces_is_refused_in_time_and_passes(strict, gateway):
    admin, _, schemas = strict

    async def request(schema: str) -> str:
        try:
            async with gateway.workspace(schema, read_only=True) as connection:
                await connection.fetchval("SELECT 1")
                await asyncio.sleep(0.4)
        except DatabaseUnavailable:
            return "refused"
        return "served"

    storm = asyncio.gather(*(request(schema) for schema in schemas * 5))
    most = 0
    while not storm.done():
        rows = await admin.fetch(
            "SELECT pid FROM pg_stat_activity WHERE usename = ANY ($1::text[]) AND state = 'active'", schemas
        )
        most = max(most, len(rows))
        await asyncio.sleep(0.05)
    assert set(await storm) == {"served", "refused"}
    assert 1 <= most <= 3
    assert await request(schemas[0]) == "served"


async def test_opening_logins_again_changes_nothing_and_a_new_secret_does(strict):
    admin, _, schemas = strict
    assert await open_logins(admin, LOGINS, schemas) == 0
    transaction = admin.transaction()
    await transaction.start()
    try:
        assert await open_logins(admin, OTHERS, schemas) == len(schemas)
        assert await open_logins(admin, OTHERS, schemas) == 0
    finally:
        await transaction.rollback()


async def test_migrating_opens_the_logins_of_all_workspaces(strict):
    admin, *_ = strict
    made = await create_workspace(admin, slug="strict-late", name="Late")
    can = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1"
    assert await admin.fetchval(can, made.schema_name) is False
    await migrate(admin, app_password=PASSWORD, strict=LOGINS)
    assert await admin.fetchval(can, made.schema_name) is True


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (f"ALTER ROLE {STRICT} CREATEROLE", f"the role {STRICT} may do more than connect"),
        (f"ALTER ROLE {STRICT} LOGIN", f"the role {STRICT} may do more than connect"),
        (f"GRANT USAGE ON SCHEMA control TO {STRICT}", f"the role {STRICT} may do more than connect"),
        (f"GRANT pg_read_all_data TO {STRICT}", f"the role {STRICT} may do more than connect"),
        (f"GRANT {STRICT} TO {{w}} WITH ADMIN TRUE", "the workspace role {w} is a member of another role"),
    ],
)
async def test_the_guard_watches_over_strict_mode(make, told, strict):
    admin, _, schemas = strict
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute(make.format(w=schemas[0]))
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        assert told.format(w=schemas[0]) in await weaknesses(admin)
    finally:
        await transaction.rollback()


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        ("PASSWORD 'known to somebody'", "its role has a password that is not derived from the strict secret"),
        ("SET search_path = pg_catalog", "its role does not rest as it should"),
        ("SET default_transaction_read_only = off", "its role does not rest as it should"),
        ("IN DATABASE {database} SET default_transaction_read_only = off", "its role does not rest as it should"),
    ],
)
async def test_what_a_role_changes_of_itself_is_found_and_mended(alter, told, strict):
    """PostgreSQL lets every role that logs in do that; no query of the facade's can, but another's statement could."""
    admin, url, schemas = strict
    await migrate(admin, strict=LOGINS)
    database = await admin.fetchval("SELECT current_database()")
    login = await connect(url, name="strict", login=LOGINS.login(schemas[0]))
    await login.execute("BEGIN READ WRITE; ALTER ROLE CURRENT_USER " + alter.format(database=database) + "; COMMIT")
    await login.close()
    seen = [finding.what for finding in (await look(admin, strict=LOGINS)).findings]
    assert any(what.startswith(told) for what in seen)
    await migrate(admin, strict=LOGINS)
    assert (await look(admin, strict=LOGINS)).is_sound


async def test_strict_mode_is_no_weakness(strict):
    admin, *_ = strict
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
    assert await weaknesses(admin) == []
    await transaction.rollback()


def test_no_repr_shows_the_secret():
    login = LOGINS.login("w_aaaa")
    assert LOGINS.secret not in repr(LOGINS)
    assert login.password not in repr(login)
    assert len({LOGINS.password("w_aaaa"), LOGINS.password("w_bbbb"), OTHERS.password("w_aaaa")}) == 3


async def test_a_workspace_that_cannot_log_in_is_told_in_the_log_alone(strict):
    admin, url, _ = strict
    made = await create_workspace(admin, slug="strict-none", name="None")
    with pytest.raises(TenancyError, match="refuses the login"):
        await connect(url, name="strict", login=LOGINS.login(made.schema_name))
