"""Too many calls, and wrong keys by the thousand, over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from tenancy.keys import create_key, hash_key, revoke_key
from tests.abuse.conftest import PING, bearer, eventually, tool_call, wrong_key
from tests.conftest import Client

BATCH = {"MCP-Protocol-Version": "2025-03-26"}


def headers_but_date(reply):
    return sorted((name.lower(), value) for name, value in reply.headers.items() if name.lower() != "date")


@pytest.fixture
async def new_key(admin, acme):
    """Makes keys of acme's tester."""

    async def make():
        owner = acme.people["tester"].id
        return await create_key(admin, workspace_id=acme.workspace.id, user_id=owner, label="made here")

    return make


@pytest.fixture
def no_look_ups(admin):
    """A context manager in which whoever asks the database about a key waits in vain, and gets 503."""

    @asynccontextmanager
    async def locked():
        async with admin.transaction():
            await admin.execute("LOCK TABLE control.api_keys IN ACCESS EXCLUSIVE MODE")
            yield

    return locked


def test_a_key_that_calls_too_often_is_told_when_to_try_again(serve, acme):
    with serve(calls_per_second=0.01, calls_burst=3) as wire:
        replies = [wire.send(PING) for _ in range(5)]
        other = wire.send(PING, headers=bearer(acme.people["tester"].key))
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    refused = replies[-1]
    assert int(refused.headers["Retry-After"]) in range(90, 101)
    assert refused.document["error"]["code"] == -32600
    assert "at most 0.01 a second" in refused.document["error"]["message"]
    assert refused.headers["Content-Type"] == "application/json"
    assert other.status == 200


def test_a_key_may_call_again_once_it_has_waited(serve):
    with serve(calls_per_second=50, calls_burst=1) as wire:
        while (reply := wire.send(PING)).status == 200:
            pass
        assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
        eventually(200, lambda: wire.send(PING))


def test_each_call_of_a_batch_counts(serve):
    with serve(calls_per_second=0.01, calls_burst=10) as wire:
        assert wire.send([PING] * 10, headers=BATCH).status == 200
        assert wire.send(PING).status == 429


async def test_who_calls_too_often_is_refused_without_asking_the_database(serve, no_look_ups):
    with serve(calls_per_second=0.01, calls_burst=1) as wire:
        assert wire.send(PING).status == 200
        async with no_look_ups():
            assert wire.send(PING).status == 429


async def test_malformed_keys_are_wrong_keys_without_asking_the_database(serve, no_look_ups):
    key = wrong_key()
    malformed = ["x", key[:-1], key + "A", key.replace("live", "test"), key[:-1] + "!", key.upper(), key + "\xff"]
    with serve(wrong_keys_per_minute=1) as wire:
        async with no_look_ups():
            replies = [wire.send(PING, headers=bearer(key)) for key in malformed * 20]
            assert wire.send(PING, headers=bearer(key)).status == 503
        assert wire.send(PING, headers=bearer(key)).status == 401
    assert {reply.status for reply in replies} == {401}


def test_wrong_keys_get_the_one_answer_and_then_have_to_wait(serve):
    with serve(wrong_keys_per_minute=5) as wire:
        malformed = wire.send(PING, headers=bearer("malformed"))
        replies = [wire.send(PING, headers=bearer(wrong_key())) for _ in range(7)]
    assert [reply.status for reply in replies] == [401] * 5 + [429] * 2
    for reply in replies[:5]:
        assert (reply.body, headers_but_date(reply)) == (malformed.body, headers_but_date(malformed))
    assert int(replies[-1].headers["Retry-After"]) in range(1, 13)
    assert replies[-1].document["error"]["code"] == -32600
    assert "wrong API keys" in replies[-1].document["error"]["message"]


async def test_a_throttled_address_does_not_reach_the_database(serve, no_look_ups):
    with serve(wrong_keys_per_minute=1) as wire:
        assert wire.send(PING).status == 200
        assert wire.send(PING, headers=bearer(wrong_key())).status == 401
        async with no_look_ups():
            assert wire.send(PING, headers=bearer(wrong_key())).status == 429
        assert wire.send(PING).status == 200


async def test_a_right_key_that_is_new_behind_a_throttled_address_works_after_the_wait(serve, new_key):
    key = await new_key()
    with serve(wrong_keys_per_minute=60) as wire:
        while (reply := wire.send(PING, headers=bearer(wrong_key()))).status == 401:
            pass
        assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
        eventually(200, lambda: wire.send(PING, headers=bearer(key)))
        assert [wire.send(PING, headers=bearer(key)).status for _ in range(20)] == [200] * 20


async def test_a_revoked_key_is_refused_at_once_and_soon_not_even_looked_up(serve, admin, new_key):
    key = await new_key()
    with serve(wrong_keys_per_minute=60) as wire:
        assert wire.send(PING, headers=bearer(key)).status == 200
        await revoke_key(admin, await admin.fetchval("SELECT id FROM control.api_keys WHERE hash = $1", hash_key(key)))
        statuses = [wire.send(PING, headers=bearer(key)).status for _ in range(10)]
        assert wire.send(PING).status == 200
    assert statuses == [401] * 6 + [429] * 4


def test_addresses_are_told_apart_by_a_trusted_proxy_only(serve):
    def tried(wire, address):
        return wire.send(PING, headers=bearer(wrong_key()) | {"X-Forwarded-For": address}).status

    with serve(wrong_keys_per_minute=1) as wire:
        assert [tried(wire, f"192.0.2.{number}") for number in range(3)] == [401, 429, 429]
    with serve(wrong_keys_per_minute=1, trusted_proxies=1) as wire:
        assert [tried(wire, f"192.0.2.{number}") for number in range(3)] == [401, 401, 401]
        assert [tried(wire, f"192.0.2.{number}, 198.51.100.7") for number in range(3)] == [401, 429, 429]


async def try_keys(host, port, *, times):
    """Send *times* requests with wrong keys over one connection and return how often each status came."""
    statuses = Counter()
    reader, writer = await asyncio.open_connection(host, port)
    body = json.dumps(PING).encode()
    for _ in range(times):
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {wrong_key()}\r\nContent-Length: {len(body)}\r\n"
        )
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        [length] = [int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(length)
        statuses[int(answer[9:12])] += 1
    writer.close()
    await writer.wait_closed()
    return statuses


async def test_ten_thousand_wrong_keys_are_survived(serve):
    """Ten connections try a thousand keys each, and a right key is served all the while."""
    done = threading.Event()
    served = Counter()

    def call_until_done(wire):
        client = Client(wire.host, wire.port, wire.key)
        while not done.is_set():
            status, _, body = client.post(json.dumps(tool_call("get_projects")).encode())
            served[status, b'"items"' in body] += 1
        client.close()

    with serve(wrong_keys_per_minute=60) as wire:
        assert wire.send(PING).status == 200
        caller = threading.Thread(target=call_until_done, args=[wire])
        began = time.monotonic()
        caller.start()
        try:
            statuses = sum(
                await asyncio.gather(*(try_keys(wire.host, wire.port, times=1000) for _ in range(10))), Counter()
            )
        finally:
            elapsed = time.monotonic() - began
            done.set()
            await asyncio.to_thread(caller.join)
        assert wire.send(PING).status == 200
    assert set(statuses) == {401, 429}
    assert statuses.total() == 10_000
    # The burst, then one a second; each time the other nine may be under way already.
    assert 60 <= statuses[401] <= 70 + 10 * elapsed
    assert served.keys() == {(200, True)}
