"""Strangers ask for pages without end, and go away: others are served, and nothing is done for who has gone."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from tenancy.connection import connect
from tests.abuse.conftest import SECONDS, running, tool_call
from tests.conftest import SECRET_KEY
from tests.web.browsing import Browser
from tests.web.conftest import PASSWORD, give_password
from tests.web.visiting import sign_in

SIGN_IN = "/w/acme/sign-in"
#: Patience of the database that no test comes to the end of.
PATIENT = {"statement_timeout_ms": 600_000, "lock_timeout_ms": 600_000}


def request(path, *lines, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def vanish(connection):
    """Close the connection as who resets it does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def flooding(wire, *, pipelined=1000, connections=4):
    """Pipelined pages over connections that are closed or reset at once; how many pages were asked for."""
    asked, stop = [], threading.Event()

    def flood(number):
        while not stop.is_set():
            connection = socket.create_connection((wire.host, wire.port), timeout=SECONDS)
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request(SIGN_IN) * pipelined)
                asked.append(pipelined)
            stop.wait(0.05)
            if number % 2:
                vanish(connection)
            else:
                connection.close()

    threads = [threading.Thread(target=flood, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)


@pytest.fixture
async def count_look_ups(world, admin):
    """Counts how often a workspace was looked up for a page. What is counted is there once the services have ended."""
    await admin.execute(f"ALTER DATABASE {world.database} SET track_functions = 'all'")

    async def count():
        await admin.execute("SELECT pg_stat_clear_snapshot()")
        return await admin.fetchval(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = 'find_workspace'"
        )

    yield count
    await admin.execute(f"ALTER DATABASE {world.database} RESET track_functions")


@pytest.fixture
def lead_at(world, admin):
    """The lead of acme, signed in at a service of the test's own."""

    async def at(wire):
        tenant = replace(world.acme, host=wire.host, port=wire.port)
        return await sign_in(admin, tenant, tenant.people["lead"].id)

    return at


@pytest.fixture
async def locked(world):
    """Lets whoever needs a table of acme wait, for as long as it lasts."""
    connection = await connect(world.admin_url, name="the test server")

    @asynccontextmanager
    async def lock(table, tenant=world.acme):
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {tenant.workspace.schema_name}.{table} IN ACCESS EXCLUSIVE MODE")
            yield

    yield lock
    await connection.close()


async def wait_until(true, *arguments):
    for _ in range(SECONDS * 50):
        if await true(*arguments):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {true.__name__}")


async def test_who_has_a_key_or_a_session_is_served_while_strangers_flood(serve, lead_at, count_look_ups, figure):
    before = await count_look_ups()
    with serve(guest_pages_per_minute=60) as wire:
        lead = await lead_at(wire)
        with flooding(wire) as asked:
            began = time.monotonic()
            calls = [wire.send(tool_call("get_projects")).status for _ in range(30)]
            pages = [lead.get().status for _ in range(30)]
        seconds = time.monotonic() - began
    assert set(calls) == set(pages) == {200}
    looked_up = await count_look_ups() - before
    figure("pages that strangers asked for in a flood", sum(asked))
    figure("look-ups of workspaces that these led to", looked_up - len(pages))
    # The one address had sixty at once, and one more in each second.
    assert looked_up - len(pages) <= 60 + seconds + 1
    assert sum(asked) > 10 * looked_up


def test_an_address_gets_so_many_pages_without_a_session_whatever_it_asks_for(serve, caplog):
    caplog.set_level("INFO")
    with serve(guest_pages_per_minute=3, trusted_proxies=1) as wire:
        here = Browser(wire.host, wire.port)
        asked = ["/w/acme/sign-in", "/w/nobody/sign-in", "/w/acme/admin/users", "/", "/favicon.ico"]
        office, home = ({"X_Forwarded_For": address} for address in ("2001:db8::1", "2001:db8:0:1::1"))
        assert [here.get(path, **office).status for path in asked] == [200, 404, 303, 429, 429]
        caplog.clear()
        refused = [here.get(path, X_Forwarded_For="2001:db8::2") for path in asked]
        assert {(page.status, page.body) for page in refused} == {(429, refused[0].body)}
        assert {page.headers["connection"] for page in refused} == {"close"}
        assert {int(page.headers["retry-after"]) for page in refused} <= {19, 20}
        assert caplog.text.count("status=429 address='2001:db8::/64'") == len(asked)
        assert here.get(asked[0], **home).status == 200
        # What programs ask for, and the files of pages, are not counted.
        assert here.get("/healthz", **office).status == here.get("/readyz", **office).status == 200
        assert wire.send(tool_call("get_projects"), headers={"X-Forwarded-For": "2001:db8::1"}).status == 200


async def test_who_shows_a_session_is_no_stranger_until_it_has_ended(serve, lead_at, admin):
    with serve(guest_pages_per_minute=1) as wire:
        lead = await lead_at(wire)
        assert [lead.get().status for _ in range(5)] == [200] * 5
        stamp = await admin.fetchval("UPDATE control.passwords SET stamp = 'another' RETURNING stamp")
        assert stamp == "another"
        # The first one finds out, the second has the one of the address.
        assert [lead.get().status for _ in range(4)] == [303, 303, 429, 429]


async def test_strangers_work_one_after_the_other_and_hold_up_no_one_else(serve, lead_at, world, admin, locked):
    """The pool for accounts has two connections, so that one stranger is served at a time."""
    globex = world.globex
    await give_password(admin, globex, "lead")
    with serve(pool_wait_seconds=0.2, **PATIENT) as wire:
        lead = await lead_at(wire)
        stranger = Browser(wire.host, wire.port)
        form = stranger.get("/w/globex/sign-in").hidden() | {"email": globex.people["lead"].email, "password": PASSWORD}
        async with locked("users", globex):
            signing_in = asyncio.create_task(asyncio.to_thread(stranger.post, "/w/globex/sign-in", form))
            await wait_until(is_waiting, admin)
            refused = await asyncio.to_thread(Browser(wire.host, wire.port).get, SIGN_IN)
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert (await asyncio.to_thread(lead.get)).status == 200
        assert (await signing_in).status == 303
        assert Browser(wire.host, wire.port).get(SIGN_IN).status == 200


async def is_waiting(admin):
    return await admin.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )


