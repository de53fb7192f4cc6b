"""MCP over HTTP: what is settled before a body is read, and how answers travel."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import orjson
from quart import Request, Response, abort, request
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge

from service.calls import KeyRefused, Unavailable
from service.limits import Attempt, Throttle, TooMany, client_address
from service.mcp.call_log import Entry
from service.mcp.dispatch import Answer, Host, Server, ServerInfo, error_body, failure_body, unavailable_answer
from service.mcp.envelope import INVALID_REQUEST
from service.mcp.eras import MODERN_VERSION, RoutingHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from quart import Quart
    from werkzeug.exceptions import HTTPException

    from service.mcp.call_log import CallLog

PATH = "/mcp"

Header = tuple[str, str]

_ALWAYS = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))
_JSON = (*_ALWAYS, ("content-type", "application/json"))
# What pages of other origins may send and read beyond what they always may (CORS).
_SENDABLE = (
    "Accept",
    "Authorization",
    "Content-Type",
    "Last-Event-ID",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Protocol-Version",
    "Mcp-Session-Id",
)
_PREFLIGHT = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": ", ".join(_SENDABLE),
    "access-control-max-age": "600",
}
_ALLOWED = Answer(status=204)
_READABLE = "Retry-After, WWW-Authenticate"
_CHALLENGE = 'Bearer realm="testorchestrator"'
_REJECTED = (
    f'{_CHALLENGE}, error="invalid_token", error_description="Missing, invalid, revoked or expired API key. '
    'Create one under Profile > API Keys."'
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
_REGISTRATION_PATH = "/register"
_OAUTH_PATHS = frozenset({_REGISTRATION_PATH, "/authorize", "/token"})
_REFUSED = re.compile(r"(.*;)?q=0(\.0*)?(;.*)?")
#: The most specific one decides.
_JSON_RANGES = ("application/json", "application/*", "*/*")
#: Of each header on the wire: a colon, a space, the end of the line.
_HEADER_OVERHEAD = 4
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


class _ClientGone(Exception):  # noqa: N818 - nobody is left to be told
    """The client went away before its request was answered."""


class _Refused(Exception):  # noqa: N818 - a refusal is an answer
    """The *answer*, with *headers*, to a request whose body has not been read."""

    def __init__(self, answer: Answer, *headers: Header) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.headers = headers


class _Answer(Response):
    """A response that is of no type unless it says so."""

    default_mimetype = None  # type: ignore[assignment]


class _Client:
    """The one who asks: whether they are *gone*, and whether that *cancels* what is done for them just now."""

    def __init__(self) -> None:
        self.gone = False
        self.cancels = False

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Do what follows as long as the client is there."""
        self.cancels = True
        try:
            yield
        finally:
            self.cancels = False


