"""The methods of both eras, from a body to the answer that is sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import orjson
import structlog

from service.calls import CallResult, InvalidParams, KeyRefused, Unavailable
from service.mcp.call_log import UNKNOWN
from service.mcp.envelope import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Fault,
    Request,
    Unanswered,
    encodable,
    parse,
    read_message,
    render,
    shown,
)
from service.mcp.eras import (
    BATCH_VERSION,
    LEGACY_VERSIONS,
    MODERN_VERSION,
    SERVER_INFO_KEY,
    RoutingHeaders,
    check_modern,
    has_modern_meta,
    is_modern,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.mcp.call_log import Entry
    from service.mcp.envelope import Id

LONGEST_BATCH = 50
_LIST_TTL_MS = 300_000
_DISCOVER_TTL_MS = 3_600_000
_LOG = structlog.get_logger()

Caller = TypeVar("Caller", contravariant=True)  # noqa: PLC0105 - reads as what it is


class Host(Protocol[Caller]):
    """What the protocol needs of the application."""

    @property
    def listing(self) -> Sequence[Mapping[str, Any]]:
        """The tools in the order in which they are shown."""
        ...

    async def call(self, caller: Caller, name: str, arguments: dict[str, Any]) -> CallResult:
        """Run a tool; raise InvalidParams where it is no call of a tool, Unavailable to try later, or KeyRefused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Who answers, for display."""

    name: str
    title: str
    version: str

    def document(self) -> dict[str, str]:
        """Return it as clients read it."""
        return {"name": self.name, "title": self.title, "version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP status and body; without a body, nothing but the status. *retry_after* is in seconds."""

    status: int = 200
    body: bytes | None = None
    retry_after: int | None = None


ACCEPTED = Answer(status=202)


