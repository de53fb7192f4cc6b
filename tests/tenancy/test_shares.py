"""A share of the connections for everybody, and the end of what nobody waits for any more; on a real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable
from tenancy.pool import Pool
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import Gateway
from tenancy.strict import StrictLogins, open_logins
from tests.conftest import new_database

LOGINS = StrictLogins("a secret of the operator, which has 32 characters or more")
SIZE, MOST = 10, 8
PATIENCE = 30
# Longer than the test takes: what is slow ends when the test says so.
LONG = {"statement_timeout_ms": 60_000, "lock_timeout_ms": 60_000}


@pytest.fixture(scope="module")
async def database(postgres):
    """The name of a database, a superuser's connection, and the schemas of five workspaces."""
    async with new_database(postgres) as (name, admin):
        schemas = [(await create_workspace(admin, slug=f"share-{n}", name="Share")).schema_name for n in range(5)]
        await open_logins(admin, LOGINS, schemas)
        for schema in schemas:
            await admin.execute(f"INSERT INTO {schema}.groups (name) VALUES ('wanted')")
        yield name, admin, schemas


@pytest.fixture(params=["usual", "strict"])
async def pool(request, postgres, database):
    name, *_ = database
    login_of = LOGINS.login if request.param == "strict" else None
    made = Pool(postgres.dsn(user=APP, database=name), size=SIZE, login_of=login_of)
    yield made
    await made.close()


@pytest.fixture
def gateway(pool, request):
    is_strict = "strict" in request.node.callspec.id
    return Gateway(pool, workspaces=pool if is_strict else None, **LONG)


@asynccontextmanager
async def locked(postgres, database, *schemas):
    """Have the row of each workspace locked, for which slow calls wait."""
    locker = await connect(postgres.dsn(database=database[0]), name="the test")
    try:
        async with locker.transaction():
            for schema in schemas:
                await locker.execute(f"SELECT name FROM {schema}.groups WHERE name = 'wanted' FOR UPDATE")
            yield
    finally:
        await locker.close()


async def slow_call(gateway, schema):
    try:
        async with gateway.workspace(schema, read_only=False) as connection:
            await connection.fetch("SELECT name FROM groups WHERE name = 'wanted' FOR UPDATE")
    except DatabaseUnavailable:
        return "503"
    return "done"


async def quick_calls(gateway, schema, number=20):
    for _ in range(number):
        async with gateway.workspace(schema, read_only=True) as connection:
            assert await connection.fetchval("SELECT count(*) FROM groups") == 1


async def until(holds):
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a pool tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("calls", [12, 50])
async def test_slow_calls_of_one_workspace_leave_others_theirs(calls, pool, gateway, postgres, database):
    _, _, (greedy, *others) = database
    async with locked(postgres, database, greedy):
        slow = [asyncio.create_task(slow_call(gateway, greedy)) for _ in range(calls)]
        await until(lambda: (pool.usage.in_use, pool.usage.waiting) == (MOST, calls - MOST))
        await asyncio.gather(*(quick_calls(gateway, schema) for schema in others for _ in range(2)))
        await until(lambda: pool.usage.waiting == 0)
    assert Counter(await asyncio.gather(*slow)) == {"done": MOST, "503": calls - MOST}
    assert (pool.usage.over_share, pool.usage.refused) == (calls - MOST, 0)
    await quick_calls(gateway, greedy)


async def test_slow_calls_of_two_workspaces_leave_others_theirs(pool, gateway, postgres, database):
    _, _, (one, other, *others) = database
    async with locked(postgres, database, one, other):
        slow = [asyncio.create_task(slow_call(gateway, schema)) for schema in (one, other) for _ in range(12)]
        await until(lambda: (pool.usage.in_use, pool.usage.waiting) == (MOST, 24 - MOST))
        await asyncio.gather(*(quick_calls(gateway, schema) for schema in others))
        await until(lambda: pool.usage.waiting == 0)
    assert Counter(await asyncio.gather(*slow)) == {"done": MOST, "503": 24 - MOST}
    await asyncio.gather(*(quick_calls(gateway, schema) for schema in (one, other, *others)))


@pytest.mark.parametrize("cancellations", [1, 2, 3])
async def test_a_statement_ends_with_the_call_that_was_cancelled(cancellations, pool, gateway, postgres, database):
    _, admin, (schema, *_) = database
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'"
    )
    async with locked(postgres, database, schema):
        call = asyncio.create_task(slow_call(gateway, schema))
        async with asyncio.timeout(PATIENCE):
            while not await admin.fetchval(waiting):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        # The second one meets the end of the transaction, for which the call waits.
        for _ in range(cancellations):
            call.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(PATIENCE):
            while await admin.fetchval(waiting):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await until(lambda: pool.usage.closing == pool.usage.in_use == 0)
        await quick_calls(gateway, schema)