class Endpoint(Generic[Caller]):
    """`POST /mcp` over *application*. No *allowed_hosts* means that every Host header is answered."""

    def __init__(
        self,
        application: Application[Caller],
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
        self._running: set[asyncio.Task[Response]] = set()

    def install(self, app: Quart) -> None:
        """Serve the endpoint by a route of *app*."""
        limit = self._max_body_bytes

        class SizedRequest(Request):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                # What pages take is bounded by the application's setting.
                if self.path == PATH:
                    self.body = self.body_class(self.content_length, limit)

        app.request_class = SizedRequest
        # Whatever the method, and no other way to write the path.
        app.url_map.add(app.url_rule_class(PATH, endpoint=PATH, merge_slashes=False, provide_automatic_options=False))
        app.view_functions[PATH] = self.answer
        app.after_serving(self.stop)

    async def answer(self) -> Response:
        """Answer the request that Quart has at hand."""
        if request.scope["path"].startswith("//"):
            # Routes are found with any number of slashes before them.
            abort(404)
        client = _Client()
        work = asyncio.ensure_future(self._serve(client))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # So Quart says that the client is gone, which does not cancel a call of a legacy one.
            client.gone = True
            if client.cancels:
                work.cancel()
            return await work

    async def stop(self) -> None:
        """Cancel the calls that the server does not wait for any longer, and see them to their end."""
        for work in (running := tuple(self._running)):
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, client: _Client) -> Response:
        entry = Entry()
        if self._call_log is not None:
            self._call_log.begin()
        try:
            return await self._respond(client, entry)
        finally:
            if self._call_log is not None:
                self._call_log.write(entry)

    async def _respond(self, client: _Client, entry: Entry) -> Response:
        headers: tuple[Header, ...] = ()
        try:
            answer = await self._post(client, entry)
            entry.status = answer.status
        except (_ClientGone, asyncio.CancelledError):
            entry.failed("gone", None)
            raise asyncio.CancelledError from None
        except _Refused as refused:
            answer, headers = refused.answer, refused.headers
            entry.refused(answer.status)
        except Exception:  # noqa: BLE001 - the edge: logged, and opaque to the client
            answer = Answer(status=500, body=failure_body())
            entry.refused(500)
        entry.bytes_out = len(answer.body or b"")
        response = _response(answer, *headers)
        self._share(response)
        return response

    def _share(self, response: Response) -> None:
        """Let a page of an allowed origin read the response."""
        if not self._allowed_origins:
            return
        response.headers["vary"] = "Origin"
        origin = request.headers.get("origin")
        if origin in self._allowed_origins:
            response.headers["access-control-allow-origin"] = origin
            response.headers["access-control-expose-headers"] = _READABLE
            if response.status_code == _ALLOWED.status:
                response.headers.update(_PREFLIGHT)

    async def _post(self, client: _Client, entry: Entry) -> Answer:
        is_preflight = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        if request.method != "POST" and not is_preflight:
            raise _Refused(Answer(status=405), ("allow", "POST"))
        headers = self._headers()
        self._check_where_from(headers)
        if is_preflight:
            return _ALLOWED
        key, attempt, address = self._admit(headers, entry)
        try:
            # Who has to confirm what is recalled is the transaction that works for the call, at no cost.
            recalled = self._application.recall(key) if _is_short() else None
            caller = entry.caller = recalled or await self._authenticate(key, entry)
            try:
                answer = await self._answer(client, headers, caller, entry)
            except _Refused:
                await self._application.confirm(caller)
                raise
            await self._application.confirm(caller)
        except KeyRefused:
            self._throttle.settle(attempt, works=False)
            entry.caller, entry.address = None, address()
            raise _Refused(_UNAUTHORIZED, ("www-authenticate", _REJECTED)) from None
        except Unavailable as unavailable:
            raise _Refused(unavailable_answer(unavailable)) from unavailable
        self._throttle.settle(attempt, works=True)
        if entry.messages > 1:
            self._throttle.charge(attempt, entry.messages - 1)
        return answer

    async def _answer(
        self, client: _Client, headers: Mapping[bytes, Sequence[str]], caller: Caller, entry: Entry
    ) -> Answer:
        if not _is_json(tuple(headers.get(b"content-type", ()))):
            raise _refusal(415, "Unsupported media type: send application/json.")
        if not _accepts_json(tuple(headers.get(b"accept", ()))):
            raise _refusal(406, "Not acceptable: answers are application/json.")
        body = await self._body(client)
        entry.bytes_in = len(body)
        routing = RoutingHeaders(
            version=headers.get(b"mcp-protocol-version", ()),
            method=headers.get(b"mcp-method", ()),
            name=headers.get(b"mcp-name", ()),
        )
        # A legacy client that goes away has not cancelled its call, a modern one has. Who sends no modern version in
        # the header is answered as legacy, or refused at once.
        is_modern = MODERN_VERSION in routing.version
        if is_modern and client.gone:
            raise _ClientGone
        with client.cancelling() if is_modern else nullcontext():
            return await self._server.answer(body, routing, caller, entry)

    def _headers(self) -> dict[bytes, list[str]]:
        headers: dict[bytes, list[str]] = {}
        size = 0
        for name, value in request.scope["headers"]:
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

    def _admit(self, headers: Mapping[bytes, Sequence[str]], entry: Entry) -> tuple[str, Attempt, Callable[[], str]]:
        """Return the key that may be looked up, and the address that it comes from.

        What cannot be a key is refused without a look-up, with the answer to any wrong key.
        """

        def address() -> str:
            forwarded_for = headers.get(b"x-forwarded-for", ())
            return client_address(request.scope["client"], forwarded_for, trusted_proxies=self._trusted_proxies)

        authorization = headers.get(b"authorization", ())
        key = _bearer(authorization)
        if not key or not self._is_well_formed(key):
            entry.address = address()
            raise _Refused(_UNAUTHORIZED, ("www-authenticate", _REJECTED if authorization else _CHALLENGE))
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

    async def _body(self, client: _Client) -> bytes:
        try:
            # Who is gone may have sent all of it before.
            with client.cancelling():
                async with asyncio.timeout(0 if client.gone else self._body_timeout_seconds):
                    return bytes(await request.body)
        except RequestEntityTooLarge:
            raise _refusal(413, f"The body is too large: at most {self._max_body_bytes:,} bytes.") from None
        except TimeoutError:
            if client.gone:
                raise _ClientGone from None
            raise _refusal(408, "The body did not arrive in time.") from None


def install_error_answers(app: Quart, page: Callable[[HTTPException], Response] | None = None) -> None:
    """Answer what no route takes in JSON, and tell clients that look for OAuth what there is instead.

    Where there are pages, who asks for HTML gets *page*.
    """

    @app.errorhandler(404)
    @app.errorhandler(405)
    async def nowhere(error: HTTPException) -> Response:
        path = request.path
        if path == _REGISTRATION_PATH and request.method == "POST":
            # After a 404 some clients try an older transport, and show its failure instead of this.
            return Response(_NO_REGISTRATION, 403, headers=dict(_JSON))
        if page is not None and _asks_for_html():
            return page(error)
        oauth = ".well-known" in path or path in _OAUTH_PATHS
        answer = Response(_NO_OAUTH if oauth else _NOT_FOUND, error.code, headers=dict(_JSON))
        if isinstance(error, MethodNotAllowed):
            answer.headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
        return answer


def _asks_for_html() -> bool:
    return any(name == "text/html" and quality > 0 for name, quality in request.accept_mimetypes)


def _bearer(authorization: Sequence[str]) -> str | None:
    # With two headers, whatever stands before us may have checked the other one.
    if len(authorization) != 1:
        return None
    scheme, _, key = authorization[0].strip().partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _is_short() -> bool:
    length = request.content_length
    return length is not None and length <= _SHORT_BODY


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


def _response(answer: Answer, *headers: Header) -> Response:
    response = _Answer(answer.body or b"", answer.status)
    if answer is _ALLOWED:
        del response.headers["content-length"]
    for name, value in (*(_ALWAYS if answer.body is None else _JSON), *headers):
        response.headers[name] = value
    if answer.retry_after is not None:
        response.headers["retry-after"] = str(answer.retry_after)
    return response
