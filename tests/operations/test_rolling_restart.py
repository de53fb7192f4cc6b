"""Processes of the service behind the proxy of docker/: restarted one after the other, and no call fails."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Client
from tests.operations.test_health import get, wait_for

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60
CALLERS = 4
# What docs/operations.md advises between two processes.
PAUSE = 3


@pytest.fixture
def caddy():
    if (found := shutil.which("caddy")) is None:
        pytest.skip("caddy is not installed")
    return found


def free_ports(count):
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


@contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_listening(port, process):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until
            threading.Event().wait(0.05)


@contextmanager
def proxy(caddy, folder, port, upstreams):
    """Caddy with the file of docker/, on loopback and without TLS or a port for its administration."""
    configuration = folder / "Caddyfile"
    configuration.write_text("{\n\tadmin off\n}\n" + (ROOT / "docker" / "Caddyfile").read_text())
    environment = os.environ | {
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "UPSTREAMS": " ".join(f"127.0.0.1:{upstream}" for upstream in upstreams),
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
    }  # fmt: skip
    command = [caddy, "run", "--config", configuration, "--adapter", "caddyfile"]
    with (
        (folder / "caddy.log").open("wb") as log,
        ended(subprocess.Popen(command, env=environment, stderr=log)) as process,  # noqa: S603
    ):
        wait_until_listening(port, process)
        yield


class Replica:
    """A process of the service, as the image starts it."""

    def __init__(self, stack, port, service_url):
        self._stack = stack
        self._port = port
        self._environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {
            "SERVICE_DATABASE_URL": service_url,
            "TESTORCHESTRATOR_TRUSTED_PROXIES": "1",
            "TESTORCHESTRATOR_CALLS_PER_SECOND": "0",
            "TESTORCHESTRATOR_DRAIN_SECONDS": "4",
            "TESTORCHESTRATOR_LOG_LEVEL": "warning",
        }
        self.start()

    def start(self):
        command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(self._port), "--wait", "60"]
        self.process = self._stack.enter_context(
            ended(subprocess.Popen(command, env=self._environment))  # noqa: S603 - our own program
        )
        wait_until_listening(self._port, self.process)
        wait_for(200, self._port)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def test_processes_are_restarted_one_after_the_other_without_a_failed_call(world, caddy, tmp_path):
    public, *ports = free_ports(3)
    answers, stop = [], threading.Event()
    project = world.acme.project

    def call(person):
        client = Client("127.0.0.1", public, world.acme.people[person].key)
        while not stop.is_set():
            arguments = {"project": project, "name": secrets.token_hex(8)}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
            message["params"] = {"name": "create_folder", "arguments": arguments}
            try:
                status, _, body = client.post(json.dumps(message).encode())
            except (OSError, http.client.HTTPException) as error:
                status, body = 0, repr(error).encode()
            is_done = status == 200 and not json.loads(body)["result"].get("isError")
            answers.append("done" if is_done else f"{status} {body[:200]!r}")
        client.close()

    with ExitStack() as stack:
        replicas = [Replica(stack, port, world.service_url) for port in ports]
        stack.enter_context(proxy(caddy, tmp_path, public, ports))
        callers = [threading.Thread(target=call, args=("lead",)) for _ in range(CALLERS)]
        try:
            for caller in callers:
                caller.start()
            for replica in replicas:
                count = len(answers)
                assert replica.stop() == 0
                # The other one has all the calls meanwhile.
                assert len(answers) > count
                replica.start()
                # The proxy asks every second, and must have seen it before the other one goes.
                time.sleep(PAUSE)
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        failed = [answer for answer in answers if answer != "done"]
        assert failed == [], (tmp_path / "caddy.log").read_text()
        assert len(answers) > 100
        for path in ("/readyz", "/healthz", "/metrics"):
            assert get(public, path)[0] == 404


def test_the_proxy_hands_on_one_address_of_the_client(world, caddy, tmp_path):
    """With TRUSTED_PROXIES=1, what a client says of its address itself is not believed."""
    public, port = free_ports(2)
    with ExitStack() as stack:
        replica = Replica(stack, port, world.service_url)
        replica.stop()
        replica._environment |= {"TESTORCHESTRATOR_WRONG_KEYS_PER_MINUTE": "3"}
        replica.start()
        stack.enter_context(proxy(caddy, tmp_path, public, [port]))
        statuses = []
        for number in range(8):
            client = Client("127.0.0.1", public, f"to_live_{number:043d}")
            body = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
            statuses.append(client.post(body, **{"X-Forwarded-For": f"203.0.113.{number}"})[0])
            client.close()
    assert statuses[:3] == [401] * 3
    assert 429 in statuses
    assert re.fullmatch(r"(401)+(429)+", "".join(map(str, statuses)))


@pytest.mark.parametrize("offered", ["h2c", "websocket"])
def test_the_proxy_passes_no_upgrade_on(caddy, tmp_path, offered):
    seen = []

    class Upstream(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/mcp":
                seen.append({name.lower() for name in self.headers})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ExitStack() as stack:
        upstream = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream))
        stack.callback(upstream.shutdown)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        [public] = free_ports(1)
        stack.enter_context(proxy(caddy, tmp_path, public, [upstream.server_port]))
        connection = http.client.HTTPConnection("127.0.0.1", public, timeout=PATIENCE)
        stack.callback(connection.close)
        connection.request(
            "GET",
            "/mcp",
            headers={
                "Connection": "Upgrade, HTTP2-Settings",
                "Upgrade": offered,
                "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        )
        assert connection.getresponse().status == 200
    [names] = seen
    assert not names & {"upgrade", "connection", "http2-settings"}
