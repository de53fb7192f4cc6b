"""What the endpoint answers, row by row, over HTTP to the service itself; of its tools only two are used."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

MODERN = "2026-07-28"
META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META = {META_VERSION: MODERN, META_CAPABILITIES: {}}
TOO_LARGE = str(64 * 1024 * 1024)
CHALLENGE = 'Bearer realm="testorchestrator"'
CHALLENGE_ERROR = (
    ', error="invalid_token", error_description="Missing, invalid, revoked or expired API key. '
    'Create one under Profile > API Keys."'
)
UNAUTHORIZED = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {
        "code": -32600,
        "message": "Unauthorized: the API key is missing, invalid, revoked or expired. Create one under "
        "Profile > API Keys and send it in the Authorization header (Bearer scheme).",
    },
}
#: All that an answer may have: no cookie, no redirect, no session, and not who serves it.
HEADERS = {
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "www-authenticate",
    "x-content-type-options",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One request, and the check of its reply. *headers* go over the ordinary ones; None leaves one out."""

    id: str
    status: int
    check: Callable[[Any], None]
    body: Any = b""
    headers: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/mcp"
    chunked: bool = False


# The checks.


def empty(reply):
    assert reply.body == b""
    assert reply.headers["Content-Type"] is None
    assert reply.headers["Content-Length"] == "0"


def error(code, id_=None, *, says="", data=None):
    def check(reply):
        answer = reply.document
        assert answer["jsonrpc"] == "2.0"
        assert (id_, code) == (answer["id"], answer["error"]["code"])
        assert type(id_) is type(answer["id"])
        assert set(answer) == {"jsonrpc", "id", "error"}
        message = answer["error"]["message"]
        assert says in message
        assert 0 < len(message) < 600
        assert data is None or data == answer["error"]["data"]

    return check


def result(id_=1, **expected):
    """The result has these members, and an Ellipsis stands for any value."""

    def check(reply):
        answer = reply.document
        assert set(answer) == {"jsonrpc", "id", "result"}
        assert answer["jsonrpc"] == "2.0"
        assert id_ == answer["id"]
        assert type(id_) is type(answer["id"])
        assert set(expected) == set(answer["result"])
        for name, value in expected.items():
            assert value is ... or value == answer["result"][name]

    return check


def all_of(*checks):
    def check(reply):
        for one in checks:
            one(reply)

    return check


def items(*expected):
    """The reply is an array of answers: an id and the code of its error, or 0."""

    def check(reply):
        answers = reply.document
        assert list(expected) == [(one["id"], one.get("error", {"code": 0})["code"]) for one in answers]
        assert all(("error" in one) != ("result" in one) for one in answers)

    return check


def header(name, value):
    def check(reply):
        assert value == reply.headers[name]

    return check


def lists_tools(reply):
    tools = reply.document["result"]["tools"]
    assert {"get_projects", "get_folders"} <= {tool["name"] for tool in tools}
    assert all(tool["inputSchema"]["type"] == "object" for tool in tools)
    assert not tools[0]["inputSchema"].get("required")


def twice_the_same(reply):
    content = reply.document["result"]["content"]
    assert [block["type"] for block in content] == ["text"]
    structured = reply.document["result"]["structuredContent"]
    assert structured == json.loads(content[0]["text"])
    assert f'"structuredContent":{content[0]["text"]}'.encode() in reply.body


def no_projects_or_some(reply):
    assert {"items", "total"} <= set(reply.document["result"]["structuredContent"])


def fails_as_a_tool(reply):
    answer = reply.document
    assert answer["result"]["isError"] is True
    assert answer["result"]["content"][0]["text"]


def denied(reply):
    assert reply.document["result"]["structuredContent"]["error"]["code"] == "NOT_FOUND_OR_DENIED"


def challenges(*, names_error):
    def check(reply):
        assert reply.headers.get_all("WWW-Authenticate") == [CHALLENGE + CHALLENGE_ERROR * names_error]
        assert reply.document == UNAUTHORIZED

    return check


def no_oauth(reply):
    assert reply.document["error"] == "not_found"
    assert "Profile > API Keys" in reply.document["error_description"]
    assert "Location" not in reply.headers


