"""The pool, the session and the keys, against a real server."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.keys import PREFIX, create_key, hash_key
from tenancy.migrate import migrate
from tenancy.pool import Pool
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import Gateway
from tests.conftest import borrowed, new_database


@pytest.fixture
async def pool(world):
    made = Pool(world.service_url, size=2, wait_seconds=0.3)
    yield made
    await made.close()


@pytest.fixture
def schema(acme):
    return acme.workspace.schema_name


async def backend(connection) -> int:
    return await connection.fetchval("SELECT pg_backend_pid()")


async def test_third_borrower_of_two_connections_is_told_soon(pool):
    async with borrowed(pool), borrowed(pool):
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with borrowed(pool):
                pass
        assert time.monotonic() - start < 5
    async with borrowed(pool) as lent:
        connection = lent.connection
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_workspace_gets_the_same_connection_whenever_it_is_idle(pool):
    async with borrowed(pool, "w_aaaa"), borrowed(pool, "w_bbbb"):
        pass
    seen = {}
    for workspace in [f"w_{number}" for number in range(20)] * 3:
        async with borrowed(pool, workspace) as lent:
            connection = lent.connection
            seen.setdefault(workspace, set()).add(await backend(connection))
    assert {len(backends) for backends in seen.values()} == {1}
    assert len(set.union(*seen.values())) == 2


async def test_a_connection_takes_the_place_of_the_one_that_ended(pool):
    async with borrowed(pool, "w_aaaa") as first, borrowed(pool, "w_bbbb") as second:
        assert {first.number, second.number} == {0, 1}
        first.connection.terminate()
    async with borrowed(pool, "w_aaaa") as first, borrowed(pool, "w_bbbb") as second:
        assert {first.number, second.number} == {0, 1}


async def test_plans_of_a_workspace_are_kept_while_its_connection_is_in_others(world, acme, globex):
    pool = Pool(world.service_url, size=1)
    gateway = Gateway(pool)
    query = "SELECT p.name FROM projects p WHERE p.id = $1"
    for _ in range(4):
        for tenant in (acme, globex):
            name = tenant.workspace.schema_name
            async with gateway.workspace(name, read_only=True, one_plan=True) as connection:
                for project, found in ((tenant.project, "main"), (tenant.projects["secret"], "secret")):
                    assert await connection.fetchval(query, project) == found
    async with borrowed(pool) as lent:
        connection = lent.connection
        kept = await connection.fetch(
            "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE $1",
            query + "%",
        )
    await pool.close()
    plans = {row["statement"].removeprefix(query): (row["generic_plans"], row["custom_plans"]) for row in kept}
    # A workspace that comes once gets none of its own.
    assert plans == {
        "": (4, 0),
        f" -- {acme.workspace.schema_name}": (6, 0),
        f" -- {globex.workspace.schema_name}": (6, 0),
    }


async def test_the_gate_has_one_plan_and_queries_only_where_it_is_asked_for(pool, acme):
    mode = "current_setting('plan_cache_mode')"
    gate = f"SELECT 1 / ({mode} = 'force_generic_plan')::int"
    for one_plan, expected in ((True, "force_generic_plan"), (False, "auto")):
        async with Gateway(pool).workspace(
            acme.workspace.schema_name, read_only=True, gate=gate, one_plan=one_plan
        ) as connection:
            assert await connection.fetchval(f"SELECT {mode}") == expected


@pytest.fixture
async def shared_out(world):
    """A pool of three connections, and for each of twenty workspaces the numbers of the two that are its own."""
    pool = Pool(world.service_url, size=3, wait_seconds=5)
    own = {}
    for workspace in (f"w_{number}" for number in range(20)):
        async with borrowed(pool, workspace) as one, borrowed(pool, workspace) as other:
            own[workspace] = (one.number, other.number)
    yield pool, own
    await pool.close()


async def _served(pool, workspace, order):
    async with borrowed(pool, workspace) as lent:
        order.append(workspace)
        return lent.number


@pytest.mark.parametrize(("patience", "first_served"), [(1, "whom it fits"), (0, "who came first")])
async def test_a_connection_goes_to_the_first_whom_it_fits_while_others_are_patient(
    shared_out, monkeypatch, patience, first_served
):
    monkeypatch.setattr("tenancy.pool._PATIENCE", patience)
    pool, own = shared_out
    order = []
    async with borrowed(pool), borrowed(pool):
        async with borrowed(pool) as freed:
            strange = next(workspace for workspace in own if freed.number not in own[workspace])
            fitting = next(workspace for workspace in own if freed.number in own[workspace])
            calls = [asyncio.create_task(_served(pool, workspace, order)) for workspace in (strange, fitting)]
            # It is one timer that sets the next.
            for _ in range(3):
                await asyncio.sleep(0.05)
            assert pool.usage.waiting == 2
        await asyncio.gather(*calls)
    assert order[0] == {"whom it fits": fitting, "who came first": strange}[first_served]


async def test_a_workspace_waits_a_moment_for_a_connection_of_its_own(shared_out, monkeypatch):
    monkeypatch.setattr("tenancy.pool._FITTING_SECONDS", 5)
    pool, own = shared_out
    async with borrowed(pool, "w_0"):
        async with borrowed(pool, "w_0") as other:
            call = asyncio.create_task(_served(pool, "w_0", []))
            await asyncio.sleep(0.1)
            assert (pool.usage.idle, pool.usage.waiting) == (1, 1)
        # One that came later cannot take away what another has waited for.
        thief = next(workspace for workspace in own if own[workspace][0] == other.number)
        async with borrowed(pool, thief):
            assert await call == other.number


async def test_a_workspace_whose_own_connections_stay_in_use_is_at_home_on_another(world):
    pool = Pool(world.service_url, size=4)
    async with borrowed(pool, "w_0") as one, borrowed(pool, "w_0") as other:
        async with borrowed(pool, "w_0") as third:
            assert third.number not in {one.number, other.number}
            assert not third.is_at_home
        waits = pool.usage.waits
        async with borrowed(pool, "w_0") as third:
            assert third.is_at_home
        assert pool.usage.waits == waits == 1
    await pool.close()


async def test_two_whom_the_place_of_an_ended_connection_fits_best_are_both_served(shared_out):
    pool, own = shared_out
    released, both = asyncio.Event(), asyncio.Barrier(2)
    numbers = []

    async def hold(*, is_lost):
        async with borrowed(pool) as lent:
            numbers.append(lent.number)
            await released.wait()
            if is_lost:
                lent.connection.terminate()

    async def call(workspace):
        async with borrowed(pool, workspace) as lent:
            await both.wait()
            return lent.number

    async with borrowed(pool):
        holders = [asyncio.create_task(hold(is_lost=is_lost)) for is_lost in (True, False)]
        await asyncio.sleep(0)
        fitting = [workspace for workspace in own if own[workspace][0] == numbers[0]]
        calls = [asyncio.create_task(call(workspace)) for workspace in fitting[:2]]
        await asyncio.sleep(0)
        assert pool.usage.waiting == 2
        released.set()
        await asyncio.gather(*holders)
        assert sorted(await asyncio.gather(*calls)) == sorted(numbers)


async def test_whatever_callers_do_each_has_a_connection_alone_and_none_is_lost(world):
    pool = Pool(world.service_url, size=4, wait_seconds=0.2, renew_after=40, renew_after_workspaces=6)
    dice = random.Random(8)  # noqa: S311 - a load, not a secret
    in_use, ends = set(), Counter()

    async def call():
        try:
            async with pool.lend(dice.choice([None, *(f"w_{number}" for number in range(12))])) as lent:
                assert lent.connection not in in_use
                in_use.add(lent.connection)
                try:
                    await lent.connection.fetchval(
                        "SELECT count(*) FROM generate_series(1, $1::integer)", dice.randrange(20_000)
                    )
                    lent.settle()
                    if dice.random() < 0.05:
                        lent.connection.terminate()
                finally:
                    in_use.remove(lent.connection)
            ends["served"] += 1
        except DatabaseUnavailable:
            ends["refused"] += 1

    async def caller():
        for _ in range(60):
            try:
                async with asyncio.timeout(dice.choice([0.01, 1, 1, 1])):
                    await call()
            except TimeoutError:
                ends["gone"] += 1

    await asyncio.gather(*(caller() for _ in range(24)))
    usage = pool.usage
    assert (usage.in_use, usage.waiting) == (0, 0)
    assert ends.total() == 24 * 60
    assert ends["served"] > ends["refused"] + ends["gone"] > 0
    async with (
        borrowed(pool, "w_1") as one,
        borrowed(pool, "w_2") as two,
        borrowed(pool) as three,
        borrowed(pool) as four,
    ):
        assert {one.number, two.number, three.number, four.number} == {0, 1, 2, 3}
    await pool.close()


async def test_connections_that_are_open_serve_all_where_no_more_can_be_opened(postgres):
    async with new_database(postgres) as (name, admin):
        # One beside the administrator's.
        await admin.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 2')
        pool = Pool(postgres.dsn(user=APP, database=name), size=2, wait_seconds=0.3)
        backends = set()
        for number in range(20):
            async with borrowed(pool, f"w_{number}") as lent:
                connection = lent.connection
                backends.add(await backend(connection))
        assert len(backends) == 1
        assert pool.usage.failed > 0
        async with borrowed(pool, "w_0"):
            with pytest.raises(DatabaseUnavailable):
                async with borrowed(pool, "w_1"):
                    pass
        await pool.close()


async def test_who_stops_waiting_just_when_its_turn_comes_passes_it_on(world):
    pool = Pool(world.service_url, size=1)
    async with borrowed(pool, "w_acme"):
        first, second = (asyncio.create_task(_lent(pool)) for _ in range(2))
        await asyncio.sleep(0)
        assert pool.usage.waiting == 2
    first.cancel()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (pool.usage.in_use, pool.usage.waiting) == (0, 0)
    await pool.close()


async def _lent(pool):
    async with borrowed(pool, "w_acme") as lent:
        return lent.is_at_home


async def test_a_workspace_is_at_home_on_a_connection_that_it_has_had_until_that_is_renewed(world):
    pool = Pool(world.service_url, size=1, renew_after_workspaces=100)

    async def is_at_home(workspace):
        async with borrowed(pool, workspace) as lent:
            return lent.is_at_home

    assert not await is_at_home("w_acme")
    for number in range(98):
        assert not await is_at_home(f"w_other{number}")
    assert await is_at_home("w_acme")
    assert not await is_at_home("w_another")
    assert not await is_at_home("w_acme")
    await pool.close()


async def test_connection_is_renewed_after_its_requests(world):
    pool = Pool(world.service_url, size=1, renew_after=3)
    pids = []
    for _ in range(6):
        async with borrowed(pool) as lent:
            connection = lent.connection
            pids.append(await backend(connection))
    await pool.close()
    assert (len(set(pids[:3])), len(set(pids[3:])), len(set(pids))) == (1, 1, 2)


async def test_connection_is_renewed_after_its_workspaces(world):
    pool = Pool(world.service_url, size=1, renew_after_workspaces=2)
    pids = []
    for workspace in ("w_aaaa", "w_aaaa", "w_aaaa", "w_bbbb", "w_aaaa", "w_cccc", "w_cccc"):
        async with borrowed(pool, workspace) as lent:
            connection = lent.connection
            pids.append(await backend(connection))
    await pool.close()
    assert (len(set(pids[:4])), len(set(pids[4:6])), len(set(pids))) == (1, 1, 3)


async def test_lost_connection_is_unavailable_and_replaced(pool, world, schema):
    gateway = Gateway(pool)
    root = await connect(world.admin_url, name="root")
    with pytest.raises(DatabaseUnavailable):
        async with gateway.workspace(schema, read_only=True) as connection:
            await root.execute("SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()"))
            await connection.fetchval("SELECT 1")
    await root.close()
    async with gateway.workspace(schema, read_only=True) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_connection_that_neither_answers_nor_ends_is_given_up(world, schema):
    pool = Pool(world.service_url, size=1, command_timeout=0.5)
    gateway = Gateway(pool)
    async with gateway.workspace(schema, read_only=True) as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    # What a network that swallows everything looks like from here.
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatabaseUnavailable, match="no answer in time"):
            async with gateway.workspace(schema, read_only=True):
                pass
        async with gateway.workspace(schema, read_only=True) as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != pid
    finally:
        os.kill(pid, signal.SIGCONT)
    await pool.close()


@pytest.mark.parametrize("delay", [0, 0.0005, 0.002, 0.01, 0.05])
async def test_cancelled_request_leaves_nothing_behind(delay, world, schema):
    pool = Pool(world.service_url, size=1, wait_seconds=5)
    gateway = Gateway(pool)
    name = f"cancelled {delay}"

    async def request() -> None:
        async with gateway.workspace(schema, read_only=False) as connection:
            await connection.execute("INSERT INTO groups (name) VALUES ($1)", name)
            await connection.fetchval("SELECT count(*) FROM generate_series(1, 1e12)")

    for _ in range(3):
        task = asyncio.create_task(request())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with gateway.workspace(schema, read_only=True) as connection:
        assert await connection.fetchval("SELECT count(*) FROM groups WHERE name = $1", name) == 0
        assert await connection.fetchval("SELECT current_user::text") == schema
    await pool.close()


async def test_nothing_of_a_request_is_left_on_its_connection(world, schema):
    pool = Pool(world.service_url, size=1)
    gateway = Gateway(pool, statement_timeout_ms=1234)
    query = "SELECT current_user::text, current_setting('search_path'), current_setting('statement_timeout')"
    async with borrowed(pool) as lent:
        connection = lent.connection
        before = await connection.fetchrow(query)
    async with gateway.workspace(schema, read_only=True) as connection:
        inside = await connection.fetchrow(query)
        assert await connection.fetchval("SELECT current_setting('TimeZone')") == "UTC"
    async with borrowed(pool) as lent:
        connection = lent.connection
        assert await connection.fetchrow(query) == before
    await pool.close()
    assert tuple(inside) == (schema, f"{schema}, pg_temp", "1234ms")


async def test_dry_run_makes_the_checks_of_a_commit_and_stores_nothing(pool, schema, acme):
    gateway = Gateway(pool)
    wrong = "INSERT INTO folders (project_id, name, depth, parent_id) VALUES ($1, 'x', 2, 1)"
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with gateway.workspace(schema, read_only=False) as connection:
            await connection.execute(wrong, acme.project)
            connection.rollback_only = True
    async with gateway.workspace(schema, read_only=False) as connection:
        await connection.execute("INSERT INTO groups (name) VALUES ('dry')")
        connection.rollback_only = True
    async with gateway.workspace(schema, read_only=True) as connection:
        assert await connection.fetchval("SELECT count(*) FROM groups WHERE name = 'dry'") == 0


async def test_savepoint_undoes_its_part_alone(pool, schema):
    gateway = Gateway(pool)
    async with gateway.workspace(schema, read_only=False) as connection:
        await connection.execute("INSERT INTO groups (name) VALUES ('kept')")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.savepoint():
                await connection.execute("INSERT INTO groups (name) VALUES ('lost')")
                await connection.execute("INSERT INTO groups (name) VALUES ('kept')")
        names = {row["name"] for row in await connection.fetch("SELECT name FROM groups")}
        assert "kept" in names
        assert "lost" not in names
        connection.rollback_only = True


async def test_200_requests_on_two_connections_never_meet_the_wrong_workspace(world):
    pool = Pool(world.service_url, size=2, wait_seconds=30)
    gateway = Gateway(pool)

    async def request(tenant) -> bool:
        async with gateway.workspace(tenant.workspace.schema_name, read_only=True) as connection:
            emails = [row["email"] for row in await connection.fetch("SELECT email FROM users")]
        return bool(emails) and all(email.endswith(f"@{tenant.workspace.slug}.example") for email in emails)

    tenants = [world.acme, world.globex] * 100
    assert all(await asyncio.gather(*(request(tenant) for tenant in tenants)))
    await pool.close()


async def test_key_is_stored_as_a_hash_and_its_use_is_noted_once_a_minute(world, acme):
    root = await connect(world.admin_url, name="root")
    key = await create_key(root, workspace_id=acme.workspace.id, user_id=acme.people["lead"].id, label="A key")
    assert (key[: len(PREFIX)], len(key)) == (PREFIX, len(PREFIX) + 43)
    row = await root.fetchrow("SELECT * FROM control.api_keys WHERE hash = $1", hash_key(key))
    assert row["prefix"] == key[len(PREFIX) :][:4]
    assert key not in repr(dict(row))
    pool = Pool(world.service_url, size=1)
    gateway = Gateway(pool)
    noted = []
    for _ in range(3):
        assert (await gateway.authenticate(key)).user_id == acme.people["lead"].id
        noted.append(await root.fetchval("SELECT last_used_at FROM control.api_keys WHERE id = $1", row["id"]))
    assert noted[0] is not None
    assert len(set(noted)) == 1
    await pool.close()
    await root.close()


async def test_whom_a_key_stood_for_is_remembered_for_a_minute_and_of_few(world, acme, monkeypatch):
    pool = Pool(world.service_url, size=1)
    gateway = Gateway(pool)
    keys = [acme.people[name].key for name in ("lead", "tester", "viewer")]
    assert gateway.recall(keys[0]) is None
    lead, tester, _ = [await gateway.authenticate(key) for key in keys]
    assert gateway.recall(keys[0]) == lead
    monkeypatch.setattr("tenancy.session._REMEMBERED_SECONDS", 0)
    assert gateway.recall(keys[0]) is None
    monkeypatch.setattr("tenancy.session._REMEMBERED_SECONDS", 60)
    monkeypatch.setattr("tenancy.session._MOST_REMEMBERED", 2)
    assert await gateway.authenticate(PREFIX + "x" * 43) is None
    assert await gateway.authenticate(keys[2])
    assert await gateway.authenticate(keys[0]) == lead
    assert [gateway.recall(key) is None for key in keys] == [False, True, False]
    assert Gateway(pool, workspaces=pool).recall(keys[0]) is None
    with pytest.raises(ValueError, match="not the workspace"):
        async with gateway.workspace(world.globex.workspace.schema_name, read_only=True, recalled=tester):
            pass
    await pool.close()


async def test_migrating_again_and_two_at_once_changes_nothing(admin, postgres):
    await create_workspace(admin, slug="once", name="Once")
    database = await admin.fetchval("SELECT current_database()")
    second = await connect(postgres.dsn(database=database), name="second")
    assert [report.done for report in await asyncio.gather(migrate(admin), migrate(second))] == [0, 0]
    await second.close()


async def test_newer_database_is_refused(admin):
    await admin.execute("UPDATE control.alembic_version SET version_num = '9999'")
    with pytest.raises(TenancyError, match="9999, which this release does not know"):
        await migrate(admin)


async def test_workspace_that_cannot_be_filled_does_not_exist(admin):
    async def fail(_connection) -> None:
        raise RuntimeError("no")

    before = await admin.fetchval("SELECT count(*) FROM pg_roles")
    with pytest.raises(RuntimeError):
        await create_workspace(admin, slug="half-made", name="Half", populate=fail)
    assert await admin.fetchval("SELECT count(*) FROM pg_roles") == before
    assert await admin.fetchval("SELECT count(*) FROM control.workspaces") == 0
    assert await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'w\\_%'") == 0


OLD_SERVER = Path("/usr/lib/postgresql/15/bin")


@pytest.mark.skipif(not OLD_SERVER.is_dir(), reason="there is no PostgreSQL 15 here to be refused")
async def test_old_server_is_refused():
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="to-old-") as name:
        folder = Path(name)
        if account:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        data = folder / "data"
        run = {"check": True, "capture_output": True, "cwd": "/", **account}
        await asyncio.to_thread(
            subprocess.run, [OLD_SERVER / "initdb", "-D", data, "-A", "trust", "-U", "postgres"], **run
        )
        options = f"-c listen_addresses= -c unix_socket_directories={folder}"
        control = [OLD_SERVER / "pg_ctl", "-D", data, "-w"]
        await asyncio.to_thread(
            subprocess.run, [*control, "-o", options, "-l", folder / "log", "start"], **run | {"capture_output": False}
        )
        try:
            with pytest.raises(TenancyError, match="is PostgreSQL 15; TestOrchestrator needs 16 or later"):
                await connect(f"postgresql://postgres@/postgres?host={folder}", name="DATABASE_URL")
        finally:
            await asyncio.to_thread(subprocess.run, [*control, "-m", "fast", "stop"], **run)
