"""What the endpoint answers when the application behind it fails, is slow or says odd things, and what it logs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import ExitStack, suppress

import pytest
import structlog

from service.calls import CallResult, InvalidParams, Unavailable

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
MODERN_HEADERS = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "get_projects"}
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "get_projects"}}
MODERN_CALL = {**CALL, "params": {**CALL["params"], "_meta": META}}
PING = {"jsonrpc": "2.0", "id": 8, "method": "ping"}
SECONDS = 5

ERAS = pytest.mark.parametrize(
    ("body", "headers"), [pytest.param(CALL, {}, id="legacy"), pytest.param(MODERN_CALL, MODERN_HEADERS, id="modern")]
)


@pytest.fixture
def answering(serve_toy, toy):
    """Serve an application whose only tool does what *call* does: returns it, or raises it."""

    def serve(outcome, **options):
        class Faulty(toy):
            async def call(self, *_):
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

        return serve_toy(Faulty(), **options)

    return serve


@ERAS
def test_an_unexpected_exception_is_an_opaque_tool_error_with_a_reference_that_is_logged(answering, body, headers):
    secret = {**body, "params": {**body["params"], "arguments": {"secret": "s3cret-argument"}}}
    with structlog.testing.capture_logs() as logs, answering(RuntimeError("s3cret cause")) as wire:
        reply = wire.send(secret, headers=headers)
    assert reply.status == 200
    result = reply.document["result"]
    assert result["isError"] is True
    assert ("resultType" in result) == bool(headers)
    assert b"s3cret" not in reply.body
    [log] = [log for log in logs if log["event"] == "request_failed"]
    assert log["reference"] in result["content"][0]["text"]
    assert log["exc_info"]
    assert "s3cret-argument" not in repr(logs)
    assert wire.key not in repr(logs)


def test_a_fault_in_the_protocol_itself_is_an_opaque_internal_error(serve_toy, toy, monkeypatch):
    monkeypatch.setattr("service.mcp.dispatch._check_cursor", lambda _: 1 / 0)
    with structlog.testing.capture_logs() as logs, serve_toy(toy()) as wire:
        alone = wire.send({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
        batched = wire.send([{"jsonrpc": "2.0", "id": 7, "method": "tools/list"}, PING])
    assert (alone.status, alone.document["id"], alone.document["error"]["code"]) == (200, 7, -32603)
    assert [answer.get("error", {}).get("code") for answer in batched.document] == [-32603, None]
    references = [log["reference"] for log in logs if log["event"] == "request_failed"]
    assert len(set(references)) == 2
    assert references[0] in alone.document["error"]["message"]
    assert b"division" not in alone.body


@ERAS
def test_unavailable_asks_to_try_again(answering, body, headers):
    with answering(Unavailable(retry_after=3)) as wire:
        reply = wire.send(body, headers=headers)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "3")
    assert (reply.document["id"], reply.headers["Content-Type"]) == (7, "application/json")
    assert reply.headers["Cache-Control"] == "no-store"


def test_unavailable_within_a_batch_is_the_answer_to_that_call_alone(answering):
    with answering(Unavailable()) as wire:
        reply = wire.send([CALL, PING])
    assert reply.status == 200
    assert [(answer["id"], "error" in answer) for answer in reply.document] == [(7, True), (8, False)]


def test_unavailable_while_authenticating_is_answered_before_the_body_is_read(serve_toy, toy):
    class Down(toy):
        async def authenticate(self, _):
            raise Unavailable(retry_after=2)

    with serve_toy(Down()) as wire:
        reply = wire.send(headers={"Content-Length": "100"})
    assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    assert reply.document["id"] is None


def test_a_fault_while_authenticating_is_an_opaque_500(serve_toy, toy, caplog):
    class Broken(toy):
        async def authenticate(self, _):
            raise RuntimeError("s3cret cause")

    with structlog.testing.capture_logs() as logs, serve_toy(Broken()) as wire:
        reply = wire.send(PING)
    assert (reply.status, reply.headers["Content-Type"]) == (500, "application/json")
    assert (reply.document["id"], reply.document["error"]["code"]) == (None, -32603)
    assert b"s3cret" not in reply.body
    [log] = logs
    assert log["reference"] in reply.document["error"]["message"]
    assert log["exc_info"]
    assert wire.key not in repr(logs)
    # What Quart would log of it is not one event a line.
    assert not caplog.text


@ERAS
def test_invalid_params_carry_their_data(answering, body, headers):
    data = {"path": "project", "reason": "is missing", "expected": "integer"}
    with answering(InvalidParams("Invalid arguments.", data=data)) as wire:
        reply = wire.send(body, headers=headers)
    assert reply.status == 200
    assert reply.document["error"] == {"code": -32602, "message": "Invalid arguments.", "data": data}


@ERAS
@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        pytest.param(InvalidParams("no \ud800"), "no \\\\ud800", id="message"),
        pytest.param(InvalidParams("no", data={"a": "\ud800"}), '"a":"?"', id="data"),
        pytest.param(InvalidParams("no", data={"a": 2**70}), str(2**70), id="data with a huge integer"),
        pytest.param(InvalidParams("no", data={"a": {1}}), '"a":"{1}"', id="data of another type"),
        pytest.param(CallResult(structured={"a": {1}}), "Reference: ", id="result of another type is a fault"),
        pytest.param(CallResult(structured={"a": "\ud800"}), '"structuredContent":{"a":"?"}', id="result"),
        pytest.param(CallResult(structured={"a": 2**70}), str(2**70), id="result with a huge integer"),
        pytest.param(CallResult(structured={}, text="\ud800", is_error=True), '"text":"\\\\ud800"', id="text"),
    ],
)
def test_what_utf_8_or_orjson_cannot_hold_is_answered_all_the_same(answering, body, headers, outcome, seen):
    with answering(outcome) as wire:
        reply = wire.send(body, headers=headers)
    assert reply.status == 200
    assert seen in reply.body.decode()
    assert reply.document["id"] == 7


def test_an_error_has_its_own_text_beside_the_structure(answering):
    structured = {"error": {"code": "X", "message": "Do y."}}
    with answering(CallResult(structured=structured, is_error=True, text="Do y.")) as wire:
        reply = wire.send(CALL)
    assert reply.document["result"] == {
        "content": [{"type": "text", "text": "Do y."}],
        "structuredContent": structured,
        "isError": True,
    }


class Slow:
    """Lets a test see when a call began and how it ended."""

    def __init__(self, toy, seconds: float) -> None:
        self.began, self.ended, self.outcome = threading.Event(), threading.Event(), ""
        watch = self

        class Application(toy):
            async def call(self, *arguments):
                watch.began.set()
                try:
                    await asyncio.sleep(seconds)
                    watch.outcome = "finished"
                    return await super().call(*arguments)
                except BaseException as error:
                    watch.outcome = type(error).__name__
                    raise
                finally:
                    watch.ended.set()

        self.application = Application()


def test_a_modern_client_that_goes_away_cancels_its_call(serve_toy, toy):
    slow = Slow(toy, SECONDS)
    with serve_toy(slow.application) as wire:
        with wire.opened(MODERN_CALL, headers=MODERN_HEADERS):
            assert slow.began.wait(SECONDS)
        assert slow.ended.wait(1)
        assert wire.send(PING).status == 200
    assert slow.outcome == "CancelledError"


def test_the_work_of_a_cancelled_call_is_seen_to_its_end(serve_toy, toy):
    began, rolled_back = threading.Event(), threading.Event()

    class RollsBack(toy):
        async def call(self, *_):
            began.set()
            try:
                await asyncio.sleep(SECONDS)
            finally:
                await asyncio.sleep(0.2)
                rolled_back.set()

    with serve_toy(RollsBack()) as wire, wire.opened(MODERN_CALL, headers=MODERN_HEADERS):
        assert began.wait(SECONDS)
    assert rolled_back.is_set()


def test_a_client_that_goes_away_within_its_body_is_no_fault(serve_toy, toy):
    with structlog.testing.capture_logs() as logs, serve_toy(toy()) as wire:
        with wire.opened(b"{", headers={"Content-Length": "100"}):
            pass
        assert wire.send(PING).status == 200
    assert logs == []


@pytest.mark.parametrize("body", [pytest.param(CALL, id="alone"), pytest.param([CALL], id="batched")])
def test_a_legacy_client_that_goes_away_does_not_cancel_its_call(serve_toy, toy, body):
    slow = Slow(toy, 0.2)
    with serve_toy(slow.application) as wire:
        with wire.opened(body):
            assert slow.began.wait(SECONDS)
        assert slow.ended.wait(SECONDS)
    assert slow.outcome == "finished"


def test_shutting_down_waits_for_the_calls_of_clients_that_went_away(serve_toy, toy):
    slow = Slow(toy, 0.5)
    with serve_toy(slow.application) as wire, wire.opened(CALL):
        assert slow.began.wait(SECONDS)
    assert slow.ended.is_set()
    assert slow.outcome == "finished"


@ERAS
def test_a_call_that_outlasts_the_shutdown_is_cancelled(serve_toy, toy, body, headers):
    slow = Slow(toy, 60)
    with ExitStack() as client_side:
        with serve_toy(slow.application, grace=0.1) as wire:
            client_side.enter_context(wire.opened(body, headers=headers))
            assert slow.began.wait(SECONDS)
        assert slow.outcome == "CancelledError"


def test_a_body_that_does_not_arrive_is_not_waited_for(serve_toy, toy):
    with serve_toy(toy(), body_timeout=0.1) as wire:
        started = time.monotonic()
        reply = wire.send(b"{", headers={"Content-Length": "100"})
    assert reply.status == 408
    assert reply.document["error"]["code"] == -32600
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(serve_toy, toy, chunked):
    with serve_toy(toy()) as wire:
        exact = json.dumps(PING).encode().ljust(10_000)
        assert wire.send(exact, chunked=chunked).status == 200
        assert wire.send(exact + b" ", chunked=chunked).status == 413


@pytest.mark.parametrize(
    ("status", "headers", "chunked"),
    [
        pytest.param(401, {"Authorization": "Bearer wrong"}, False, id="401"),
        pytest.param(415, {"Content-Type": "text/plain"}, False, id="415"),
        pytest.param(413, {}, False, id="413 by its length"),
        pytest.param(413, {}, True, id="413 in chunks"),
        pytest.param(503, {"Authorization": "Bearer down"}, False, id="503"),
        pytest.param(500, {"Authorization": "Bearer broken"}, False, id="500"),
    ],
)
def test_an_upload_that_is_refused_ends_with_its_connection(serve_toy, toy, status, headers, chunked):
    class Slow(toy):
        async def authenticate(self, key):
            await asyncio.sleep(0.1)
            if key == "down":
                raise Unavailable
            if key == "broken":
                raise RuntimeError
            return await super().authenticate(key)

    with structlog.testing.capture_logs(), serve_toy(Slow()) as wire:
        body = b" " * 50_000_000
        with wire.opened(body, headers=headers, chunked=chunked) as connection:
            assert status == wire.reply(connection).status
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_an_allowed_origin_is_served_and_another_is_not(serve_toy, toy):
    with serve_toy(toy(), allowed_origins=frozenset({"https://app.example.com"})) as wire:
        origins = {
            "https://app.example.com": 200,
            None: 200,
            "https://app.example.com:8443": 403,
            "http://app.example.com": 403,
            "https://app.example.com.evil.example": 403,
            "null": 403,
        }
        for origin, status in origins.items():
            assert status == wire.send(PING, headers={"Origin": origin}).status, origin
        both = wire.send(PING, headers={"Origin": ["https://app.example.com", "https://evil.example"]})
        assert both.status == 403


def test_only_allowed_hosts_are_served_once_there_are_some(serve_toy, toy):
    with serve_toy(toy(), allowed_hosts=frozenset({"API.example.com", "exact.example.com:81"})) as wire:
        hosts = {
            "api.example.com": 200,
            "Api.Example.com:8520": 200,
            "exact.example.com:81": 200,
            "exact.example.com": 403,
            "exact.example.com:82": 403,
            "evil.example.com": 403,
            "api.example.com.evil.example": 403,
            "api.example.com:evil": 403,
            "127.0.0.1": 403,
            "": 403,
        }
        for host, status in hosts.items():
            assert status == wire.send(PING, headers={"Host": host}).status, host