def no_registration(reply):
    assert reply.document["error"] == "access_denied"
    # Clients that read 404 or 405 in an error fall back to HTTP+SSE, and show what that says.
    assert not {"404", "405", "Not Found", "Method Not Allowed"} & set(reply.document["error_description"].split())
    assert "Profile > API Keys" in reply.document["error_description"]


def not_found(reply):
    assert reply.document["error"] == "not_found"
    assert "/mcp" in reply.document["error_description"]
    assert "Location" not in reply.headers


def no_method(reply):
    not_found(reply)
    assert "GET" in reply.headers["Allow"]


# The requests.


def message(method, params=None, *, id_: Any = 1):
    return {"jsonrpc": "2.0", "id": id_, "method": method} | ({} if params is None else {"params": params})


def notification(method, params=None):
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})


def call(name, arguments: Any = ..., **params):
    return message("tools/call", {"name": name, **params} | ({} if arguments is ... else {"arguments": arguments}))


def legacy(id_, status, body, check, **headers):
    return Row(id=id_, status=status, body=body, check=check, headers=_dashed(headers))


def modern(id_, status, method, params, check, *, meta: Any = META, **headers):
    """A modern request, its routing headers as they should be unless given."""
    sent = {**params} if meta is None else {**params, "_meta": meta}
    routing = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if isinstance(params.get("name"), str):
        routing["Mcp-Name"] = params["name"]
    routing |= _dashed(headers)
    return Row(id=f"modern {id_}", status=status, body=message(method, sent), check=check, headers=routing)


