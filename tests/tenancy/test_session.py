"""Entering a role for one transaction, and leaving it, against a real server."""

from __future__ import annotations

from contextlib import suppress

import asyncpg
import pytest

from service.access import access_gate, is_denial
from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.connection import admin_connection
from tenancy.errors import NotConfirmed
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.session import Gateway, Identity
from tests.conftest import borrowed

GONE = Identity(workspace_id=1, schema_name="", schema_version="1", compatible_from="1", user_id=1, api_key_id=0)


@pytest.fixture
async def pool(world):
    made = Pool(world.service_url, size=1, wait_seconds=1)
    yield made
    await made.close()


async def test_a_transaction_that_is_left_open_is_not_lent_on(pool, acme):
    async with Gateway(pool).workspace(acme.workspace.schema_name, read_only=True) as facade:
        first = await facade.fetchval("SELECT pg_backend_pid()")
    with suppress(ZeroDivisionError):
        async with borrowed(pool) as lent:
            connection = lent.connection
            assert connection.get_server_pid() == first
            await connection.execute("BEGIN; SET LOCAL timezone = 'Asia/Tokyo'")
            raise ZeroDivisionError
    async with borrowed(pool) as lent:
        connection = lent.connection
        assert await connection.fetchval("SELECT current_setting('timezone')") != "Asia/Tokyo"
        assert connection.get_server_pid() != first


async def test_from_a_query_that_wants_a_plan_of_its_own_on_all_get_one(pool, acme):
    mode = "SELECT current_setting('plan_cache_mode')"
    async with Gateway(pool).workspace(acme.workspace.schema_name, read_only=True) as facade:
        assert await facade.fetchval(mode) == "auto"
        with suppress(asyncpg.DivisionByZeroError):
            async with facade.savepoint():
                await facade.fetch_planned("SELECT 1 / 0")
        assert await facade.fetchval(mode) == "auto"
        assert [row[0] for row in await facade.fetch_planned(mode)] == ["force_custom_plan"]
        assert await facade.fetchval(mode) == "force_custom_plan"


class TestEntering:
    """Whoever does not get in gets nothing."""

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

    async def test_nothing_inside_is_reached(self, entering, why, read_only):
        with pytest.raises((asyncpg.PostgresError, NotConfirmed)) as raised:
            async with entering(why, read_only=read_only):
                pytest.fail("was let in")
        assert self.is_it(why, raised.value)

    async def test_the_connection_serves_on(self, pool, entering, why, read_only, acme):
        for _ in range(3):
            with pytest.raises((asyncpg.PostgresError, NotConfirmed)):
                async with entering(why, read_only=read_only) as facade:
                    await facade.fetchval("SELECT 1")
            async with Gateway(pool).workspace(acme.workspace.schema_name, read_only=read_only) as facade:
                assert await facade.fetchval("SELECT current_user::text") == acme.workspace.schema_name
        assert pool.usage.failed == 0


#: Columns that statements of the two tools below return as they are.
_RETURNED = {"projects": "name", "users": "name", "lifecycle_states": "name", "templates": "name", "cases": "title"}


async def test_a_call_whose_prepared_statement_became_invalid_is_repeated_once(pool, acme, world):
    """A revision changes the type of a column; each connection knows statements of before."""
    host = ToolHost(Gateway(pool), TOOLS, release=this_release())
    caller = await host.authenticate(acme.people["lead"].key)
    schema = acme.workspace.schema_name
    calls = (
        ("create_test_case", {"project": acme.project, "title": "Kept"}),
        ("get_projects", {}),
        ("list_test_cases", {"project": acme.project}),
    )
    async with admin_connection(world.admin_url) as admin:
        types = {
            table: await admin.fetchval(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = $1::regclass AND attname = $2",
                f"{schema}.{table}",
                column,
            )
            for table, column in _RETURNED.items()
        }
        for kind in ("text", None, "text", None):
            for name, arguments in calls:
                answer = await host.call(caller, name, arguments)
                assert not answer.is_error, answer.structured
            for table, column in _RETURNED.items():
                await admin.execute(f"ALTER TABLE {schema}.{table} ALTER COLUMN {column} TYPE {kind or types[table]}")
        stored = await admin.fetchval(f"SELECT count(*) FROM {schema}.cases WHERE title = 'Kept'")
    assert stored == 4
