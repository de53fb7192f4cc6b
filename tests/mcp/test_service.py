"""What depends on the service's own keys, settings and end: it is started once more where it must differ."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from contextlib import ExitStack

import pytest

from tenancy.connection import connect
from tenancy.keys import create_key, hash_key, revoke_key
from tests.conftest import serving

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SECONDS = 10
UNTIL_SOMEBODY_WAITS = """
    DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP;
    END $$
"""


def tool_call(tool, **arguments):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


@pytest.fixture
async def admin(world):
    connection = await connect(world.admin_url, name="the test server")
    yield connection
    await connection.close()


@pytest.fixture
async def new_key(admin, acme):
    """Makes keys of acme's tester."""

    async def make(**options):
        owner = acme.people["tester"].id
        return await create_key(admin, workspace_id=acme.workspace.id, user_id=owner, label="made here", **options)

    return make


async def test_all_keys_that_do_not_work_get_one_answer(wire, admin, new_key):
    now = dt.datetime.now(dt.UTC)
    expired = await new_key(expires_at=now + dt.timedelta(hours=1))
    await admin.execute(
        "UPDATE control.api_keys SET created_at = $2, expires_at = $3 WHERE hash = $1",
        hash_key(expired),
        now - dt.timedelta(hours=2),
        now - dt.timedelta(hours=1),
    )
    revoked = await new_key()
    await revoke_key(admin, await admin.fetchval("SELECT id FROM control.api_keys WHERE hash = $1", hash_key(revoked)))
    orphaned = await new_key()
    await admin.execute("UPDATE control.api_keys SET owner_active = false WHERE hash = $1", hash_key(orphaned))
    keys = [expired, revoked, orphaned, "to_live_" + "A" * 43, "malformed", "\xff"]
    answers = set()
    for key in keys:
        reply = wire.send(PING, headers={"Authorization": f"Bearer {key}"})
        del reply.headers["date"]
        answers.add((reply.status, tuple(reply.headers.items()), reply.body))
    assert [status for status, _, _ in answers] == [401]


async def test_a_key_works_until_it_is_revoked(wire, admin, new_key):
    key = await new_key(expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    headers = {"Authorization": f"Bearer {key}"}
    assert wire.send(PING, headers=headers).status == 200
    await revoke_key(admin, await admin.fetchval("SELECT id FROM control.api_keys WHERE hash = $1", hash_key(key)))
    assert wire.send(PING, headers=headers).status == 401


def test_origins_and_hosts_are_those_of_the_settings(world, wire):
    with serving(
        world.service_url, allowed_origins="https://app.example.com, https://b.example", allowed_hosts="api.example.com"
    ) as (host, port):
        other = type(wire)(host, port, wire.key)
        for headers, status in [
            ({}, 403),
            ({"Host": "api.example.com"}, 200),
            ({"Host": "api.example.com", "Origin": "https://app.example.com"}, 200),
            ({"Host": "api.example.com", "Origin": "https://b.example"}, 200),
            ({"Host": "api.example.com", "Origin": "https://evil.example"}, 403),
            ({"Host": "evil.example", "Origin": "https://app.example.com"}, 403),
        ]:
            assert status == other.send(PING, headers=headers).status, headers


@pytest.mark.parametrize("stays", [True, False], ids=["its client waits", "its client went away"])
async def test_a_call_that_runs_when_the_service_is_stopped_is_finished(world, wire, acme, admin, stays):
    name = f"made while stopping, {stays}"
    create = tool_call("create_folder", project=acme.project, name=name)
    is_running = threading.Event()

    def call_and_stop():
        with ExitStack() as client_side:
            with serving(world.service_url) as (host, port):
                other = type(wire)(host, port, wire.key)
                connection = client_side.enter_context(other.opened(create))
                assert is_running.wait(SECONDS)
                if not stays:
                    client_side.close()
            return other.reply(connection) if stays else None

    async with admin.transaction():
        await admin.execute(f"LOCK TABLE {acme.workspace.schema_name}.folders IN ACCESS EXCLUSIVE MODE")
        stopping = asyncio.create_task(asyncio.to_thread(call_and_stop))
        await admin.execute(UNTIL_SOMEBODY_WAITS, timeout=SECONDS)
        is_running.set()
        await asyncio.sleep(0.2)
        assert not stopping.done()
    reply = await stopping
    assert not stays or reply.document["result"]["structuredContent"]["name"] == name
    assert name in wire.send(tool_call("get_folders", project=acme.project)).body.decode()
