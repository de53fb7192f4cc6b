"""JSON-RPC: from the bytes of a body to a message or to the fault that is answered. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

DEEPEST = 64
_SHOWN = 100
_INTEGER_LIMIT = 2**63

#: A request's id: what JSON-RPC allows but for null and fractions, which nobody can answer to.
Id = str | int


class Fault(Exception):  # noqa: N818 - it is answered, not raised to anybody
    """A JSON-RPC error, with the HTTP status that it travels with and the id it answers to."""

    def __init__(self, code: int, message: str, *, status: int = 400, id_: Id | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.id = id_
        self.data = data


@dataclass(frozen=True, slots=True)
class Request:
    """A message that is answered."""

    id: Id
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A notification, or a response posted by the client: accepted, and dropped."""


def shown(text: str) -> str:
    """Return *text* so that it can stand in an answer: encodable, and not long."""
    safe = encodable(text[: _SHOWN + 1])
    return safe if len(safe) <= _SHOWN else safe[:_SHOWN] + "…"


def encodable(text: str) -> str:
    """Return *text* with what UTF-8 cannot hold, lone surrogates, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def render(document: Any, *, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return *document* as JSON, whatever a client made us repeat in it; *default* turns other types into JSON's."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # A lone surrogate becomes a question mark; an integer of any size stays what it is.
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=default)
        return text.encode("utf-8", "replace")


def parse(body: bytes) -> Any:
    """Return the JSON value of *body*; raise a parse Fault for all that is no JSON, or nested too deep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # A lone surrogate is legal JSON, which orjson refuses; the arguments' validation tells the client better.
        try:
            value = json.loads(
                body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
            )
        except (ValueError, RecursionError):
            raise Fault(PARSE_ERROR, "Parse error: the body is no JSON text in UTF-8.") from None
    if body.count(b"[") + body.count(b"{") > DEEPEST and _too_deep(value):
        raise Fault(PARSE_ERROR, f"Parse error: the JSON is nested more than {DEEPEST} levels deep.")
    return value


def read_message(value: Any) -> Request | Unanswered:
    """Return the message that *value* is; raise a Fault for what is none."""
    if not isinstance(value, dict):
        raise Fault(INVALID_REQUEST, "Invalid request: a message is a JSON object.")
    id_ = value.get("id")
    valid_id = id_ if _is_id(id_) else None
    if value.get("jsonrpc") != "2.0":
        raise Fault(INVALID_REQUEST, 'Invalid request: jsonrpc must be "2.0".', id_=valid_id)
    if "method" not in value and ("result" in value or "error" in value):
        return Unanswered()
    method = value.get("method")
    if not isinstance(method, str):
        raise Fault(INVALID_REQUEST, "Invalid request: method must be a string.", id_=valid_id)
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise Fault(INVALID_REQUEST, "Invalid request: params must be an object.", id_=valid_id)
    if "id" not in value:
        return Unanswered()
    if valid_id is None:
        raise Fault(INVALID_REQUEST, "Invalid request: id must be a string or an integer.")
    return Request(valid_id, method, params)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -_INTEGER_LIMIT <= value < _INTEGER_LIMIT


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _integer(text: str) -> int | float:
    # As orjson reads it, which has no integers of more than 64 bits.
    number = int(text)
    return number if -_INTEGER_LIMIT <= number < 2 * _INTEGER_LIMIT else _finite(text)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
