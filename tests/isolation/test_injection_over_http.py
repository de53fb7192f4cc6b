"""A tool that runs whatever SQL it is given, called over HTTP while clients go away and keys are wrong or revoked.

No tool of ours does that: it stands for one that is wrong. `INJECTION_TRIES` is the number of its calls in each mode.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

import service.app
from service.mcp.eras import CAPABILITIES_KEY, MODERN_VERSION, VERSION_KEY
from service.tools.arguments import required, text
from service.tools.catalog import TOOLS
from service.tools.registry import read_tool, write_tool
from service.tools.results import STRING, record
from tenancy.connection import admin_connection
from tenancy.keys import PREFIX, create_key, revoke_key
from tenancy.roles import APP
from tests.conftest import STRICT_LOGINS, Client, RpcFailed, ToolFailed, make_tenant, new_database, serving
from tests.isolation.storm import REACHING
from tests.pgbouncer import WITHOUT_PREPARED, pgbouncer

MODES = ("usual", "strict", "pgbouncer")
TRIES = int(os.environ.get("INJECTION_TRIES", "450"))
CALLERS = 3
_PAUSE_SECONDS = 0.02
QUERY = required("query", text(minimum=1, maximum=2_000))
RESULT = record({"rows": STRING})


@read_tool(title="Read by SQL", description="For tests alone.", arguments=(QUERY,), returns=RESULT)
async def read_by_sql(work, *, project: int, query: str):  # noqa: ARG001 - every tool has one
    return {"rows": str([tuple(row) for row in await work.connection.fetch(query)])}


@write_tool(title="Write by SQL", description="For tests alone.", arguments=(QUERY,), returns=RESULT, permissions=())
async def write_by_sql(work, *, project: int, query: str):  # noqa: ARG001 - every tool has one
    return {"rows": str([tuple(row) for row in await work.connection.fetch(query)])}


@pytest.fixture(params=MODES)
async def place(request, postgres, monkeypatch):
    """The administrator's connection, two workspaces, and where they are served with the two tools."""
    monkeypatch.setattr(service.app, "TOOLS", (*TOOLS, read_by_sql, write_by_sql))
    async with new_database(postgres) as (name, admin):
        url, settings = postgres.dsn(user=APP, database=name), {"pool_size": 4, "pool_wait_seconds": 3}
        with ExitStack() as stack:
            if request.param == "strict":
                settings["strict_secret"] = STRICT_LOGINS.secret
            if request.param == "pgbouncer":
                bouncer = stack.enter_context(pgbouncer(postgres))
                url, settings = bouncer.dsn(database=name), settings | WITHOUT_PREPARED
            host, port = stack.enter_context(serving(url, **settings))
            own, other = [await make_tenant(admin, slug, host=host, port=port) for slug in ("attacker", "victim")]
            yield admin, postgres.dsn(database=name), own, other


class Trouble(threading.Thread):
    """Somebody who makes trouble until told to stop; *made* counts it."""

    def __init__(self, make, *arguments) -> None:
        super().__init__()
        self._make, self._arguments = make, arguments
        self._stop_asked = threading.Event()
        self.made = 0

    def run(self) -> None:
        while not self._stop_asked.is_set():
            with suppress(OSError):
                self._make(*self._arguments)
            self.made += 1
            # Enough of it, and no more than is served.
            time.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(30)


def request_of(key: str, tool: str, **arguments) -> bytes:
    meta = {VERSION_KEY: MODERN_VERSION, CAPABILITIES_KEY: {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    message["params"]["_meta"] = meta
    body = json.dumps(message).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"MCP-Protocol-Version: {MODERN_VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def go_away(tenant, tool: str, key: str | None, dice: random.Random) -> None:
    """Ask, and be gone before the answer."""
    sent = request_of(key or PREFIX + secrets.token_urlsafe(32), tool, project=tenant.project, query="SELECT 1")
    with socket.create_connection((tenant.host, tenant.port)) as client:
        client.sendall(sent)
        client.settimeout(dice.choice((0.0005, 0.001, 0.002, 0.005)))
        with suppress(TimeoutError):
            client.recv(1)


def attack(tenant, other, tries: int, outcome: Counter[str]) -> None:
    client = Client(tenant.host, tenant.port, tenant.people["lead"].key)
    for number in range(tries):
        reaching = REACHING[number // 2 % len(REACHING)] if number % 2 else "SELECT current_user::text"
        query = reaching.format(other=other.workspace.schema_name, other_id=other.workspace.id)
        try:
            tool = ("read_by_sql", "write_by_sql")[number // 4 % 2]
            rows = client.call(tool, project=tenant.project, query=query)["rows"]
        except ToolFailed:
            outcome["refused"] += 1
        except RpcFailed:
            outcome["told to come again"] += 1
        else:
            outcome["served" if rows == f"[('{tenant.workspace.schema_name}',)]" else f"{query}: {rows}"] += 1
    client.close()


async def test_a_tool_that_runs_any_sql_stays_in_its_workspace(place, figure):
    admin, url, own, other = place
    outcome: Counter[str] = Counter()
    dice = random.Random(1)  # noqa: S311 - how long somebody waits
    troubles = [
        Trouble(go_away, other, "read_by_sql", None, dice),
        Trouble(go_away, other, "read_by_sql", other.people["lead"].key, dice),
        Trouble(go_away, other, "write_by_sql", other.people["lead"].key, dice),
    ]
    callers = [threading.Thread(target=attack, args=(own, other, TRIES // CALLERS, outcome)) for _ in range(CALLERS)]
    for thread in itertools.chain(troubles, callers):
        thread.start()
    revoked = 0
    async with admin_connection(url) as revoking:
        while any(thread.is_alive() for thread in callers):
            person = other.people["lead"]
            key = await create_key(revoking, workspace_id=other.workspace.id, user_id=person.id, label="ends")
            # It has been looked up, is remembered, and ends.
            with suppress(OSError):
                await asyncio.to_thread(go_away, other, "read_by_sql", key, dice)
            key_id = await revoking.fetchval("SELECT max(id) FROM control.api_keys")
            await revoke_key(revoking, key_id)
            with suppress(OSError):
                await asyncio.to_thread(go_away, other, "read_by_sql", key, dice)
            revoked += 1
    for thread in troubles:
        await asyncio.to_thread(thread.stop)
    harmless = {"served", "refused", "told to come again"}
    assert set(outcome) <= harmless
    assert outcome.total() == CALLERS * (TRIES // CALLERS)
    assert min(outcome["served"], outcome["refused"]) > TRIES / 4
    assert min(trouble.made for trouble in troubles) > 0
    assert revoked > 0
    assert await admin.fetchval("SELECT count(*) FROM control.api_keys WHERE label = 'planted'") == 0
    assert await admin.fetchval(f"SELECT count(*) FROM {other.workspace.schema_name}.users WHERE name = 'taken'") == 0
    figure("calls over HTTP of a tool that runs any SQL", outcome.total())
    figure("clients that went away meanwhile", sum(trouble.made for trouble in troubles))
    figure("keys that were revoked meanwhile", revoked)
    figure(
        "of these calls, those that left the workspace", sum(outcome.values()) - outcome["served"] - outcome["refused"]
    )
