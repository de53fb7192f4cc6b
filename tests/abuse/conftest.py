"""The service with limits of the test's own, over the database of the world."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tenancy.connection import connect
from tenancy.keys import PREFIX
from tests.conftest import serving
from tests.mcp.conftest import Wire

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SECONDS = 20


def tool_call(tool, *, id_=1, **arguments):
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def wrong_key():
    """A key that nobody has, and that only the database can tell from a right one."""
    return PREFIX + secrets.token_urlsafe(32)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def eventually(status, send):
    """Repeat *send* until its reply has the status."""
    until = time.monotonic() + SECONDS
    while (reply := send()).status != status:
        assert time.monotonic() < until, reply.body
    return reply


@dataclass(frozen=True)
class Service:
    """A process that serves; *lines* are of its log."""

    process: subprocess.Popen[str]
    lines: list[str]
    wire: Wire

    def until(self, event):
        """Return the next of such events."""
        while True:
            self.lines.append(self.process.stderr.readline())
            assert self.lines[-1], "the service has ended"
            if (logged := json.loads(self.lines[-1]))["event"] == event:
                return logged

    def logged(self, body: Any = b"", **options: Any) -> dict[str, Any]:
        """Send a request, and return what is logged of it."""
        self.wire.send(body, **options)
        return self.until("call")


@contextmanager
def running(url: str, key: str, *, descriptors: tuple[int, int] | None = None, **settings: str):
    """The service as operators run it. *descriptors* are its limits of how many it may have: soft and hard."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TESTORCHESTRATOR_")}
    environment |= {f"TESTORCHESTRATOR_{name.upper()}": value for name, value in settings.items()}
    limited = []
    if descriptors is not None:
        limited = ["sh", "-c", 'ulimit -Sn $0; ulimit -Hn $1; shift; exec "$@"', *map(str, descriptors)]
    with subprocess.Popen(  # noqa: S603 - our own program
        [*limited, sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(port)],
        env=environment | {"SERVICE_DATABASE_URL": url},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            service = Service(process, [], Wire("127.0.0.1", port, key))
            until_served(port)
            yield service
        finally:
            process.terminate()
            service.lines.extend(process.stderr.readlines())


def until_served(port):
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
    raise AssertionError("nobody listens")


@pytest.fixture(scope="module")
def serve(world):
    """Serve with given settings: a context manager of a Wire with the key of acme's Lead."""

    @contextmanager
    def served(**settings):
        with serving(world.service_url, **settings) as (host, port):
            yield Wire(host, port, world.acme.people["lead"].key)

    return served


@pytest.fixture
async def admin(world):
    """A superuser's connection to the database of the world."""
    connection = await connect(world.admin_url, name="the test server")
    yield connection
    await connection.close()
