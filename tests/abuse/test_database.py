"""The database is slow, full, locked or gone: what is answered meanwhile, what is stored, and that it passes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.embedded import embedded_server
from tenancy.migrate import migrate
from tenancy.roles import APP
from tests.abuse.conftest import PING, SECONDS, tool_call
from tests.conftest import Client, make_tenant, serving

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
AUDITED = """
    SELECT f.name FROM {0}.folders f JOIN {0}.audit_log a ON a.object_type = 'folder' AND a.object_id = f.id
    WHERE f.project_id = $1 AND a.action = 'create'
"""


def modern(call):
    """*call* as a modern client sends it: the body and its headers."""
    name = call["params"]["name"]
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name}
    return {**call, "params": {**call["params"], "_meta": META}}, headers


@dataclass(frozen=True)
class Database:
    """The world's database as its superuser sees it, and acme's tables in it."""

    admin: asyncpg.Connection
    schema: str

    @asynccontextmanager
    async def locked(self, table):
        """Let nobody use the table of acme."""
        async with self.admin.transaction():
            await self.admin.execute(f"LOCK TABLE {self.schema}.{table} IN ACCESS EXCLUSIVE MODE")
            yield

    async def until_waiting(self, number):
        """Return as soon as exactly so many wait for a lock."""
        async with asyncio.timeout(SECONDS):
            while number != await self.admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                await self.admin.execute("SELECT pg_stat_clear_snapshot()")

    async def stored(self, text):
        """Return in how many rows of folders, cases and kept answers the text stands."""
        found = [
            await self.admin.fetchval(
                f"SELECT count(*) FROM {self.schema}.{table} t WHERE strpos(t::text, $1) > 0", text
            )
            for table in ("folders", "cases", "case_versions", "idempotency_keys")
        ]
        return sum(found)


@pytest.fixture
def database(admin, acme):
    return Database(admin, acme.workspace.schema_name)


@pytest.fixture
def threads():
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def name():
    """A name that only this test uses."""
    return secrets.token_hex(8)


async def test_calls_beyond_the_pool_are_put_off_and_served_again_once_it_is_free(serve, acme, database, threads, name):
    slow = tool_call("create_folder", project=acme.project, name=name)
    with serve(pool_size=1, pool_wait_seconds=0.1, lock_timeout_ms=60_000, statement_timeout_ms=60_000) as wire:
        async with database.locked("folders"):
            held = threads.submit(wire.send, slow)
            await database.until_waiting(1)
            refused = [wire.send(call) for call in (PING, slow, PING)]
        assert held.result().document["result"]["structuredContent"]["name"] == name
        assert [wire.send(slow).status for _ in range(5)] == [200] * 5
    for reply in refused:
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.document["error"]["code"] == -32603
        assert "try again" in reply.document["error"]["message"]


async def test_a_storm_on_a_small_pool_is_answered_to_the_last_call(serve, acme, threads):
    call = tool_call("get_folders", project=acme.project)
    with serve(pool_size=1, pool_wait_seconds=0.05) as wire:
        replies = list(threads.map(lambda _: wire.send(call), range(200)))
        assert wire.send(call).status == 200
    assert {reply.status for reply in replies} <= {200, 503}
    assert all("result" in reply.document for reply in replies if reply.status == 200)
    assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status == 503)


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"TIMEOUT": 100, "BUSY": 60_000}, id="too long a statement"),
        pytest.param({"TIMEOUT": 60_000, "BUSY": 100}, id="too long a wait"),
    ],
)
async def test_a_statement_that_takes_too_long_fails_alone(serve, acme, database, limits, name):
    call = tool_call("create_folder", project=acme.project, name=name, idempotencyKey=name)
    with serve(pool_size=1, statement_timeout_ms=limits["TIMEOUT"], lock_timeout_ms=limits["BUSY"]) as wire:
        async with database.locked("audit_log"):
            result = wire.send(call).document["result"]
            assert wire.send(tool_call("get_projects")).status == 200
        assert (result["isError"], result["structuredContent"]["error"]["code"]) == (True, min(limits, key=limits.get))
        assert await database.stored(name) == 0
        assert wire.send(call).document["result"]["structuredContent"]["name"] == name


@pytest.mark.parametrize("table", ["folders", "audit_log"], ids=["at its first write", "at its last"])
async def test_a_modern_client_that_goes_away_leaves_nothing_half_written(serve, acme, database, table, name):
    call = tool_call("create_folder", project=acme.project, name=name, idempotencyKey=name)
    body, headers = modern(call)
    with serve(pool_size=1, lock_timeout_ms=60_000, statement_timeout_ms=60_000) as wire:
        async with database.locked(table):
            with wire.opened(body, headers=headers):
                await database.until_waiting(1)
            await database.until_waiting(0)
        assert await database.stored(name) == 0
        made = wire.send(body, headers=headers).document["result"]["structuredContent"]
    assert made["name"] == name


async def test_a_modern_client_that_goes_away_within_a_bulk_leaves_nothing_of_it(serve, acme, database, name):
    cases = [{"title": f"{name} {number}"} for number in range(50)]
    body, headers = modern(tool_call("create_test_cases", project=acme.project, cases=cases))
    with serve(pool_size=1, lock_timeout_ms=60_000, statement_timeout_ms=60_000) as wire:
        async with database.locked("audit_log"):
            with wire.opened(body, headers=headers):
                await database.until_waiting(1)
            await database.until_waiting(0)
        assert await database.stored(name) == 0
        assert wire.send(PING).status == 200


async def test_a_legacy_client_that_goes_away_has_its_call_finished(serve, acme, database, name):
    call = tool_call("create_folder", project=acme.project, name=name, idempotencyKey=name)
    with serve(pool_size=1, lock_timeout_ms=60_000, statement_timeout_ms=60_000) as wire:
        async with database.locked("audit_log"):
            with wire.opened(call):
                await database.until_waiting(1)
        first = wire.send(call).document["result"]["structuredContent"]
    assert first["name"] == name
    # The folder, and the answer to the first call that the second one got.
    assert await database.stored(name) == 2


async def test_many_modern_clients_that_go_away_at_any_moment_leave_all_or_nothing(serve, acme, database, name):
    """Whenever it happens: a folder has its row in the audit log and its kept answer, or there is no folder."""
    admin, schema = database.admin, database.schema

    def call_and_go(number):
        own = f"{name} {number}"
        body, headers = modern(tool_call("create_folder", project=acme.project, name=own, idempotencyKey=own))
        with wire.opened(body, headers=headers) as connection:
            connection.settimeout(number / 20_000)
            try:
                connection.recv(1)
            except TimeoutError:
                return False
        return True

    with serve(pool_size=4) as wire:
        with ThreadPoolExecutor(4) as threads:
            answered = [
                f"{name} {number}" for number, seen in enumerate(threads.map(call_and_go, range(1, 400)), 1) if seen
            ]
        assert wire.send(PING).status == 200
    starting = f"{name} %"
    folders = await admin.fetch(f"SELECT name FROM {schema}.folders WHERE name LIKE $1", starting)
    answers = await admin.fetch(
        f"SELECT idempotency_key FROM {schema}.idempotency_keys WHERE idempotency_key LIKE $1 AND answer IS NOT NULL",
        starting,
    )
    audited = await admin.fetch(AUDITED.format(schema) + " AND f.name LIKE $2", acme.project, starting)
    assert {row[0] for row in folders} == {row[0] for row in answers} >= set(answered)
    assert Counter(row[0] for row in audited) == Counter(row[0] for row in folders)


class Shaky:
    """A server of these tests' own, which survives what is done to it; its address stays the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "socket"
        self._running = ExitStack()
        self.postmaster = 0

    def url(self, user="postgres"):
        return f"postgresql://{user}@/postgres?host={self._socket}&port=5432"

    def start(self):
        server = self._running.enter_context(embedded_server(self._folder / "data"))
        self.postmaster = server.pid
        # Each start has a directory of its own for its socket.
        self._socket.unlink(missing_ok=True)
        self._socket.symlink_to(server.socket_directory)

    def stop(self):
        self._running.close()