def _dashed(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def wrapped(text):
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def nested(levels):
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * levels + b"]" * levels + b"}}"


PING = message("ping")
LIST = message("tools/list")
UNKNOWN = "2099-01-01"

LADDER = [
    # 1 the path
    *(
        Row(id=f"1 {method} {path}", status=404, method=method, path=path, headers={"Authorization": None}, check=check)
        for method, path, check in [
            ("POST", "/mcp/", not_found),
            ("GET", "/mcp/", not_found),
            ("POST", "/mcp//", not_found),
            ("POST", "//mcp", not_found),
            ("GET", "/x//mcp", not_found),
            ("POST", "/MCP", not_found),
            ("POST", "/mcp/x", not_found),
            ("GET", "/nothing", not_found),
            ("GET", "/%ff%00", not_found),
            ("GET", "/.well-known/oauth-protected-resource", no_oauth),
            ("GET", "/.well-known/oauth-protected-resource/mcp", no_oauth),
            ("GET", "/.well-known/oauth-authorization-server", no_oauth),
            ("GET", "/.well-known/oauth-authorization-server/mcp", no_oauth),
            ("GET", "/.well-known/openid-configuration", no_oauth),
            ("GET", "/.well-known/openid-configuration/mcp", no_oauth),
            ("GET", "/mcp/.well-known/openid-configuration", no_oauth),
            ("GET", "/register", no_oauth),
            ("GET", "/authorize", no_oauth),
            ("POST", "/token", no_oauth),
        ]
    ),
    *(
        Row(id=f"1 {method} {path} has another method", status=405, method=method, path=path, check=no_method)
        for method, path in [("POST", "/"), ("PUT", "/"), ("POST", "/healthz"), ("DELETE", "/readyz")]
    ),
    Row(id="1 registration", status=403, path="/register", headers={"Authorization": None}, check=no_registration),
    Row(id="1 registration with a key", status=403, path="/register", body=PING, check=no_registration),
    Row(id="1 with a key", status=404, path="/token", body=PING, check=no_oauth),
    # 2 the method
    *(
        Row(
            id=f"2 {method}{what}",
            status=405,
            method=method,
            headers=headers,
            check=all_of(empty, header("Allow", "POST")),
        )
        for method in ("GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
        for what, headers in {
            "": {},
            " without a key": {"Authorization": None},
            " from elsewhere": {"Origin": "http://evil.example.com"},
        }.items()
    ),
    Row(
        id="2 GET as an old client opens a stream",
        status=405,
        method="GET",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1", "Mcp-Session-Id": "x"},
        check=all_of(empty, header("Allow", "POST")),
    ),
    # 3 Origin, before the key
    *(
        legacy(f"3 {origin!r}", 403, PING, error(-32600), Origin=origin, Authorization=None)
        for origin in ("http://evil.example.com", "null", "", "http://localhost:1", ["null", "null"])
    ),
    # 5 the key, before the body is read: none is sent
    *(
        Row(
            id=f"5 {what}",
            status=401,
            headers={"Content-Length": "100", "Authorization": value},
            check=challenges(names_error=value is not None),
        )
        for what, value in {
            "no key": None,
            "unknown key": "Bearer to_live_" + "A" * 43,
            "malformed key": "Bearer nonsense",
            "key beyond ASCII": "Bearer to_live_é",
            "endless key": "Bearer to_live_" + "A" * 10_000,
            "no key after the scheme": "Bearer",
            "blank key": "Bearer  ",
            "another scheme": "Basic dG86bGl2ZQ==",
            "no scheme": "to_live_" + "A" * 43,
            "empty": "",
        }.items()
    ),
    legacy(
        "5 before 6, 7 and 8",
        401,
        b"",
        challenges(names_error=False),
        Authorization=None,
        Content_Type="text/plain",
        Accept="text/html",
        Content_Length=TOO_LARGE,
    ),
    Row(
        id="5 a key in the query is none",
        status=401,
        path="/mcp?key=to_live_x",
        headers={"Authorization": None},
        check=challenges(names_error=False),
    ),
    # 6 Content-Type, before the others
    *(
        legacy(f"6 {type_}", 415, b"", error(-32600), Content_Type=type_, Accept="text/html", Content_Length=TOO_LARGE)
        for type_ in (None, "", "text/plain", "application/json-rpc", "application/x-www-form-urlencoded", "json")
    ),
    *(
        legacy(f"6 {type_} is served", 200, PING, result(), Content_Type=type_)
        for type_ in ("application/json;charset=utf-8", "application/json; charset=UTF-8", "Application/JSON")
    ),
    # 7 Accept, before the size
    *(
        legacy(f"7 {accept!r}", 406, b"", error(-32600), Accept=accept, Content_Length=TOO_LARGE)
        for accept in (
            "text/event-stream",
            "text/html, image/*",
            "application/xml",
            "application/json;q=0",
            "application/json; q=0.000, text/html",
            "*/*, application/json;q=0",
            "*/*;\tq=0",
            ["text/html", "text/event-stream"],
        )
    ),
    *(
        legacy(f"7 {accept!r} is served", 200, PING, result(), Accept=accept)
        for accept in (
            None,
            "",
            "*/*",
            "application/*",
            "application/json",
            "Application/JSON",
            "text/event-stream, application/json",
            "text/html, application/json;q=0.1",
            "application/json; charset=utf-8",
            "application/json;q=0;v=2, application/json",
            "application/*;q=0, application/json",
            ["text/event-stream", "application/json"],
        )
    ),
    # 8 the size
    legacy("8 announced", 413, b"", error(-32600), Content_Length=TOO_LARGE),
    Row(id="8 in chunks", status=413, body=b" " * 4_000_000, chunked=True, check=error(-32600)),
    Row(id="8 small chunks are served", status=200, body=PING, chunked=True, check=result()),
    # 9 the JSON
    *(
        Row(id=f"9 {what}", status=400, body=body, check=error(-32700))
        for what, body in {
            "empty": b"",
            "cut off": b'{"jsonrpc":"2.0","id":1,"method":"ping"',
            "not JSON": b"ping",
            "NaN": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
            "Infinity": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":-Infinity}}',
            "a number beyond doubles": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}',
            "a huge integer": b'{"jsonrpc":"2.0","id":' + b"9" * 10_000 + b',"method":"ping"}',
            "not UTF-8": b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}',
            "UTF-16": json.dumps(PING).encode("utf-16"),
            "too deep": nested(63),
            "far too deep": nested(100_000),
        }.items()
    ),
    Row(id="9 as deep as may be", status=200, body=nested(62), check=result()),
    # 10 to 14 the message
    *(
        Row(id=f"11 {what}", status=400, body=body, check=error(-32600, id_))
        for what, body, id_ in [
            ("a string", b'"ping"', None),
            ("null", b"null", None),
            ("a number", b"5", None),
            ("an empty object", {}, None),
            ("no jsonrpc", {"id": 7, "method": "ping"}, 7),
            ("jsonrpc 1.0", {"jsonrpc": "1.0", "id": "a", "method": "ping"}, "a"),
            ("no method", {"jsonrpc": "2.0", "id": 0}, 0),
            ("method a number", {"jsonrpc": "2.0", "id": 7, "method": 1}, 7),
            ("params an array", message("tools/call", [], id_="x"), "x"),
            ("params a string", message("tools/call", "{}", id_=7), 7),
            ("id true, method a number", {"jsonrpc": "2.0", "id": True, "method": 1}, None),
        ]
    ),
    *(
        Row(id=f"12 {what}", status=202, body=body, check=empty)
        for what, body in {
            "initialized": notification("notifications/initialized"),
            "cancelled": notification("notifications/cancelled", {"requestId": 1}),
            "unknown": notification("notifications/unheard/of", {}),
            "a request's method": notification("tools/call", {"name": "get_projects"}),
            "initialize": notification("initialize"),
        }.items()
    ),
    Row(
        id="12 modern",
        status=202,
        body=notification("notifications/cancelled", {"requestId": 1, "_meta": META}),
        headers={"MCP-Protocol-Version": MODERN, "Mcp-Method": "notifications/cancelled"},
        check=empty,
    ),
    Row(id="13 a posted result", status=202, body={"jsonrpc": "2.0", "id": 1, "result": {}}, check=empty),
    Row(id="13 a posted error", status=202, body={"jsonrpc": "2.0", "id": None, "error": {}}, check=empty),
    *(
        Row(id=f"14 id {id_!r}", status=400, body=message("ping", id_=id_), check=error(-32600))
        for id_ in (None, True, False, 1.0, 1.5, {}, [], [1], 2**63, 2**64, "\ud800")
    ),
    *(
        Row(id=f"14 id {id_!r} is served", status=200, body=message("ping", id_=id_), check=result(id_))
        for id_ in (0, -1, 1, 2**53, 2**63 - 1, "", "0", "server-discover-probe-1", "é😀", "a" * 1_000)
    ),
]

