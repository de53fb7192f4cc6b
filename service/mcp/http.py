"""MCP over HTTP: what is settled before a body is read, and how answers travel.

The endpoint is an ASGI application in front of the web framework, which serves everything else: a POST of JSON needs
none of the framework's contexts, and they would cost as much as the call itself.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import orjson
from quart import Response, has_request_context, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from service.calls import Unavailable
from service.mcp.dispatch import Answer, Host, Server, ServerInfo, error_body, failure_body, unavailable_answer
from service.mcp.envelope import INVALID_REQUEST
from service.mcp.eras import MODERN_VERSION, RoutingHeaders

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
    from quart import Quart

PATH = "/mcp"

Headers = list[tuple[bytes, bytes]]

_ALWAYS: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
_JSON: Headers = [*_ALWAYS, (b"content-type", b"application/json")]
_CHALLENGE = b'Bearer realm="testorchestrator"'
_REJECTED = (
    _CHALLENGE + b', error="invalid_token", error_description="Missing, invalid, revoked or expired API key. '
    b'Create one under Profile > API Keys."'
)
_UNAUTHORIZED = error_body(
    INVALID_REQUEST,
    "Unauthorized: the API key is missing, invalid, revoked or expired. Create one under Profile > API Keys and send "
    "it in the Authorization header (Bearer scheme).",
)
_NO_OAUTH = orjson.dumps(
    {
        "error": "not_found",
        "error_description": "OAuth is not offered here. Use a personal API key in the Authorization header "
        "(Bearer scheme); see Profile > API Keys.",
    }
)
_NOT_FOUND = orjson.dumps(
    {"error": "not_found", "error_description": f"There is nothing here. The endpoint is {PATH}."}
)
_OAUTH_PATHS = frozenset({"/register", "/authorize", "/token"})
_REFUSED = re.compile(r"(.*;)?q=0(\.0*)?(;.*)?")
_ACCEPTABLE = frozenset({"application/json", "application/*", "*/*"})

Caller = TypeVar("Caller")


class Application(Host[Caller], Protocol[Caller]):
    """The tools, and who may call them."""

    async def authenticate(self, key: str) -> Caller | None:
        """Return whom *key* stands for, or None; raise Unavailable where nobody can tell."""
        ...


class ASGIApplication(Protocol):
    """What serves the paths that are not the endpoint's."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        ...


