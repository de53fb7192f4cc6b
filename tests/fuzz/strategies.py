"""What clients might send: arguments that a tool's published schema allows, nearly, or not at all; and envelopes."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.conftest import MISSING
from tests.tools.conftest import SORTS, example, sort_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.tools.registry import Tool

NASTY_TEXTS = (
    "",
    " ",
    "\x00",
    "\ud800",
    "a\u202eb",
    "👩‍🚀",
    "'; DROP TABLE cases; --",
    "%_\\",
    "<script>alert(1)</script>",
    "null",
    "-1",
    "9" * 30,
    "C-1",
    "c-99999999999999999999",
    "2026-02-30",
    "0001-01-01",
    "9999-12-31T23:59:59.999999+14:00",
    "{}",
    "[]",
    '[{"a": 1}]',
    "A" * 300,
    "é" * 10_001,
    "(" * 40,
    "https://user:pw@example.com/browse/X-1",
    "SAMPLE-1",
)
NASTY_NUMBERS = (0, -1, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 1.5, 1e308, -0.0)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NASTY_NUMBERS),
    st.sampled_from(NASTY_TEXTS),
    st.integers(-5, 300),
    st.text(string.printable, max_size=8),
)
garbage = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(string.ascii_letters, max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)
_words = st.text(string.ascii_letters + " -_é", min_size=1, max_size=20)
_days = st.dates().map(str)


def _allowed(  # noqa: C901, PLR0911 - a line or two for each kind of schema
    tool: Tool, name: str, schema: Mapping[str, Any], ids: Mapping[str, int]
) -> st.SearchStrategy[Any]:
    """Return values that the schema allows; ids mostly name objects that there are."""
    if name == "project":
        return st.just(ids["project"])
    if name in SORTS and schema.get("type") != "array":
        sort = sort_of(tool, name)
        known = [ids[sort]] if sort != "case" else [ids["case"], "C-1", "C-2", f"C-{len(ids)}", str(ids["case"])]
        return st.sampled_from([*known, *known, MISSING, 0])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(_words, st.sampled_from(["Passed", "failed", "smoke", "Blocked"]))
    match schema["type"]:
        case "integer":
            return st.integers(schema.get("minimum", 0), min(schema.get("maximum", 300), 300))
        case "boolean":
            return st.booleans()
        case "string":
            if schema.get("format") == "date":
                return _days
            return st.one_of(_words, st.sampled_from(["SAMPLE-2", "1h 30m", "2026-11-22T09:00:00Z"]))
        case "array":
            items = _allowed(tool, name, schema["items"], ids) if "items" in schema else garbage
            if name in SORTS:
                items = _allowed(tool, name, {**schema["items"], "type": "id"}, ids)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=4)
    if "properties" in schema:
        return _object(tool, schema, ids)
    fields = st.sampled_from(["priority", "Steps", "preconditions", "nothing"])
    steps = st.sampled_from([["Open", {"step": "Pay", "expectedResult": "Paid"}], []])
    return st.dictionaries(fields, st.one_of(st.sampled_from(["High", "low"]), steps, scalars), max_size=3)


def _object(tool: Tool, schema: Mapping[str, Any], ids: Mapping[str, int]) -> st.SearchStrategy[dict[str, Any]]:
    members = {
        name: _allowed(tool, name, inner, ids)
        for name, inner in schema["properties"].items()
        if name not in {"cursor", "idempotencyKey", "expectedVersion"}
    }
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {name: members[name] for name in required},
        optional={name: inner for name, inner in members.items() if name not in required},
    )


@st.composite
def arguments(draw: st.DrawFn, tool: Tool, ids: Mapping[str, int]) -> Any:
    """Return arguments: a third of them allowed, half with one or two things wrong, the rest anything."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(garbage)
    schema = tool.listing()["inputSchema"]
    given = draw(_object(tool, schema, ids))
    if kind <= 2:
        return given
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([*schema["properties"], "unknown", "Project"]))
        match draw(st.integers(0, 4)):
            case 0:
                given.pop(name, None)
            case 1:
                given[name] = json.dumps(given.get(name))
            case _:
                given[name] = draw(garbage)
    return given


_METHODS = ("initialize", "ping", "tools/list", "tools/call", "server/discover", "notifications/initialized", "nothing")
_VERSIONS = ("2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "1999-01-01", "", "draft")
ids_of_messages = st.one_of(st.integers(), st.text(max_size=5), scalars)


@st.composite
def envelopes(draw: st.DrawFn, tool: Tool) -> tuple[bytes, dict[str, str]]:
    """Return a body, from a right message to any bytes, and headers."""
    message: Any = {
        "jsonrpc": draw(st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2, None])),
        "id": draw(ids_of_messages),
        "method": draw(st.one_of(st.sampled_from(_METHODS), garbage)),
        "params": draw(
            st.one_of(
                st.fixed_dictionaries(
                    {}, optional={"name": st.just(tool.name), "arguments": garbage, "_meta": garbage}
                ),
                st.fixed_dictionaries(
                    {"protocolVersion": st.sampled_from(_VERSIONS), "capabilities": garbage, "clientInfo": garbage}
                ),
                st.just({"name": tool.name, "arguments": example(tool)}),
                garbage,
            )
        ),
    }
    for name in draw(st.lists(st.sampled_from(list(message)), max_size=2)):
        message.pop(name, None)
    if draw(st.integers(0, 9)) == 0:
        message = draw(st.one_of(garbage, st.just([message]), st.just([message, message]), st.just([])))
    body = json.dumps(message).encode()
    match draw(st.integers(0, 9)):
        case 0:
            body = body[: draw(st.integers(0, len(body)))]
        case 1:
            place = draw(st.integers(0, len(body)))
            body = body[:place] + draw(st.binary(max_size=4)) + body[place:]
        case 2:
            body = draw(st.binary(max_size=60))
    headers = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "MCP-Protocol-Version": st.sampled_from(_VERSIONS),
                "Content-Type": st.sampled_from(["application/json", "text/plain", "application/json; charset=x", ""]),
                "Accept": st.sampled_from(["application/json", "text/event-stream", "*/*", "text/html", ";;"]),
                "Mcp-Session-Id": st.sampled_from(["x", ""]),
                "Mcp-Method": st.sampled_from(_METHODS),
                "Mcp-Name": st.sampled_from([tool.name, "=?base64?!?=", "x"]),
            },
        )
    )
    return body, headers