LEGACY_RESULT = {"capabilities": {"tools": {}}, "serverInfo": ..., "instructions": ...}


def initialize(version, **params):
    return message(
        "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c"}, **params}
    )


def batch(id_, status, messages, check, **headers):
    return legacy(f"batch {id_}", status, messages, check, **headers)


LEGACY = [
    *(
        legacy(f"initialize {asked!r}", 200, initialize(asked), result(protocolVersion=given, **LEGACY_RESULT))
        for asked, given in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-03-26"),
            ("2025-06-18", "2025-06-18"),
            ("2025-11-25", "2025-11-25"),
            (MODERN, "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
            ("", "2025-11-25"),
            (None, "2025-11-25"),
            (5, "2025-11-25"),
            (["2025-06-18"], "2025-11-25"),
        ]
    ),
    legacy(
        "initialize without params", 200, message("initialize"), result(protocolVersion="2025-11-25", **LEGACY_RESULT)
    ),
    legacy(
        "initialize with routing headers, as mcp-remote",
        200,
        initialize("2025-11-25"),
        result(protocolVersion="2025-11-25", **LEGACY_RESULT),
        Mcp_Method="initialize",
    ),
    legacy("initialize with a modern header", 400, initialize(MODERN), error(-32602, 1), MCP_Protocol_Version=MODERN),
    *(
        legacy(f"ping, header {version}", 200, PING, result(), MCP_Protocol_Version=version)
        for version in (None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    ),
    legacy("ping of a session that there is not", 200, PING, result(), Mcp_Session_Id="x", Last_Event_ID="5"),
    legacy("ping with other routing headers", 200, PING, result(), Mcp_Method="tools/list", Mcp_Name="x"),
    *(
        legacy(f"tools/list {params!r}", 200, message("tools/list", params), all_of(result(tools=...), lists_tools))
        for params in (
            None,
            {},
            {"cursor": None},
            {"_meta": {"progressToken": 1}},
            {"_meta": {META_VERSION: "2025-06-18"}},
        )
    ),
    *(
        legacy(
            f"tools/list cursor {cursor!r}",
            200,
            message("tools/list", {"cursor": cursor}),
            error(-32602, 1, says="Invalid cursor"),
        )
        for cursor in ("", "x", 0, False, {})
    ),
    *(
        legacy(
            f"tools/call {what}",
            200,
            body,
            all_of(result(content=..., structuredContent=...), twice_the_same, no_projects_or_some),
        )
        for what, body in {
            "without arguments": call("get_projects"),
            "arguments null": call("get_projects", None),
            "arguments empty": call("get_projects", {}),
            "as a task": call("get_projects", {}, task={"ttl": 1}),
            "with _meta": call("get_projects", {}, _meta={"progressToken": "x"}),
        }.items()
    ),
    legacy(
        "tools/call that the rules refuse",
        200,
        call("get_folders", {"project": 987654321}),
        all_of(result(content=..., structuredContent=..., isError=True), fails_as_a_tool),
    ),
    *(
        legacy(f"tools/call with an id that no table holds: {id_}", 200, call("get_folders", {"project": id_}), denied)
        for id_ in (-1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30), 1e300)
    ),
    legacy("tools/call with an integer beyond doubles", 400, call("get_folders", {"project": 10**400}), error(-32700)),
    *(
        legacy(f"tools/call {what}", 200, body, error(-32602, 1, says=says))
        for what, body, says in [
            ("without params", message("tools/call"), "name"),
            ("without a name", message("tools/call", {"arguments": {}}), "name"),
            ("name null", call(None), "name"),
            ("name a number", call(5), "name"),
            ("arguments an array", call("get_projects", []), "arguments"),
            ("arguments a string", call("get_projects", "{}"), "arguments"),
            ("arguments a number", call("get_projects", 0), "arguments"),
            ("arguments false", call("get_projects", False), "arguments"),
            ("unknown tool", call("get_nothing", {}), "get_nothing"),
            ("a tool with a lone surrogate", call("get_\ud800", {}), "get_"),
            ("a tool of endless name", call("x" * 100_000, {}), "xxx"),
            ("a nameless tool", call("", {}), ""),
            ("an argument of another type", call("get_folders", {"project": [1]}), "project"),
            ("true is no integer", call("get_folders", {"project": True}), "project"),
            ("1.5 is no integer", call("get_folders", {"project": 1.5}), "project"),
            ("null is no integer", call("get_folders", {"project": None}), "project"),
            ("NUL in a text", call("create_folder", {"project": 1, "name": "a\0"}), "NUL"),
            ("a lone surrogate in a text", call("create_folder", {"project": 1, "name": "a\ud800"}), "surrogate"),
            ("an integer with a lone surrogate", call("get_folders", {"project": "\ud800"}), "project"),
            ("an argument named with a lone surrogate", call("get_projects", {"\ud800": 1}), ""),
            ("an argument of endless name", call("get_projects", {"x" * 100_000: 1}), "x"),
            ("an unknown argument", call("get_projects", {"projekt": 1}), "projekt"),
        ]
    ),
    *(
        legacy(f"{method} is not there", 200, message(method, {}), error(-32601, 1, says=method))
        for method in (
            "server/discover",
            "resources/list",
            "resources/templates/list",
            "resources/read",
            "prompts/list",
            "prompts/get",
            "logging/setLevel",
            "completion/complete",
            "subscriptions/listen",
            "tasks/list",
            "Tools/List",
            "",
        )
    ),
    legacy("a method with a lone surrogate", 200, message("\udfff\ud800"), error(-32601, 1, says="\\udfff\\ud800")),
    legacy("a method of endless name", 200, message("x" * 100_000), error(-32601, 1, says="x" * 100 + "…")),
    *(
        legacy(
            f"header {UNKNOWN}, {what}",
            400,
            body,
            error(-32022, 1, data={"supported": [MODERN], "requested": UNKNOWN}),
            MCP_Protocol_Version=UNKNOWN,
        )
        for what, body in {
            "no _meta": LIST,
            "legacy _meta": message("tools/list", {"_meta": {META_VERSION: "2025-11-25"}}),
            "initialize": initialize(UNKNOWN),
        }.items()
    ),
    legacy("header empty", 400, LIST, error(-32022, 1), MCP_Protocol_Version=""),
    # batches
    batch("of two", 200, [message("ping", id_=1), message("tools/list", id_="b")], items((1, 0), ("b", 0))),
    batch("of one", 200, [PING], items((1, 0))),
    batch("of 2025-03-26", 200, [PING], items((1, 0)), MCP_Protocol_Version="2025-03-26"),
    batch("with calls", 200, [call("get_projects"), call("get_nothing")], items((1, 0), (1, -32602))),
    batch(
        "with notifications between",
        200,
        [notification("notifications/x"), PING, {"jsonrpc": "2.0", "id": 2, "result": {}}],
        items((1, 0)),
    ),
    batch("of notifications", 202, [notification("notifications/x")] * 3, empty),
    batch(
        "with faults",
        200,
        [5, [], {}, message("ping", id_=None), message("x", id_=0), message("ping", id_=3)],
        items((None, -32600), (None, -32600), (None, -32600), (None, -32600), (0, -32601), (3, 0)),
    ),
    batch("with initialize", 200, [initialize("2025-03-26"), message("ping", id_=2)], items((1, -32600), (2, 0))),
    batch("with a modern message", 200, [message("tools/list", {"_meta": META})], items((1, -32600))),
    batch("empty", 400, [], error(-32600)),
    batch("of fifty", 200, [PING] * 50, items(*[(1, 0)] * 50)),
    batch("too long", 400, [PING] * 51, error(-32600, says="50")),
    *(
        batch(f"of {version}", 400, [PING], error(-32600), MCP_Protocol_Version=version)
        for version in ("2024-11-05", "2025-06-18", "2025-11-25", MODERN, UNKNOWN, ["2025-03-26", "2025-11-25"])
    ),
]