class _ClientGone(Exception):  # noqa: N818 - nobody is left to be told
    """The client went away before its request was answered."""


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
    ) -> None:
        self._application = application
        self._otherwise = otherwise
        self._server = Server(application, info=info, instructions=instructions)
        self._allowed_origins = allowed_origins
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_body_bytes = max_body_bytes
        self._body_timeout_seconds = body_timeout_seconds

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or scope["path"] != PATH:
            await self._otherwise(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            headers = [*_ALWAYS, (b"allow", b"POST"), (b"content-length", b"0")]
            await send({"type": "websocket.http.response.start", "status": 405, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
        elif scope["method"] != "POST":
            await _send(send, 405, b"", [*_ALWAYS, (b"allow", b"POST")])
        else:
            try:
                await self._post(scope, receive, send)
            except _ClientGone:
                pass
            except Exception:  # noqa: BLE001 - the edge: logged, and opaque to the client
                await _send(send, 500, failure_body(), _JSON)

    async def _post(  # noqa: C901, PLR0911 - one answer for each rung of the ladder
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value.decode("latin-1"))
        if not self._allowed_origins.issuperset(headers.get(b"origin", ())):
            return await _refuse(send, 403, "Forbidden: this origin may not call.")
        if self._allowed_hosts and not _is_allowed(headers.get(b"host", [""])[0], self._allowed_hosts):
            return await _refuse(send, 403, "Forbidden: this host is not served here.")
        authorization = headers.get(b"authorization", [])
        key = _bearer(authorization)
        try:
            caller = await self._application.authenticate(key) if key else None
        except Unavailable as unavailable:
            return await _send_answer(send, unavailable_answer(unavailable))
        if caller is None:
            challenge = _REJECTED if authorization else _CHALLENGE
            return await _send(send, 401, _UNAUTHORIZED, [*_JSON, (b"www-authenticate", challenge)])
        if not _is_json(headers.get(b"content-type", ())):
            return await _refuse(send, 415, "Unsupported media type: send application/json.")
        if not _accepts_json(headers.get(b"accept", ())):
            return await _refuse(send, 406, "Not acceptable: answers are application/json.")
        try:
            body = await self._body(receive, headers.get(b"content-length", ()))
        except TimeoutError:
            return await _refuse(send, 408, "The body did not arrive in time.")
        if body is None:
            return await _refuse(send, 413, f"The body is too large: at most {self._max_body_bytes:,} bytes.")
        routing = RoutingHeaders(
            version=headers.get(b"mcp-protocol-version", ()),
            method=headers.get(b"mcp-method", ()),
            name=headers.get(b"mcp-name", ()),
        )
        answer = self._server.answer(body, routing, caller)
        # A legacy client that goes away has not cancelled its call, a modern one has. Who sends no modern version in
        # the header is answered as legacy, or refused at once.
        if MODERN_VERSION in routing.version:
            answer = _while_connected(answer, receive)
        return await _send_answer(send, await answer)

    async def _body(self, receive: ASGIReceiveCallable, content_length: Iterable[str]) -> bytes | None:
        """Return the body, or None if it is too large; raise TimeoutError if it does not come."""
        if any(length.isdecimal() and int(length) > self._max_body_bytes for length in content_length):
            return None
        async with asyncio.timeout(self._body_timeout_seconds):
            body = b""
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    raise _ClientGone
                body = body + event["body"] if body else event["body"]
                if len(body) > self._max_body_bytes:
                    return None
                if not event["more_body"]:
                    return body


def install_error_answers(app: Quart) -> None:
    """Answer what no route takes, and what goes wrong before one does, in JSON and without a redirect."""
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False

    @app.errorhandler(HTTPException)
    async def answer(error: HTTPException) -> Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json"}
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        if error.code == 404:  # noqa: PLR2004 - as in RFC 9110
            path = request.path if has_request_context() else ""
            oauth = ".well-known" in path or path in _OAUTH_PATHS
            return Response(_NO_OAUTH if oauth else _NOT_FOUND, 404, headers=headers)
        return Response(error_body(INVALID_REQUEST, error.name), error.code or 500, headers=headers)


async def _while_connected(answer: Coroutine[None, None, Answer], receive: ASGIReceiveCallable) -> Answer:
    """Return the answer, or cancel the work on it when the client goes away."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _ClientGone
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnect(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _bearer(authorization: list[str]) -> str | None:
    # With two headers, whatever stands before us may have checked the other one.
    if len(authorization) != 1:
        return None
    scheme, _, key = authorization[0].strip().partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _is_allowed(host: str, allowed_hosts: frozenset[str]) -> bool:
    """Return whether *host* is allowed as it is, or whatever its port."""
    host = host.lower()
    name, _, port = host.rpartition(":")
    return host in allowed_hosts or (port.isdecimal() and name in allowed_hosts)


def _is_json(content_type: Iterable[str]) -> bool:
    return [value.partition(";")[0].strip().lower() for value in content_type] == ["application/json"]


def _accepts_json(accept: Iterable[str]) -> bool:
    ranges = [part.lower().replace(" ", "").partition(";") for line in accept for part in line.split(",")]
    return not any(name for name, _, _ in ranges) or any(
        name in _ACCEPTABLE and not _REFUSED.fullmatch(parameters) for name, _, parameters in ranges
    )


async def _refuse(send: ASGISendCallable, status: int, message: str) -> None:
    await _send(send, status, error_body(INVALID_REQUEST, message), _JSON)


async def _send_answer(send: ASGISendCallable, answer: Answer) -> None:
    if answer.body is None:
        await _send(send, answer.status, b"", _ALWAYS)
    elif answer.retry_after is None:
        await _send(send, answer.status, answer.body, _JSON)
    else:
        retry = (b"retry-after", str(answer.retry_after).encode())
        await _send(send, answer.status, answer.body, [*_JSON, retry])


async def _send(send: ASGISendCallable, status: int, body: bytes, headers: Headers) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length], "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})
