"""The log of a service that runs as operators run it: one line for each request, and nothing of what was sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tenancy.connection import connect
from tests.abuse.conftest import PING, bearer, running, tool_call, wrong_key
from tests.conftest import MISSING, make_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "s3cret-text"
MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
BATCH = {"MCP-Protocol-Version": "2025-03-26"}


@pytest.fixture(scope="module")
async def hooli(world):
    """A workspace in which a folder's name can make the database fail, with a message that repeats it."""
    admin = await connect(world.admin_url, name="the test server")
    try:
        tenant = await make_tenant(admin, "hooli", host=world.host, port=world.port)
        await admin.execute(
            f"ALTER TABLE {tenant.workspace.schema_name}.folders ADD CONSTRAINT odd CHECK (name NOT LIKE 'odd %')"
        )
        return tenant
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def service(world, hooli):
    with running(world.service_url, hooli.people["lead"].key, wrong_keys_per_minute="2") as started:
        yield started


@pytest.fixture
def who(hooli):
    return {"workspace_id": hooli.workspace.id, "user_id": hooli.people["lead"].id}


def test_a_call_is_one_event_with_who_called_what_and_how_it_went(service, hooli, who):
    call = tool_call("create_folder", project=hooli.project, name=SECRET)
    reply = service.wire.send(call)
    logged = service.until("call")
    assert logged.pop("request_id")
    assert logged.pop("timestamp")
    assert logged.pop("api_key_id")
    assert logged.pop("duration_ms") > 0
    assert logged == {
        "event": "call",
        "level": "info",
        "method": "tools/call",
        "tool": "create_folder",
        "outcome": "ok",
        "status": 200,
        "bytes_in": len(json.dumps(call)),
        "bytes_out": len(reply.body),
        **who,
    }


def outcome(id_: str, expected: Mapping[str, Any], body: Any, **options: Any):
    return pytest.param(body, options, expected, id=id_)


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        outcome("ping", {"method": "ping", "outcome": "ok"}, PING),
        outcome(
            "notification", {"outcome": "ok", "status": 202}, {"jsonrpc": "2.0", "method": f"notifications/{SECRET}"}
        ),
        outcome(
            "tool error",
            {"tool": "get_folders", "outcome": "tool_error", "code": "NOT_FOUND_OR_DENIED", "status": 200},
            tool_call("get_folders", project=MISSING),
        ),
        outcome(
            "arguments of another shape",
            {"tool": "get_folders", "outcome": "rpc_error", "code": -32602, "status": 200},
            tool_call("get_folders", project=SECRET),
        ),
        outcome(
            "unknown tool",
            {"method": "tools/call", "tool": "unknown", "outcome": "rpc_error", "code": -32602},
            tool_call(SECRET),
        ),
        outcome(
            "unknown method",
            {"method": "unknown", "outcome": "rpc_error", "code": -32601},
            {**PING, "method": SECRET},
        ),
        outcome("no JSON", {"outcome": "rpc_error", "code": -32700, "status": 400}, SECRET.encode()),
        outcome(
            "modern",
            {"method": "tools/call", "tool": "get_projects", "outcome": "ok", "status": 200},
            {**tool_call("get_projects"), "params": {"name": "get_projects", "_meta": META}},
            headers={"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "get_projects"},
        ),
        outcome(
            "batch",
            {"method": "batch", "messages": 3, "outcome": "rpc_error", "code": -32602, "status": 200},
            [PING, tool_call(SECRET), PING],
            headers=BATCH,
        ),
        outcome("405", {"outcome": "refused", "status": 405}, b"", method="GET"),
        outcome("415", {"outcome": "refused", "status": 415}, b"", headers={"Content-Type": SECRET}),
        outcome("413", {"outcome": "refused", "status": 413}, b"", headers={"Content-Length": "99999999"}),
        outcome("401", {"outcome": "refused", "status": 401, "address": "127.0.0.1"}, b"", headers=bearer(SECRET)),
        outcome("403", {"outcome": "refused", "status": 403}, b"", headers={"Origin": f"https://{SECRET}"}),
    ],
)
def test_the_outcome_is_logged(service, body, options, expected):
    logged = service.logged(body, **options)
    assert {name: logged.get(name) for name in expected} == expected
    assert ("user_id" in logged) == (logged["status"] not in {401, 403, 405})