DISCOVERY = {
    "resultType": "complete",
    "supportedVersions": [MODERN],
    "capabilities": {"tools": {}},
    "instructions": ...,
    "ttlMs": 3_600_000,
    "cacheScope": "public",
    "_meta": ...,
}
LISTING = {"resultType": "complete", "tools": ..., "ttlMs": 300_000, "cacheScope": "private", "_meta": ...}
CALLED = {"resultType": "complete", "content": ..., "structuredContent": ..., "_meta": ...}
UNKNOWN_META = {**META, META_VERSION: UNKNOWN}
PROJECTS = {"name": "get_projects", "arguments": {}}


def names_the_server(reply):
    info = reply.document["result"]["_meta"][META_SERVER]
    assert {"name": "testorchestrator", "title": "TestOrchestrator"}.items() <= info.items()


MODERN_ERA = [
    modern("server/discover", 200, "server/discover", {}, all_of(result(**DISCOVERY), names_the_server)),
    modern(
        "capabilities and names of the client do not matter",
        200,
        "server/discover",
        {},
        result(**DISCOVERY),
        meta={**META, META_CAPABILITIES: {"roots": {}}, "io.modelcontextprotocol/clientInfo": 5, "traceparent": ""},
    ),
    modern("tools/list", 200, "tools/list", {}, all_of(result(**LISTING), lists_tools, names_the_server)),
    modern("tools/list cursor null", 200, "tools/list", {"cursor": None}, result(**LISTING)),
    modern("tools/list cursor", 200, "tools/list", {"cursor": "x"}, error(-32602, 1, says="Invalid cursor")),
    modern(
        "tools/call",
        200,
        "tools/call",
        PROJECTS,
        all_of(result(**CALLED), twice_the_same, no_projects_or_some, names_the_server),
    ),
    modern("tools/call without arguments", 200, "tools/call", {"name": "get_projects"}, result(**CALLED)),
    modern("tools/call arguments null", 200, "tools/call", {**PROJECTS, "arguments": None}, result(**CALLED)),
    modern(
        "tools/call that the rules refuse",
        200,
        "tools/call",
        {"name": "get_folders", "arguments": {"project": 987654321}},
        all_of(result(**CALLED, isError=True), fails_as_a_tool),
    ),
    modern("name wrapped", 200, "tools/call", PROJECTS, result(**CALLED), Mcp_Name=wrapped("get_projects")),
    modern("unknown Mcp-Param", 200, "tools/call", PROJECTS, result(**CALLED), Mcp_Param_Region="x"),
    modern("a session header", 200, "tools/list", {}, result(**LISTING), Mcp_Session_Id="x", Last_Event_ID="1"),
    modern("white space around values", 200, "tools/list", {}, result(**LISTING), Mcp_Method="  tools/list \t"),
    # a
    modern("a no _meta", 400, "tools/list", {}, error(-32602, 1, says=META_VERSION), meta=None),
    modern("a _meta an array", 400, "tools/list", {}, error(-32602, 1, says=META_CAPABILITIES), meta=[]),
    modern("a _meta empty", 400, "tools/list", {}, error(-32602, 1, says=META_VERSION), meta={}),
    modern("a no version", 400, "tools/list", {}, error(-32602, 1, says=META_VERSION), meta={META_CAPABILITIES: {}}),
    modern(
        "a no capabilities",
        400,
        "tools/list",
        {},
        error(-32602, 1, says=META_CAPABILITIES),
        meta={META_VERSION: MODERN},
    ),
    modern(
        "a version a number", 400, "tools/list", {}, error(-32602, 1, says=META_VERSION), meta={**META, META_VERSION: 5}
    ),
    # b
    modern(
        "b no header", 400, "tools/list", {}, error(-32020, 1, says="MCP-Protocol-Version"), MCP_Protocol_Version=None
    ),
    modern(
        "b legacy header", 400, "tools/list", {}, error(-32020, 1, says="2025-11-25"), MCP_Protocol_Version="2025-11-25"
    ),
    modern("b unknown header", 400, "tools/list", {}, error(-32020, 1), MCP_Protocol_Version=UNKNOWN),
    modern("b before c", 400, "tools/list", {}, error(-32020, 1, says=UNKNOWN), meta=UNKNOWN_META),
    modern("b legacy _meta", 400, "tools/list", {}, error(-32020, 1), meta={**META, META_VERSION: "2025-11-25"}),
    # c
    modern(
        "c before d",
        400,
        "tools/list",
        {},
        error(-32022, 1, data={"supported": [MODERN], "requested": UNKNOWN}),
        meta=UNKNOWN_META,
        MCP_Protocol_Version=UNKNOWN,
        Mcp_Method=None,
    ),
    # d
    modern("d no method", 400, "tools/list", {}, error(-32020, 1, says="Mcp-Method is missing"), Mcp_Method=None),
    modern("d another method", 400, "tools/list", {}, error(-32020, 1, says="tools/call"), Mcp_Method="tools/call"),
    modern("d another case", 400, "tools/list", {}, error(-32020, 1), Mcp_Method="TOOLS/LIST"),
    modern("d before g", 400, "ping", {}, error(-32020, 1), Mcp_Method=None),
    # e
    modern("e no name", 400, "tools/call", PROJECTS, error(-32020, 1, says="Mcp-Name is missing"), Mcp_Name=None),
    modern("e another name", 400, "tools/call", PROJECTS, error(-32020, 1, says="'foo' but"), Mcp_Name="foo"),
    modern(
        "e another name wrapped",
        400,
        "tools/call",
        PROJECTS,
        error(-32020, 1, says="'foo' but"),
        Mcp_Name=wrapped("foo"),
    ),
    modern("e broken wrapping", 400, "tools/call", PROJECTS, error(-32020, 1), Mcp_Name="=?base64?!!!?="),
    modern("e Latin-1", 400, "tools/call", {"name": "é"}, error(-32020, 1), Mcp_Name="Ã©"),
    modern("e endless", 400, "tools/call", PROJECTS, error(-32020, 1, says="xxx…"), Mcp_Name="x" * 9_000),
    modern(
        "e a surrogate in the body",
        400,
        "tools/call",
        {"name": "\ud800"},
        error(-32020, 1, says="\\ud800"),
        Mcp_Name="x",
    ),
    # f
    modern("f version twice", 400, "tools/list", {}, error(-32020, 1), MCP_Protocol_Version=[MODERN, MODERN]),
    modern("f two versions", 400, "tools/list", {}, error(-32020, 1), MCP_Protocol_Version=["2025-11-25", MODERN]),
    modern("f method twice", 400, "tools/list", {}, error(-32020, 1), Mcp_Method=["tools/list", "tools/list"]),
    modern("f two methods", 400, "tools/list", {}, error(-32020, 1), Mcp_Method=["tools/list", "tools/call"]),
    modern("f two names", 400, "tools/call", PROJECTS, error(-32020, 1), Mcp_Name=["get_projects", "get_folders"]),
    # g
    *(
        modern(f"g {method!r}", 404, method, {}, error(-32601, 1))
        for method in (
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/list",
            "resources/templates/list",
            "prompts/list",
            "subscriptions/listen",
            "completion/complete",
            "tasks/get",
            "unheard/of",
            "",
        )
    ),
    # h
    modern("h unknown tool", 200, "tools/call", {"name": "get_nothing"}, error(-32602, 1, says="get_nothing")),
    modern("h no name, no header", 400, "tools/call", {}, error(-32020, 1)),
    modern("h no name", 200, "tools/call", {}, error(-32602, 1, says="name"), Mcp_Name="get_projects"),
    modern("h name a number", 200, "tools/call", {"name": 5}, error(-32602, 1, says="name"), Mcp_Name="5"),
    modern(
        "h arguments an array", 200, "tools/call", {**PROJECTS, "arguments": []}, error(-32602, 1, says="arguments")
    ),
    modern(
        "h unknown argument",
        200,
        "tools/call",
        {**PROJECTS, "arguments": {"projekt": 1}},
        error(-32602, 1, says="projekt"),
    ),
    modern(
        "h true is no integer",
        200,
        "tools/call",
        {"name": "get_folders", "arguments": {"project": True}},
        error(-32602, 1, says="project"),
    ),
]

