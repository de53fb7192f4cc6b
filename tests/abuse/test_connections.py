"""More connections than a process has room for: those idle for the longest go, and nobody is locked out."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack, suppress

import pytest

from tests.abuse.conftest import PING, SECONDS, eventually, running, tool_call

#: More than the service may have open, which is more than it starts with.
MANY, LIMITS = 400, (64, 256)


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn"])
def service(world, request):
    """The service with few descriptors."""
    lead = world.acme.people["lead"]
    with running(world.service_url, lead.key, descriptors=LIMITS, server=request.param) as started:
        yield started


@pytest.fixture
def opened():
    """Opens connections, which are closed in the end."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(
            socket.create_connection((service.wire.host, service.wire.port), timeout=SECONDS)
        )


def is_closed(connection):
    connection.setblocking(False)
    with suppress(BlockingIOError):
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True
    return False


def call(connection, wire, body):
    """The answer to *body* over a connection that stays."""
    data = json.dumps(body).encode()
    connection.sendall(head(wire, data) + data)
    return wire.reply(connection)


def head(wire, data):
    lines = (
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {wire.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def test_it_takes_as_many_descriptors_as_it_may_and_says_so(service):
    assert service.until("serving")["descriptors"] == LIMITS[1]
    assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (LIMITS[1], LIMITS[1])


def test_those_idle_for_the_longest_make_room_for_others(service, opened):
    wire = service.wire
    data = json.dumps(tool_call("get_projects")).encode()
    under_way, used = opened(service), opened(service)
    under_way.sendall(head(wire, data) + data[:10])
    idle = []
    for _ in range(MANY // 20):
        idle += [opened(service) for _ in range(20)]
        # By then they have been accepted, all of them.
        assert call(used, wire, PING).status == 200
    assert wire.send(tool_call("get_projects")).status == 200
    under_way.sendall(data[10:])
    assert wire.reply(under_way).status == 200
    closed = [is_closed(connection) for connection in idle]
    assert closed == sorted(closed, reverse=True)
    assert MANY - LIMITS[1] < sum(closed) < MANY
    assert service.until("too_many_connections")["most"] == MANY - sum(closed) + 3


def test_however_many_come_at_once_nobody_is_locked_out(service, opened):
    kept = [opened(service) for _ in range(MANY)]
    eventually(200, lambda: service.wire.send(tool_call("get_projects")))
    assert any(map(is_closed, kept))
