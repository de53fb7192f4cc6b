"""MCP over HTTP: what is settled before a body is read, and how answers travel.

The endpoint is an ASGI application in front of the web framework, which serves everything else: a POST of JSON needs
none of the framework's contexts, and they would cost as much as the call itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import orjson
from quart import Response, has_request_context, request

from service.calls import KeyRefused, Unavailable
from service.limits import Attempt, Throttle, TooMany, client_address
from service.mcp.call_log import Entry
from service.mcp.dispatch import Answer, Host, Server, ServerInfo, error_body, failure_body, unavailable_answer
from service.mcp.envelope import INVALID_REQUEST
from service.mcp.eras import MODERN_VERSION, RoutingHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
    from quart import Quart
    from werkzeug.exceptions import HTTPException

    from service.mcp.call_log import CallLog

PATH = "/mcp"

Header = tuple[bytes, bytes]

_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_JSON = (*_ALWAYS, (b"content-type", b"application/json"))
_CHALLENGE = b'Bearer realm="testorchestrator"'
_REJECTED = (
    _CHALLENGE + b', error="invalid_token", error_description="Missing, invalid, revoked or expired API key. '
    b'Create one under Profile > API Keys."'
)
_UNAUTHORIZED = Answer(
    status=401,
    body=error_body(
        INVALID_REQUEST,
        "Unauthorized: the API key is missing, invalid, revoked or expired. Create one under Profile > API Keys and "
        "send it in the Authorization header (Bearer scheme).",
    ),
)
_NO_OAUTH = orjson.dumps(
    {
        "error": "not_found",
        "error_description": "OAuth is not offered here. Use a personal API key in the Authorization header "
        "(Bearer scheme); see Profile > API Keys.",
    }
)
# What a client shows whose key was refused and that then tried to register for OAuth.
_NO_REGISTRATION = orjson.dumps(
    {
        "error": "access_denied",
        "error_description": "The API key is missing, invalid, revoked or expired, and OAuth is not offered here. "
        "Create a key under Profile > API Keys and send it in the Authorization header (Bearer scheme).",
    }
)
_NOT_FOUND = orjson.dumps(
    {"error": "not_found", "error_description": f"There is nothing here. The endpoint is {PATH}."}
)
_JSON_HEADERS = {name.decode(): value.decode() for name, value in _JSON}
_REGISTRATION_PATH = "/register"
_OAUTH_PATHS = frozenset({_REGISTRATION_PATH, "/authorize", "/token"})
_REFUSED = re.compile(r"(.*;)?q=0(\.0*)?(;.*)?")
#: The most specific one decides.
_JSON_RANGES = ("application/json", "application/*", "*/*")
#: Of each header on the wire: a colon, a space, the end of the line.
_HEADER_OVERHEAD = 4
_CLOSES_BY_HEADER = frozenset({"1.0", "1.1"})
_LINGER_SECONDS = 1
#: Of a longer body the rest is not waited for before it is known who sends it.
_SHORT_BODY = 64 * 1024
_MOST_FORMS = 100

Caller = TypeVar("Caller")


class Application(Host[Caller], Protocol[Caller]):
    """The tools, and who may call them."""

    async def authenticate(self, key: str) -> Caller | None:
        """Return whom *key* stands for, or None; raise Unavailable where nobody can tell."""
        ...

    def recall(self, key: str) -> Caller | None:
        """Return whom *key* stood for a moment ago, or None; nothing may be answered before that is confirmed."""
        ...

    async def confirm(self, caller: Caller) -> None:
        """See to it that the caller is whom the key stands for now; raise KeyRefused or Unavailable."""
        ...


class ASGIApplication(Protocol):
    """What serves the paths that are not the endpoint's."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        ...


class _ClientGone(Exception):  # noqa: N818 - nobody is left to be told
    """The client went away before its request was answered."""


class _Refused(Exception):  # noqa: N818 - a refusal is an answer
    """The *answer*, with *headers*, to a request whose body has not been read."""

    def __init__(self, answer: Answer, *headers: Header) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.headers = headers