def test_a_client_that_goes_away_is_logged(service, who):
    with service.wire.opened(b"{", headers={"Content-Length": "100"}):
        pass
    logged = service.until("call")
    assert logged["outcome"] == "gone"
    assert "status" not in logged
    assert logged.items() >= who.items()


def test_wrong_keys_are_logged_with_their_address(service):
    statuses = []
    while 429 not in statuses:
        logged = service.logged(PING, headers=bearer(wrong_key()))
        statuses.append(logged["status"])
        assert (logged["outcome"], logged["address"]) == ("refused", "127.0.0.1")
        assert "user_id" not in logged
    assert statuses[0] == 401


def test_a_failure_is_logged_with_its_cause_its_place_and_the_request(service, hooli):
    answer = service.wire.send(tool_call("create_folder", project=hooli.project, name=f"odd {SECRET}")).document
    told = answer["result"]["structuredContent"]["error"]
    failed = service.until("tool_failed")
    logged = service.until("call")
    assert told["code"] == logged["code"] == "SERVER_FAULT"
    assert failed["reference"] in told["message"]
    assert failed["request_id"] == logged["request_id"]
    assert 'violates check constraint "odd" (23514)' in failed["exception"]
    assert "in create_folder" in failed["exception"]


def test_a_refusal_of_access_belongs_to_its_request(service, hooli):
    service.wire.send(tool_call("get_folders", project=hooli.projects["secret"]))
    assert service.until("access_denied")["request_id"] == service.until("call")["request_id"]


def test_each_request_has_an_id_of_its_own(service):
    ids = [service.logged(PING)["request_id"] for _ in range(10)]
    assert len(set(ids)) == 10


def test_nothing_that_was_sent_or_stored_is_in_the_log(world, hooli):
    """Everything that the tests above send, and more, to a process whose whole log is read."""
    wrong = wrong_key()
    lead = hooli.people["lead"]
    with running(world.service_url, lead.key, wrong_keys_per_minute="1") as service:
        for body in (
            tool_call("get_users"),
            tool_call("get_users", search=lead.email),
            tool_call("create_folder", project=hooli.project, name=SECRET, description=SECRET, idempotencyKey=SECRET),
            tool_call("create_folder", project=hooli.project, name=f"odd {SECRET}"),
            tool_call("create_folder", project=hooli.project, name=SECRET, parentId=SECRET),
            tool_call("create_folder", project=hooli.project, name="\0" + SECRET),
            tool_call("list_test_cases", project=hooli.project, cursor=SECRET),
            tool_call("get_folders", **{SECRET: SECRET}),
            tool_call(SECRET),
            tool_call("get_folders", project=hooli.projects["secret"]),
            {**PING, "id": SECRET},
            {**PING, "method": SECRET},
            {**PING, "params": SECRET},
            [tool_call(SECRET), {**PING, "id": SECRET}],
            SECRET.encode(),
        ):
            for headers in ({"X-Secret": SECRET}, bearer(wrong), bearer(wrong[:-1]), {"Mcp-Name": SECRET}):
                service.logged(body, headers=headers)
    log = "".join(service.lines)
    assert log.count('"event":"call"') == 60
    assert "tool_failed" in log
    for secret in (SECRET, lead.key, wrong, wrong[8:-1], "lead@", "tester@", "@hooli.example", "Bearer"):
        assert secret not in log, secret
    for key in (lead.key, wrong):
        assert key[8:16] not in log


def test_a_higher_level_logs_what_failed_and_no_calls(world, hooli):
    with running(world.service_url, hooli.people["lead"].key, log_level="warning") as quiet:
        assert quiet.wire.send(PING).status == 200
        quiet.wire.send(tool_call("create_folder", project=hooli.project, name=f"odd {SECRET}"))
    assert [json.loads(line)["event"] for line in quiet.lines] == ["tool_failed"]