class Server(Generic[Caller]):
    """The protocol over the tools of *host*."""

    def __init__(self, host: Host[Caller], *, info: ServerInfo, instructions: str) -> None:
        self._host = host
        self._tool_names = frozenset(tool["name"] for tool in host.listing)
        capabilities: dict[str, Any] = {"tools": {}}
        self._initialized = {
            version: {
                "protocolVersion": version,
                "capabilities": capabilities,
                "serverInfo": info.document(),
                "instructions": instructions,
            }
            for version in LEGACY_VERSIONS
        }
        # The list is long and never changes: it is rendered once.
        self._legacy_list = orjson.Fragment(orjson.dumps({"tools": list(host.listing)}))
        self._meta = {SERVER_INFO_KEY: info.document()}
        self._modern_list = self._complete(
            {"tools": list(host.listing), "ttlMs": _LIST_TTL_MS, "cacheScope": "private"}
        )
        self._discovered = self._complete(
            {
                "supportedVersions": [MODERN_VERSION],
                "capabilities": capabilities,
                "instructions": instructions,
                "ttlMs": _DISCOVER_TTL_MS,
                "cacheScope": "public",
            }
        )

    async def answer(self, body: bytes, headers: RoutingHeaders, caller: Caller, entry: Entry) -> Answer:
        """Return the answer to a POST's *body*, and note in *entry* what it was; raises nothing but KeyRefused."""
        id_ = None
        try:
            value = parse(body)
            if isinstance(value, list):
                return await self._batch(value, headers, caller, entry)
            message = read_message(value)
            if isinstance(message, Unanswered):
                return ACCEPTED
            id_ = message.id
            entry.calls(message.method)
            if is_modern(message, headers):
                check_modern(message, headers)
                result = await self._modern(message, caller, entry)
            else:
                result = await self._legacy(message, caller, entry)
        except Fault as fault:
            entry.failed("rpc_error", fault.code)
            return Answer(status=fault.status, body=_render_fault(fault))
        except Unavailable as unavailable:
            entry.failed("rpc_error", INTERNAL_ERROR)
            return unavailable_answer(unavailable, id_)
        except KeyRefused:
            raise
        except Exception:  # noqa: BLE001 - the edge: logged, and opaque to the client
            entry.failed("rpc_error", INTERNAL_ERROR)
            return Answer(body=_render_fault(_internal(id_)))
        return Answer(body=_render(id_, result))

    async def _batch(self, messages: list[Any], headers: RoutingHeaders, caller: Caller, entry: Entry) -> Answer:
        """Answer a batch, which only 2025-03-26 has, one message after the other; the last failure is noted."""
        entry.calls("batch")
        if any(version != BATCH_VERSION for version in headers.version):
            raise Fault(INVALID_REQUEST, "Invalid request: this protocol version has no batches.")
        if not 1 <= len(messages) <= LONGEST_BATCH:
            raise Fault(INVALID_REQUEST, f"Invalid request: a batch has 1 to {LONGEST_BATCH} messages.")
        entry.messages = len(messages)
        answers = []
        for value in messages:
            id_ = None
            try:
                message = read_message(value)
                if isinstance(message, Unanswered):
                    continue
                id_ = message.id
                answers.append(_render(id_, await self._batched(message, caller, entry)))
            except Fault as fault:
                entry.failed("rpc_error", fault.code)
                answers.append(_render_fault(fault))
            except Unavailable as unavailable:
                entry.failed("rpc_error", INTERNAL_ERROR)
                answers.append(_render_fault(_unavailable(unavailable, id_)))
            except KeyRefused:
                raise
            except Exception:  # noqa: BLE001 - the edge, as above
                entry.failed("rpc_error", INTERNAL_ERROR)
                answers.append(_render_fault(_internal(id_)))
        return Answer(body=b"[" + b",".join(answers) + b"]") if answers else ACCEPTED

    async def _batched(self, request: Request, caller: Caller, entry: Entry) -> Any:
        if request.method == "initialize" or has_modern_meta(request):
            raise Fault(INVALID_REQUEST, "Invalid request: this cannot be in a batch.", id_=request.id)
        return await self._legacy(request, caller, entry)

    async def _legacy(self, request: Request, caller: Caller, entry: Entry) -> Any:
        match request.method:
            case "tools/call":
                return await self._call(request, caller, entry)
            case "tools/list":
                _check_cursor(request)
                return self._legacy_list
            case "initialize":
                asked = request.params.get("protocolVersion")
                return self._initialized[asked if asked in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]]
            case "ping":
                return {}
            case _:
                raise _unknown_method(request, status=200)

    async def _modern(self, request: Request, caller: Caller, entry: Entry) -> Any:
        match request.method:
            case "tools/call":
                return {"resultType": "complete", **await self._call(request, caller, entry), "_meta": self._meta}
            case "tools/list":
                _check_cursor(request)
                return self._modern_list
            case "server/discover":
                return self._discovered
            case _:
                raise _unknown_method(request, status=404)

    async def _call(self, request: Request, caller: Caller, entry: Entry) -> dict[str, Any]:
        name = request.params.get("name")
        if not isinstance(name, str):
            raise Fault(INVALID_PARAMS, "Invalid params: name must be a string.", status=200, id_=request.id)
        entry.tool = name if name in self._tool_names else UNKNOWN
        arguments = request.params.get("arguments")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise Fault(INVALID_PARAMS, "Invalid params: arguments must be an object.", status=200, id_=request.id)
        try:
            result = await self._host.call(caller, name, arguments)
            structured = render(result.structured)
        except InvalidParams as invalid:
            message = encodable(invalid.message)
            raise Fault(INVALID_PARAMS, message, status=200, id_=request.id, data=invalid.data) from None
        except (KeyRefused, Unavailable):
            raise
        except Exception:  # noqa: BLE001 - the edge: logged, and opaque to the client
            entry.failed("tool_error", None)
            text = f"The server failed. Reference: {_log_failure()}"
            return {"content": [{"type": "text", "text": text}], "isError": True}
        text = structured.decode() if result.text is None else encodable(result.text)
        document = {
            "content": [{"type": "text", "text": text}],
            "structuredContent": orjson.Fragment(structured),
        }
        if not result.is_error:
            return document
        entry.failed("tool_error", result.structured.get("error", {}).get("code"))
        return {**document, "isError": True}

    def _complete(self, result: dict[str, Any]) -> Any:
        return orjson.Fragment(orjson.dumps({"resultType": "complete", **result, "_meta": self._meta}))


def unavailable_answer(unavailable: Unavailable, id_: Id | None = None) -> Answer:
    """Return the answer that asks to try again."""
    return Answer(status=503, body=_render_fault(_unavailable(unavailable, id_)), retry_after=unavailable.retry_after)


def failure_body() -> bytes:
    """Log the exception that is being handled; return the JSON-RPC error that refers to it and answers no request."""
    return _render_fault(_internal(None))


def error_body(code: int, message: str) -> bytes:
    """Return a JSON-RPC error that answers to no request."""
    return _render_fault(Fault(code, message))


def _check_cursor(request: Request) -> None:
    if request.params.get("cursor") is not None:
        raise Fault(INVALID_PARAMS, "Invalid cursor: all tools are on one page.", status=200, id_=request.id)


def _unknown_method(request: Request, *, status: int) -> Fault:
    return Fault(METHOD_NOT_FOUND, f"Method not found: {shown(request.method)}", status=status, id_=request.id)


def _unavailable(unavailable: Unavailable, id_: Id | None) -> Fault:
    return Fault(INTERNAL_ERROR, unavailable.message, id_=id_)


def _internal(id_: Id | None) -> Fault:
    return Fault(INTERNAL_ERROR, f"The server failed. Reference: {_log_failure()}", id_=id_)


def _log_failure() -> str:
    reference = uuid.uuid4().hex[:12]
    _LOG.exception("request_failed", reference=reference)
    return reference


def _render(id_: Id | None, result: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": id_, "result": result})


def _render_fault(fault: Fault) -> bytes:
    error: dict[str, Any] = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        error["data"] = fault.data
    return render({"jsonrpc": "2.0", "id": fault.id, "error": error}, default=str)