ROWS = [*LADDER, *LEGACY, *MODERN_ERA]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_answer(wire, row):
    reply = wire.send(row.body, headers=row.headers, method=row.method, path=row.path, chunked=row.chunked)
    assert row.status == reply.status, reply.body
    row.check(reply)
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert {name.lower() for name in reply.headers} <= HEADERS
    assert reply.headers["Content-Type"] == ("application/json" if reply.body else None)
    assert wire.key.encode() not in reply.body
    reply.body.decode()


def test_a_method_that_nobody_knows_is_refused(wire, server):
    # uvicorn's parser has a list of them.
    assert wire.send(method="BREW").status == {"hypercorn": 405, "uvicorn": 400}[server]


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("text/html;q=0.1", True),
        ("text/html;q=0, */*", False),
        ("application/json, text/event-stream", False),
        ("*/*", False),
        ("", False),
        (None, False),
    ],
)
def test_who_asks_for_html_gets_a_page_for_what_is_not_there(wire, accept, is_page):
    for method, path, status in [("GET", "/nothing", 404), ("POST", "/", 405), ("POST", "/nothing", 404)]:
        reply = wire.send(method=method, path=path, headers={"Accept": accept})
        assert reply.status == status
        assert (b"<!doctype html>" in reply.body.lower()) == is_page
        assert reply.headers["Content-Type"] == ("text/html; charset=utf-8" if is_page else "application/json")