async def waits_no_more(admin):
    return not await is_waiting(admin)


@pytest.mark.parametrize("leave", [socket.socket.close, vanish], ids=["closes", "resets"])
@pytest.mark.parametrize("pipelined", [1, 100])
async def test_no_page_is_made_for_who_has_gone(  # noqa: PLR0917 - fixtures
    serve, lead_at, locked, admin, count_look_ups, leave, pipelined
):
    before = await count_look_ups()
    with serve(**PATIENT) as wire:
        lead = await lead_at(wire)
        connection = socket.create_connection((wire.host, wire.port), timeout=SECONDS)
        async with locked("projects"):
            connection.sendall(request(f"{lead.root}/", f"Cookie: session={lead.cookie}") * pipelined)
            await wait_until(is_waiting, admin)
            leave(connection)
            await wait_until(waits_no_more, admin)
        assert lead.get().status == 200
    assert await count_look_ups() - before == 2


async def test_nothing_is_looked_up_for_who_had_gone_before_it_was_their_turn(world, count_look_ups):
    before = await count_look_ups()
    settings = {"secret_key": SECRET_KEY, "guest_pages_per_minute": "0"}
    with running(world.service_url, world.acme.people["lead"].key, **settings) as service:
        assert Browser(service.wire.host, service.wire.port).get(SIGN_IN).status == 200
        service.process.send_signal(signal.SIGSTOP)
        for number in range(40):
            connection = socket.create_connection((service.wire.host, service.wire.port), timeout=SECONDS)
            connection.sendall(request(SIGN_IN) * 10)
            vanish(connection) if number % 2 else connection.close()
        service.process.send_signal(signal.SIGCONT)
        assert service.wire.send(tool_call("get_projects")).status == 200
    assert await count_look_ups() - before == 1


async def test_a_form_that_is_being_carried_out_is_carried_out_although_its_sender_has_gone(
    serve, lead_at, locked, admin
):
    with serve(**PATIENT) as wire:
        lead = await lead_at(wire)
        lead.get("admin/groups/new")
        body = urlencode({"csrf_token": lead._csrf, "name": "Night shift"}).encode()
        headers = (
            f"Cookie: session={lead.cookie}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        )
        async with locked("groups"):
            with socket.create_connection((wire.host, wire.port), timeout=SECONDS) as connection:
                connection.sendall(request(f"{lead.root}/admin/groups/new", *headers, method="POST") + body)
                await wait_until(is_waiting, admin)
            # Whoever is cancelled would be by the time that another page is there.
            assert (await asyncio.to_thread(Browser(wire.host, wire.port).get, SIGN_IN)).status == 200
            assert await is_waiting(admin)
        await wait_until(waits_no_more, admin)
        assert "Night shift" in lead.get("admin/groups").body
