"""A key that has just worked is let in by the database alone: what was known of it a moment ago answers nothing."""

from __future__ import annotations

import json

import pytest

from tenancy.catalog import set_state
from tenancy.connection import connect
from tenancy.keys import create_key, hash_key, set_owner_active
from tests.conftest import Client, make_tenant
from tests.isolation.test_refused_keys import told

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_projects"}}
LATER = "created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
#: What is sent with a key that does not work any more, each of which is answered otherwise with one that does.
SENT = {
    "a call": (json.dumps(CALL).encode(), {}),
    "a call of no tool": (json.dumps(CALL | {"params": {"name": "no_such_tool"}}).encode(), {}),
    "a batch": (json.dumps([CALL, CALL]).encode(), {"MCP-Protocol-Version": "2025-03-26"}),
    "a ping": (b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}', {}),
    "tools/list": (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', {}),
    "a notification": (b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', {}),
    "no JSON": (b"{", {}),
    "another type": (b"{}", {"Content-Type": "text/plain"}),
    "another answer": (b"{}", {"Accept": "text/html"}),
    "what is longer": (b'{"long": "' + b"x" * 100_000 + b'"}', {}),
}


@pytest.fixture(scope="module")
async def here(world):
    """A workspace of these tests, on the service of the world."""
    root = await connect(world.admin_url, name="root")
    yield root, await make_tenant(root, "recalled", host=world.host, port=world.port)
    await root.close()


@pytest.fixture
async def made(here):
    """A new key of the Lead, with its id and a client that has just used it."""
    root, tenant = here
    lead = tenant.people["lead"].id
    key = await create_key(root, workspace_id=tenant.workspace.id, user_id=lead, label="recalled")
    client = Client(tenant.host, tenant.port, key)
    assert client.call("get_projects")["total"]
    yield await root.fetchval("SELECT id FROM control.api_keys WHERE hash = $1", hash_key(key)), client
    client.close()


def refusal(tenant) -> tuple[int, list[tuple[str, str]], bytes]:
    stranger = Client(tenant.host, tenant.port, "to_live_" + "x" * 43)
    status, headers, body = stranger.post(SENT["a ping"][0])
    stranger.close()
    return status, told(headers), body


async def end(root, tenant, reason: str, key_id: int) -> None:
    match reason:
        case "revoked":
            await root.execute("UPDATE control.api_keys SET revoked_at = now() WHERE id = $1", key_id)
        case "expired":
            await root.execute(f"UPDATE control.api_keys SET {LATER} WHERE id = $1", key_id)
        case "deleted":
            await root.execute("DELETE FROM control.api_keys WHERE id = $1", key_id)
        case "owner deactivated":
            lead = tenant.people["lead"].id
            await set_owner_active(root, workspace_id=tenant.workspace.id, user_id=lead, active=False)
        case "workspace suspended":
            await set_state(root, tenant.workspace.slug, "suspended")


async def mend(root, tenant) -> None:
    lead = tenant.people["lead"].id
    await set_owner_active(root, workspace_id=tenant.workspace.id, user_id=lead, active=True)
    await root.execute("UPDATE control.workspaces SET state = 'active' WHERE id = $1", tenant.workspace.id)


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("reason", ["revoked", "expired", "deleted", "owner deactivated", "workspace suspended"])
async def test_next_request_is_refused_whatever_it_is(here, made, reason, sent):
    root, tenant = here
    key_id, client = made
    body, headers = SENT[sent]
    try:
        await end(root, tenant, reason, key_id)
        status, told_headers, answer = client.post(body, **headers)
        assert (status, told(told_headers), answer) == refusal(tenant)
    finally:
        await mend(root, tenant)


async def test_a_call_that_is_refused_stores_nothing(here, made):
    root, tenant = here
    key_id, client = made
    await end(root, tenant, "revoked", key_id)
    call = {"name": "create_test_case", "arguments": {"project": tenant.project, "title": "Not by this key"}}
    assert client.post(json.dumps(CALL | {"params": call}).encode())[0] == 401
    schema = tenant.workspace.schema_name
    assert not await root.fetchval(f"SELECT count(*) FROM {schema}.cases WHERE title = 'Not by this key'")
    assert not await root.fetchval(f"SELECT count(*) FROM {schema}.audit_log WHERE api_key_id = $1", key_id)


async def test_what_has_changed_otherwise_is_looked_up_and_the_call_is_done_once(here, made):
    """A workspace that was migrated meanwhile, say: the newer revision serves this release too."""
    root, tenant = here
    _, client = made
    moved = "UPDATE control.workspaces SET schema_version = $2 WHERE id = $1 RETURNING schema_version"
    before = await root.fetchval("SELECT schema_version FROM control.workspaces WHERE id = $1", tenant.workspace.id)
    try:
        await root.fetchval(moved, tenant.workspace.id, "9999")
        made_case = client.call("create_test_case", project=tenant.project, title="While it is migrated")
        assert made_case["number"]
        assert client.call("search_test_cases", project=tenant.project, query="While it is migrated")["total"] == 1
    finally:
        await root.fetchval(moved, tenant.workspace.id, before)


async def test_a_release_that_does_not_serve_the_workspace_any_more_says_so(here, made):
    root, tenant = here
    _, client = made
    moved = "UPDATE control.workspaces SET schema_version = $2, compatible_from = $3 WHERE id = $1"
    before = await root.fetchrow(
        "SELECT schema_version, compatible_from FROM control.workspaces WHERE id = $1", tenant.workspace.id
    )
    try:
        await root.execute(moved, tenant.workspace.id, "9999", "9999")
        status, headers, _ = client.post(json.dumps(CALL).encode())
        assert (status, headers["retry-after"]) == (503, "30")
    finally:
        await root.execute(moved, tenant.workspace.id, *before)
    assert client.call("get_projects")["total"]
