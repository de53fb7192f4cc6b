"""`/healthz` and `/readyz`: with the database, without it, when it is back, and while the service stops."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from tenancy.connection import connect
from tenancy.migrate import migrate
from tenancy.roles import APP
from tests.conftest import Client, new_database, serving

COMMAND = [sys.executable, "-P", "-m", "service.cli"]
PATIENCE = 30


def get(port, path, method="GET"):
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_for(status, port, path="/readyz"):
    until = time.monotonic() + PATIENCE
    while (found := get(port, path)[0]) != status:
        assert time.monotonic() < until, found
        threading.Event().wait(0.05)


def _end(*ends):
    for end in ends:
        # Closing alone would not wake up who reads from it.
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


class Gate:
    """A port that leads to the server's, until it hangs or is shut."""

    def __init__(self, socket_path):
        self._path = socket_path
        self._open = threading.Event()
        self._open.set()
        self._ends = []
        self._listen(0)

    def _listen(self, port):
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if not self._open.is_set():
                # Taken, and never answered: a server that hangs.
                self._ends.append(client)
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._path)
            self._ends += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                if self._open.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        finally:
            _end(source, sink)

    def hang(self):
        """Let nothing through any more, without a word."""
        self._open.clear()

    def shut(self):
        """Refuse new connections, and break the old ones."""
        self._close_ends()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def open(self):
        """Let new connections through; the old ones are gone."""
        self._close_ends()
        self._open.set()
        if self._listening.fileno() < 0:
            self._listen(self.port)

    def _close_ends(self):
        _end(*self._ends)
        self._ends = []

    def close(self):
        self._listening.close()
        self._close_ends()


@contextmanager
def process(service_url, *arguments, **environment):
    """`serve` as a process, killed at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    with subprocess.Popen(  # noqa: S603 - our own program
        [*COMMAND, "serve", "--port", "0", *arguments],
        env=clean | environment | {"SERVICE_DATABASE_URL": service_url},
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def port_of(started):
    """The port that it says it serves on."""
    for line in started.stderr:
        event = json.loads(line)
        if event["event"] == "serving":
            return event["port"]
    raise AssertionError


def status_of_call(host, port, key):
    connection = Client(host, port, key)
    try:
        return connection.post(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}')[0]
    finally:
        connection.close()


@pytest.fixture
async def database(postgres):
    async with new_database(postgres) as (name, _):
        yield name


@pytest.fixture
def gate(postgres):
    made = Gate(f"{postgres.socket_directory}/.s.PGSQL.5432")
    yield made
    made.close()


async def test_a_process_is_ready_while_the_database_answers_and_recovers_by_itself(database, gate):
    url = f"postgresql://{APP}@127.0.0.1:{gate.port}/{database}"
    with serving(url) as (_, port):
        assert get(port, "/healthz") == (200, b'{"status":"ok"}')
        assert get(port, "/readyz") == (200, b'{"status":"ok"}')
        gate.hang()
        await asyncio.to_thread(wait_for, 503, port)
        assert get(port, "/readyz") == (503, b'{"status":"no database"}')
        assert get(port, "/healthz")[0] == 200
        gate.open()
        await asyncio.to_thread(wait_for, 200, port)


async def test_the_postgres_of_a_ready_process_goes_and_comes_back(database, gate):
    url = f"postgresql://{APP}@127.0.0.1:{gate.port}/{database}"
    with serving(url) as (_, port):
        assert get(port, "/readyz")[0] == 200
        gate.shut()
        await asyncio.to_thread(wait_for, 503, port)
        gate.open()
        await asyncio.to_thread(wait_for, 200, port)


async def test_a_pool_that_is_used_up_is_no_reason_to_be_passed_over(world):
    with serving(world.service_url, pool_size=1, pool_wait_seconds=0.1) as (host, port):
        lead = world.acme.people["lead"].key
        blocker = await connect(world.admin_url, name="the test server")
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE control.api_keys IN ACCESS EXCLUSIVE MODE")
            held = asyncio.create_task(asyncio.to_thread(status_of_call, host, port, lead))
            while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(status_of_call, host, port, lead) == 503
            assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 200
        await held
        await blocker.close()


async def test_many_who_ask_are_one_question_to_the_database(postgres, database):
    with serving(postgres.dsn(user=APP, database=database)) as (_, port):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(asyncio.to_thread(get, port, "/readyz")) for _ in range(20)]
        assert {task.result()[0] for task in asked} == {200}
        root = await connect(postgres.dsn(database=database), name="the test server")
        connections = await root.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", APP)
        await root.close()
        assert connections == 1


def test_health_says_nothing_else(world):
    for path in ("/healthz", "/readyz"):
        connection = http.client.HTTPConnection(world.host, world.port, timeout=PATIENCE)
        connection.request("HEAD", path)
        response = connection.getresponse()
        headers = {name.lower() for name, _ in response.getheaders()}
        assert (response.status, response.read()) == (200, b"")
        assert headers == {"cache-control", "content-length", "content-type", "date", "x-content-type-options"}
        connection.close()
        assert get(world.port, path, "POST")[0] == 405
    assert get(world.port, "/metrics")[0] == 404


async def test_a_process_that_stops_is_not_ready_and_still_serves(postgres, database):
    with process(postgres.dsn(user=APP, database=database), TESTORCHESTRATOR_DRAIN_SECONDS="300") as serving_process:
        port = port_of(serving_process)
        assert get(port, "/readyz") == (200, b'{"status":"ok"}')
        serving_process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, 503, port)
        assert get(port, "/readyz") == (503, b'{"status":"stopping"}')
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/mcp", "POST")[0] == 401


async def test_serve_waits_for_a_database_that_it_can_serve_and_says_for_what(postgres):
    name = f"waiting_{time.time_ns()}"
    root = await connect(postgres.dsn(), name="the test server")
    with process(postgres.dsn(user=APP, database=name), "--wait", "120") as waiting:
        told = [json.loads(waiting.stderr.readline())]
        await root.execute(f"CREATE DATABASE {name}")
        told.append(json.loads(waiting.stderr.readline()))
        admin = await connect(postgres.dsn(database=name), name="the test server")
        await migrate(admin)
        await admin.close()
        assert get(port_of(waiting), "/readyz")[0] == 200
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(PATIENCE) == 0
    await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await root.close()
    assert [line["event"] for line in told] == ["waiting", "waiting"]
    assert "does not exist" in told[0]["reason"]
    assert "there is no schema control" in told[1]["reason"] or "set_config" in told[1]["reason"]


def test_serve_does_not_wait_for_ever():
    with process("postgresql://x@127.0.0.1:1/x", "--wait", "1") as waiting:
        _, err = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 1
    assert "Waited 1 s in vain. SERVICE_DATABASE_URL: no connection to the server" in err
    assert "Traceback" not in err


async def test_a_database_of_another_release_is_refused_at_the_start(postgres, database):
    root = await connect(postgres.dsn(database=database), name="the test server")
    await root.execute("ALTER FUNCTION control.authenticate_key(bytea) RENAME TO authenticate_of_old")
    await root.close()
    with process(postgres.dsn(user=APP, database=database)) as refused:
        _, err = refused.communicate(timeout=PATIENCE)
    assert refused.returncode == 1
    assert "Run: testorchestrator migrate" in err
