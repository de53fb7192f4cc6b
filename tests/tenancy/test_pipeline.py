"""What is sent without waiting for its answer, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import asyncpg
import pytest

from service.access import access_gate, is_denial
from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable, NotConfirmed
from tenancy.pipeline import Pipeline
from tenancy.pool import Pool
from tenancy.session import Gateway, Identity

GONE = Identity(workspace_id=1, schema_name="", schema_version="1", compatible_from="1", user_id=1, api_key_id=0)


@pytest.fixture
async def connection(world):
    made = await connect(world.service_url, name="test")
    yield made
    made.terminate()


@pytest.fixture
async def pool(world):
    made = Pool(world.service_url, size=1, wait_seconds=1)
    yield made
    await made.close()


@asynccontextmanager
async def byte_by_byte(server, folder):
    """A socket in *folder* to the server, which answers in parts of one byte, then of two, up to seven."""

    async def client(reader, writer) -> None:
        reads, writes = await asyncio.open_unix_connection(server.socket_directory / ".s.PGSQL.5432")

        async def ask() -> None:
            while data := await reader.read(65536):
                writes.write(data)
            writes.close()

        async def answer() -> None:
            size = 1
            while data := await reads.read(size):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)
                size = size % 7 + 1
            writer.close()

        await asyncio.gather(ask(), answer(), return_exceptions=True)

    listening = await asyncio.start_unix_server(client, folder / ".s.PGSQL.5432")
    yield
    listening.close()


async def test_the_driver_gets_its_own_answers_only(connection):
    pipeline = Pipeline(connection)
    pipeline.begin("BEGIN; SELECT 'not for the driver'; SET LOCAL timezone = 'Asia/Tokyo'")
    pipeline.send("SELECT generate_series(1, 1000)")
    assert not pipeline.is_answered
    assert await connection.fetchval("SELECT current_setting('timezone')") == "Asia/Tokyo"
    assert pipeline.is_answered
    pipeline.end("COMMIT")
    assert await connection.fetchval("SELECT current_setting('timezone')") != "Asia/Tokyo"
    assert pipeline.failure is None


async def test_what_fails_is_told_and_fails_what_follows_it(connection):
    pipeline = Pipeline(connection)
    pipeline.begin("BEGIN; SELECT 1 / 0; SELECT 2")
    pipeline.send("SELECT 5")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await connection.fetchval("SELECT 3")
    assert isinstance(pipeline.failure, asyncpg.DivisionByZeroError)
    assert str(pipeline.failure) == "division by zero"
    with pytest.raises(asyncpg.DivisionByZeroError):
        pipeline.raise_failure()
    await connection.execute("ROLLBACK")
    pipeline.begin("BEGIN")
    assert pipeline.failure is None
    assert await connection.fetchval("SELECT 4") == 4


async def test_a_connection_that_is_still_in_a_transaction_after_its_end_is_given_up(connection):
    pipeline = Pipeline(connection)
    pipeline.end("BEGIN")
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT pg_sleep(5)")
    assert connection.is_closed()
    with pytest.raises(DatabaseUnavailable):
        pipeline.send("SELECT 1")


async def test_answers_may_come_in_any_parts(world, acme, tmp_path):
    folder = quote(str(tmp_path), safe="")
    url = world.service_url.replace(quote(str(world.server.socket_directory), safe=""), folder)
    schema = acme.workspace.schema_name
    async with byte_by_byte(world.server, tmp_path):
        pool = Pool(url, size=1)
        gateway = Gateway(pool)
        for read_only in (True, False, True):
            async with gateway.workspace(schema, read_only=read_only) as facade:
                assert await facade.fetchval("SELECT current_user::text") == schema
        gate = access_gate(user_id=acme.people["outsider"].id, project_id=acme.project, permissions=())
        with pytest.raises(asyncpg.PostgresError) as raised:
            async with gateway.workspace(schema, read_only=True, gate=gate) as facade:
                await facade.fetchval("SELECT 1")
        assert is_denial(raised.value)
        await pool.close()


async def test_a_transaction_that_is_left_open_is_not_lent_on(pool, acme):
    async with Gateway(pool).workspace(acme.workspace.schema_name, read_only=True) as facade:
        first = await facade.fetchval("SELECT pg_backend_pid()")
    with suppress(ZeroDivisionError):
        async with pool.connection() as connection:
            assert connection.get_server_pid() == first
            await connection.execute("BEGIN; SET LOCAL timezone = 'Asia/Tokyo'")
            raise ZeroDivisionError
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT current_setting('timezone')") != "Asia/Tokyo"
        assert connection.get_server_pid() != first


@pytest.mark.parametrize("one_plan", [False, True])
async def test_a_query_that_wants_plans_of_its_own_gets_them_and_no_other_one_does(pool, acme, one_plan):
    mode = "SELECT current_setting('plan_cache_mode')"
    usual = "force_generic_plan" if one_plan else "auto"
    gateway = Gateway(pool)
    async with gateway.workspace(acme.workspace.schema_name, read_only=True, one_plan=one_plan) as facade:
        assert await facade.fetchval(mode) == usual
        for _ in range(2):
            assert [row[0] for row in await facade.fetch_planned(mode)] == ["force_custom_plan"]
        assert await facade.fetchval(mode) == usual
        with suppress(asyncpg.DivisionByZeroError):
            async with facade.savepoint():
                await facade.fetch_planned("SELECT 1 / 0")
        assert await facade.fetchval(mode) == usual
        assert [row[0] for row in await facade.fetch_planned(mode)] == ["force_custom_plan"]


class TestEntering:
    """Whoever does not get in gets nothing, whatever the handler does with the errors of its queries."""

    @pytest.fixture
    def entering(self, pool, acme):
        """Enters as somebody who is denied, and as somebody whose key is gone; which error that is."""
        gateway, schema = Gateway(pool), acme.workspace.schema_name

        def enter(why, *, read_only):
            if why == "denied":
                gate = access_gate(user_id=acme.people["outsider"].id, project_id=acme.project, permissions=())
                return gateway.workspace(schema, read_only=read_only, gate=gate)
            values = {name: getattr(GONE, name) for name in Identity.__slots__} | {"schema_name": schema}
            return gateway.workspace(schema, read_only=read_only, recalled=Identity(**values))

        return enter

    @pytest.fixture(params=["denied", "gone"])
    def why(self, request):
        return request.param

    @pytest.fixture(params=[True, False])
    def read_only(self, request):
        return request.param

    @staticmethod
    def is_it(why, error) -> bool:
        return is_denial(error) if why == "denied" else isinstance(error, NotConfirmed)

    async def test_no_query(self, entering, why, read_only):
        with pytest.raises((asyncpg.PostgresError, NotConfirmed)) as raised:
            async with entering(why, read_only=read_only):
                pass
        assert self.is_it(why, raised.value)

    async def test_an_error_of_the_handlers_own_before_any_query(self, entering, why, read_only):
        with pytest.raises((asyncpg.PostgresError, NotConfirmed)) as raised:
            async with entering(why, read_only=read_only):
                raise ValueError("of no use to who is not let in")
        assert self.is_it(why, raised.value)

    async def test_an_error_that_the_handler_passes_over(self, entering, why, read_only):
        with pytest.raises((asyncpg.PostgresError, NotConfirmed)) as raised:
            async with entering(why, read_only=read_only) as facade:
                with suppress(asyncpg.PostgresError):
                    await facade.fetchval("SELECT 1")
        assert self.is_it(why, raised.value)

    async def test_a_savepoint(self, entering, why, read_only):
        with pytest.raises((asyncpg.PostgresError, NotConfirmed)) as raised:
            async with entering(why, read_only=read_only) as facade:
                with suppress(asyncpg.PostgresError):
                    async with facade.savepoint():
                        await facade.fetchval("SELECT 1")
        assert self.is_it(why, raised.value)

    async def test_the_connection_serves_on(self, pool, entering, why, read_only, acme):
        for _ in range(3):
            with pytest.raises((asyncpg.PostgresError, NotConfirmed)):
                async with entering(why, read_only=read_only) as facade:
                    await facade.fetchval("SELECT 1")
            async with Gateway(pool).workspace(acme.workspace.schema_name, read_only=read_only) as facade:
                assert await facade.fetchval("SELECT current_user::text") == acme.workspace.schema_name
        assert pool.usage.failed == 0

    async def test_cancelled_before_it_is_known(self, entering, why, read_only):
        async def call() -> None:
            async with entering(why, read_only=read_only):
                await asyncio.sleep(60)

        task = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