def test_the_rows_have_names_of_their_own():
    assert len(ROWS) == len({row.id for row in ROWS})


def test_all_wrong_keys_get_one_answer(wire):
    keys = [
        "to_live_" + "A" * 43,
        "to_live_" + "_" * 43,
        wire.key[:-1],
        f"{wire.key}x",
        wire.key.swapcase(),
        "x",
        "\xff",
    ]
    replies = [wire.send(headers={"Authorization": f"Bearer {key}"}) for key in keys]
    assert len({(r.status, r.body, tuple((n, v) for n, v in r.headers.items() if n != "date")) for r in replies}) == 1


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer {}  ", "Bearer   {}", "  Bearer {}\t"])
def test_the_scheme_has_no_case_and_white_space_does_not_matter(wire, form):
    assert wire.send(PING, headers={"Authorization": form.format(wire.key)}).status == 200


def test_two_keys_are_none(wire):
    right = f"Bearer {wire.key}"
    assert wire.send(PING, headers={"Authorization": [right, right]}).status == 401


def test_both_eras_list_the_same_tools_in_the_same_bytes_each_time(wire):
    bodies = {wire.send(LIST).body for _ in range(3)}
    assert len(bodies) == 1
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
    newer = wire.send(message("tools/list", {"_meta": META}), headers=headers)
    assert newer.document["result"]["tools"] == json.loads(bodies.pop())["result"]["tools"]


def test_a_connection_serves_both_eras_one_after_the_other(wire):
    with wire.opened(PING) as connection:
        assert wire.reply(connection).document["result"] == {}
        body = json.dumps(message("server/discover", {"_meta": META})).encode()
        connection.sendall(
            b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
            + wire.key.encode()
            + b"\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
        assert wire.reply(connection).document["result"]["supportedVersions"] == [MODERN]