class Endpoint(Generic[Caller]):
    """`POST /mcp` over *application*; every other path goes *otherwise*.

    No *allowed_hosts* means that every Host header is answered.
    """

    def __init__(
        self,
        application: Application[Caller],
        otherwise: ASGIApplication,
        *,
        info: ServerInfo,
        instructions: str,
        allowed_origins: frozenset[str] = frozenset(),
        allowed_hosts: frozenset[str] = frozenset(),
        max_body_bytes: int,
        body_timeout_seconds: float,
        max_header_bytes: int = 16 * 1024,
        is_well_formed: Callable[[str], object] = bool,
        throttle: Throttle | None = None,
        trusted_proxies: int = 0,
        call_log: CallLog[Caller] | None = None,
    ) -> None:
        self._application = application
        self._otherwise = otherwise
        self._server = Server(application, info=info, instructions=instructions)
        self._allowed_origins = allowed_origins
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_body_bytes = max_body_bytes
        self._body_timeout_seconds = body_timeout_seconds
        self._max_header_bytes = max_header_bytes
        self._is_well_formed = is_well_formed
        self._throttle = throttle or Throttle()
        self._trusted_proxies = trusted_proxies
        self._call_log = call_log

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or scope["path"] != PATH:
            await self._otherwise(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            headers = (*_ALWAYS, (b"allow", b"POST"), (b"content-length", b"0"))
            await send({"type": "websocket.http.response.start", "status": 405, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
        else:
            entry = Entry()
            if self._call_log is not None:
                self._call_log.begin()
            try:
                await self._serve(scope, receive, send, entry)
            finally:
                if self._call_log is not None:
                    self._call_log.write(entry)

    async def _serve(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable, entry: Entry
    ) -> None:
        try:
            answer = await self._post(scope, receive, entry)
        except _ClientGone:
            entry.failed("gone", None)
        except asyncio.CancelledError:
            entry.failed("gone", None)
            raise
        except _Refused as refused:
            entry.refused(refused.answer.status)
            entry.bytes_out = len(refused.answer.body or b"")
            await _send_early(scope, receive, send, refused.answer, *refused.headers)
        except Exception:  # noqa: BLE001 - the edge: logged, and opaque to the client
            entry.refused(500)
            await _send_early(scope, receive, send, Answer(status=500, body=failure_body()))
        else:
            entry.status = answer.status
            entry.bytes_out = len(answer.body or b"")
            await _send(send, answer)

    async def _post(self, scope: HTTPScope, receive: ASGIReceiveCallable, entry: Entry) -> Answer:
        if scope["method"] != "POST":
            raise _Refused(Answer(status=405), (b"allow", b"POST"))
        headers = self._headers(scope)
        self._check_where_from(headers)
        key, attempt, address = self._admit(scope, headers, entry)
        try:
            # Who has to confirm what is recalled is the transaction that works for the call, at no cost.
            recalled = self._application.recall(key) if _is_short(headers) else None
            caller = entry.caller = recalled or await self._authenticate(key, entry)
            try:
                answer = await self._answer(receive, headers, caller, entry)
            except _Refused:
                await self._application.confirm(caller)
                raise
            await self._application.confirm(caller)
        except KeyRefused:
            self._throttle.settle(attempt, works=False)
            entry.caller, entry.address = None, address()
            raise _Refused(_UNAUTHORIZED, (b"www-authenticate", _REJECTED)) from None
        except Unavailable as unavailable:
            raise _Refused(unavailable_answer(unavailable)) from unavailable
        self._throttle.settle(attempt, works=True)
        if entry.messages > 1:
            self._throttle.charge(attempt, entry.messages - 1)
        return answer

    async def _answer(
        self, receive: ASGIReceiveCallable, headers: Mapping[bytes, Sequence[str]], caller: Caller, entry: Entry
    ) -> Answer:
        if not _is_json(tuple(headers.get(b"content-type", ()))):
            raise _refusal(415, "Unsupported media type: send application/json.")
        if not _accepts_json(tuple(headers.get(b"accept", ()))):
            raise _refusal(406, "Not acceptable: answers are application/json.")
        body = await self._body(receive, headers.get(b"content-length", ()))
        entry.bytes_in = len(body)
        routing = RoutingHeaders(
            version=headers.get(b"mcp-protocol-version", ()),
            method=headers.get(b"mcp-method", ()),
            name=headers.get(b"mcp-name", ()),
        )
        answer = self._server.answer(body, routing, caller, entry)
        # A legacy client that goes away has not cancelled its call, a modern one has. Who sends no modern version in
        # the header is answered as legacy, or refused at once.
        return await (_while_connected(answer, receive) if MODERN_VERSION in routing.version else answer)

    def _headers(self, scope: HTTPScope) -> dict[bytes, list[str]]:
        headers: dict[bytes, list[str]] = {}
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value) + _HEADER_OVERHEAD
            headers.setdefault(name, []).append(value.decode("latin-1"))
        # The web server looks at its own limit only while the headers are incomplete.
        if size > self._max_header_bytes:
            raise _refusal(431, f"The headers are too large: at most {self._max_header_bytes:,} bytes.")
        return headers

    def _check_where_from(self, headers: Mapping[bytes, Sequence[str]]) -> None:
        if not self._allowed_origins.issuperset(headers.get(b"origin", ())):
            raise _refusal(403, "Forbidden: this origin may not call.")
        if self._allowed_hosts and not _is_allowed(headers.get(b"host", [""])[0], self._allowed_hosts):
            raise _refusal(403, "Forbidden: this host is not served here.")

    def _admit(
        self, scope: HTTPScope, headers: Mapping[bytes, Sequence[str]], entry: Entry
    ) -> tuple[str, Attempt, Callable[[], str]]:
        """Return the key that may be looked up, and the address that it comes from.

        What cannot be a key is refused without a look-up, with the answer to any wrong key.
        """

        def address() -> str:
            forwarded_for = headers.get(b"x-forwarded-for", ())
            return client_address(scope["client"], forwarded_for, trusted_proxies=self._trusted_proxies)

        authorization = headers.get(b"authorization", ())
        key = _bearer(authorization)
        if not key or not self._is_well_formed(key):
            entry.address = address()
            raise _Refused(_UNAUTHORIZED, (b"www-authenticate", _REJECTED if authorization else _CHALLENGE))
        try:
            return key, self._throttle.admit(key, address), address
        except TooMany as too_many:
            entry.address = address()
            body = error_body(INVALID_REQUEST, too_many.message)
            raise _Refused(Answer(status=429, body=body, retry_after=too_many.retry_after)) from None

    async def _authenticate(self, key: str, entry: Entry) -> Caller:
        began = time.perf_counter()
        caller = await self._application.authenticate(key)
        entry.authentication_seconds = time.perf_counter() - began
        if caller is None:
            raise KeyRefused
        return caller

    async def _body(self, receive: ASGIReceiveCallable, content_length: Iterable[str]) -> bytes:
        too_large = f"The body is too large: at most {self._max_body_bytes:,} bytes."
        if any(int(length) > self._max_body_bytes for length in content_length):
            raise _refusal(413, too_large)
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_seconds):
                more = True
                while more:
                    event = await receive()
                    if event["type"] != "http.request":
                        raise _ClientGone
                    body += event["body"]
                    if len(body) > self._max_body_bytes:
                        raise _refusal(413, too_large)
                    more = event["more_body"]
        except TimeoutError:
            raise _refusal(408, "The body did not arrive in time.") from None
        return bytes(body)


def install_error_answers(app: Quart) -> None:
    """Answer what no route takes in JSON, and tell clients that look for OAuth what there is instead."""

    @app.errorhandler(404)
    async def not_found(_: HTTPException) -> Response:
        path = request.path if has_request_context() else ""
        if path == _REGISTRATION_PATH and request.method == "POST":
            # After a 404 some clients try an older transport, and show its failure instead of this.
            return Response(_NO_REGISTRATION, 403, headers=_JSON_HEADERS)
        oauth = ".well-known" in path or path in _OAUTH_PATHS
        return Response(_NO_OAUTH if oauth else _NOT_FOUND, 404, headers=_JSON_HEADERS)


async def _while_connected(answer: Coroutine[None, None, Answer], receive: ASGIReceiveCallable) -> Answer:
    """Return the answer, or cancel the work on it when the client goes away."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if work.cancel():
            await asyncio.wait({work})
    if work.cancelled():
        raise _ClientGone
    return work.result()


async def _disconnect(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _rest_of_body(receive: ASGIReceiveCallable) -> None:
    more = True
    while more:
        event = await receive()
        more = event["type"] == "http.request" and event["more_body"]


def _bearer(authorization: Sequence[str]) -> str | None:
    # With two headers, whatever stands before us may have checked the other one.
    if len(authorization) != 1:
        return None
    scheme, _, key = authorization[0].strip().partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _is_short(headers: Mapping[bytes, Sequence[str]]) -> bool:
    return any(int(length) <= _SHORT_BODY for length in headers.get(b"content-length", ()))


def _is_allowed(host: str, allowed_hosts: frozenset[str]) -> bool:
    """Return whether *host* is allowed as it is, or whatever its port."""
    host = host.lower()
    name, _, port = host.rpartition(":")
    return host in allowed_hosts or (port.isdecimal() and name in allowed_hosts)


# Of these two, clients send the same few all the time.
@lru_cache(maxsize=_MOST_FORMS)
def _is_json(content_type: tuple[str, ...]) -> bool:
    return [value.partition(";")[0].strip().lower() for value in content_type] == ["application/json"]


@lru_cache(maxsize=_MOST_FORMS)
def _accepts_json(accept: tuple[str, ...]) -> bool:
    ranges = ["".join(part.split()).lower().partition(";") for line in accept for part in line.split(",")]
    for wanted in _JSON_RANGES:
        if parameters := [rest for name, _, rest in ranges if name == wanted]:
            return not all(_REFUSED.fullmatch(rest) for rest in parameters)
    return not any(name for name, _, _ in ranges)


def _refusal(status: int, message: str) -> _Refused:
    return _Refused(Answer(status=status, body=error_body(INVALID_REQUEST, message)))


async def _send_early(
    scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable, answer: Answer, *headers: Header
) -> None:
    """Send an answer to a request whose body has not been read.

    What comes of the body is taken and dropped: hypercorn's queue holds ten parts, and a connection whose queue is full
    is never closed. If it is not all there, the connection is of no more use and says so. It is closed a little later,
    since a client that is still sending into a closed connection may never see the answer.
    """
    rest = asyncio.ensure_future(_rest_of_body(receive))
    try:
        # What has arrived is taken in this one turn.
        await asyncio.sleep(0)
        if rest.done() or scope["http_version"] not in _CLOSES_BY_HEADER:
            await _send(send, answer, *headers)
            return
        await _send(send, answer, *headers, (b"connection", b"close"), more_body=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await rest
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        rest.cancel()


async def _send(send: ASGISendCallable, answer: Answer, *more: Header, more_body: bool = False) -> None:
    body = answer.body or b""
    headers = [*(_ALWAYS if answer.body is None else _JSON), *more, (b"content-length", b"%d" % len(body))]
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": more_body})