@pytest.fixture(scope="module")
async def shaky():
    # Not below pytest's own folder: a socket's path has no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="to-abuse-") as folder:
        server = Shaky(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
async def initech(shaky):
    """A workspace on the shaky server."""
    admin = await connect(shaky.url(), name="the test server")
    try:
        await migrate(admin)
        return await make_tenant(admin, "initech", host="", port=0)
    finally:
        await admin.close()


class Load:
    """Writers that create folders, one after the other, each until it is acknowledged."""

    def __init__(self, tenant, host, port, *, writers=4) -> None:
        self._tenant, self._host, self._port, self._writers = tenant, host, port, writers
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self.acknowledged = []
        self.failures = Counter()

    @contextmanager
    def running(self):
        with ThreadPoolExecutor(self._writers) as threads:
            writers = [
                threads.submit(self._write, f"{secrets.token_hex(4)} {number}") for number in range(self._writers)
            ]
            try:
                yield self
            finally:
                self._stop.set()
        for writer in writers:
            writer.result()

    def until_more(self, number):
        """Return when so many more have been acknowledged."""
        with self._progress:
            enough = len(self.acknowledged) + number
            assert self._progress.wait_for(lambda: len(self.acknowledged) >= enough, SECONDS), self.failures

    def _write(self, prefix):
        client = Client(self._host, self._port, self._tenant.people["lead"].key)
        number = 0
        while not self._stop.is_set():
            name = f"{prefix} {number}"
            call = tool_call("create_folder", project=self._tenant.project, name=name, idempotencyKey=name)
            if self._is_acknowledged(client.post(json.dumps(call).encode()), name):
                number += 1
                with self._progress:
                    self.acknowledged.append(name)
                    self._progress.notify_all()
        client.close()

    def _is_acknowledged(self, reply, name):
        status, headers, body = reply
        answer = json.loads(body)
        if "error" in answer:
            self.failures[status, headers.get("retry-after"), answer["error"]["code"]] += 1
            return False
        if answer["result"].get("isError"):
            structured = answer["result"].get("structuredContent")
            self.failures[structured["error"]["code"] if structured else answer["result"]["content"][0]["text"]] += 1
            return False
        assert answer["result"]["structuredContent"]["name"] == name
        return True


async def restart(shaky):
    await asyncio.to_thread(shaky.stop)
    await asyncio.to_thread(shaky.start)


async def kill_and_start(shaky):
    os.kill(shaky.postmaster, signal.SIGKILL)
    await restart(shaky)


async def crash(shaky):
    """Kill one backend: the server ends all the others, and recovers from its log."""
    admin = await connect(shaky.url(), name="the test server")
    os.kill(await admin.fetchval("SELECT min(pid) FROM pg_stat_activity WHERE usename = $1", APP), signal.SIGKILL)
    with pytest.raises((OSError, asyncpg.PostgresError)):
        while True:
            await admin.execute("SELECT 1")


async def terminate(shaky):
    admin = await connect(shaky.url(), name="the test server")
    await admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", APP)
    await admin.close()


async def cancel(shaky):
    admin = await connect(shaky.url(), name="the test server")
    await admin.fetch("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = $1", APP)
    await admin.close()


@pytest.mark.parametrize("harm", [restart, kill_and_start, crash, terminate, cancel])
async def test_no_acknowledged_write_is_lost_and_none_is_made_twice(shaky, initech, harm):
    schema = initech.workspace.schema_name
    with serving(shaky.url(APP), pool_size=3) as (host, port):
        with Load(initech, host, port).running() as load:
            for _ in range(3):
                await asyncio.to_thread(load.until_more, 20)
                await harm(shaky)
            await asyncio.to_thread(load.until_more, 20)
        client = Client(host, port, initech.people["lead"].key)
        assert client.call("create_folder", project=initech.project, name="afterwards")
        client.close()
    admin = await connect(shaky.url(), name="the test server")
    folders = Counter(
        row["name"] for row in await admin.fetch(f"SELECT name FROM {schema}.folders WHERE name <> 'afterwards'")
    )
    audited = Counter(
        row["name"]
        for row in await admin.fetch(AUDITED.format(schema) + " AND f.name <> 'afterwards'", initech.project)
    )
    await admin.close()
    assert folders.keys() >= set(load.acknowledged)
    assert set(folders.values()) == {1}
    assert audited == folders
    assert load.failures.keys() <= {(503, "1", -32603), "BUSY", "TIMEOUT"}
