"""The service with limits of the test's own, over the database of the world."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager

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
