"""The application run by servers of ASGI that know nothing of it, and `serve` by either of the two that it knows."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.conftest import Client, new_database
from tests.operations.test_health import PATIENCE, get, port_of, process, wait_for
from tests.operations.test_metrics import free_port
from tests.operations.test_workers import instance

COMMANDS = {
    "uvicorn": ["uvicorn", "--factory", "service.asgi:create", "--no-proxy-headers", "--port", "{port}"],
    "hypercorn": ["hypercorn", "service.asgi:create()", "--bind", "127.0.0.1:{port}"],
}
WITHOUT_UVICORN = (
    "import sys; sys.modules['uvicorn'] = None; sys.argv = ['testorchestrator', 'serve', '--server', 'uvicorn']; "
    "from service.cli import main; main()"
)


@contextmanager
def run(command, port, service_url, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    words = [word.format(port=port) for word in command]
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", *words],
        env=clean | environment | {"SERVICE_DATABASE_URL": service_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def call(port, key):
    client = Client("127.0.0.1", port, key)
    try:
        return client.call("get_projects")["total"]
    finally:
        client.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_any_server_runs_the_factory(world, name):
    port, metrics = free_port(), free_port()
    key = world.acme.people["lead"].key
    with run(COMMANDS[name], port, world.service_url, TESTORCHESTRATOR_METRICS_PORT=str(metrics)) as started:
        for line in started.stdout:
            if f":{port}" in line:
                break
        wait_for(200, port)
        assert call(port, key) > 0
        assert b"testorchestrator_database_errors_total" in get(metrics, "/metrics")[1]
        # What is before the application on every server, whatever that would take by itself.
        handshake = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/mcp", headers=handshake)
        assert 400 <= connection.getresponse().status < 500
        connection.close()
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE) in {0, -signal.SIGTERM}
        assert "Traceback" not in started.stdout.read()


async def test_the_factory_does_not_serve_a_database_of_another_kind(postgres):
    async with new_database(postgres) as (name, _):
        # A superuser's login isolates nobody.
        with run(COMMANDS["uvicorn"], free_port(), postgres.dsn(database=name)) as started:
            told, _ = started.communicate(timeout=PATIENCE)
            assert started.returncode != 0
    assert "Application startup failed" in told


@pytest.mark.parametrize("name", COMMANDS)
def test_serve_by_either_server_ends_well(world, name):
    key = world.acme.people["lead"].key
    with process(world.service_url, "--server", name) as started:
        port = port_of(started)
        assert call(port, key) > 0
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE) == 0
        assert [json.loads(line)["event"] for line in started.stderr] == ["call"]


def test_workers_serve_by_the_server_that_was_chosen(world):
    key = world.acme.people["lead"].key
    with instance(world.service_url, workers="2", TESTORCHESTRATOR_SERVER="uvicorn") as served:
        assert len(served.workers) == 2
        assert call(served.port, key) > 0
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
        # Hypercorn's parser knows any method.
        connection.request("BREW", "/mcp")
        assert connection.getresponse().status == 400
        connection.close()
        assert served.stop() == 0


def test_a_server_that_is_not_installed_is_told_in_one_line():
    environment = os.environ | {"SERVICE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", WITHOUT_UVICORN], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "pip install 'testorchestrator[uvicorn]'" in line


def test_a_server_that_there_is_not_is_told_in_one_line():
    environment = os.environ | {"SERVICE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve", "--server", "apache"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "'hypercorn' or 'uvicorn'" in line
