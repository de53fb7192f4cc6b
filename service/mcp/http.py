"""MCP over HTTP: what is settled before a body is read, and how answers travel."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Protocol, TypeVar

import orjson
from quart import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge, RequestTimeout

from service.calls import Unavailable
from service.mcp.dispatch import Answer, Host, Server, ServerInfo, error_body, unavailable_answer
from service.mcp.envelope import INVALID_REQUEST
from service.mcp.eras import MODERN_VERSION, RoutingHeaders

if TYPE_CHECKING:
    from quart import Quart

PATH = "/mcp"

_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_JSON = {**_ALWAYS, "Content-Type": "application/json"}
_CHALLENGE = 'Bearer realm="testorchestrator"'
_REJECTED = (
    f'{_CHALLENGE}, error="invalid_token", error_description="Missing, invalid, revoked or expired API key. '
    'Create one under Profile > API Keys."'
)
_NO_KEY = {**_JSON, "WWW-Authenticate": _CHALLENGE}
_WRONG_KEY = {**_JSON, "WWW-Authenticate": _REJECTED}
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


def mcp_blueprint(
    application: Application[Caller],
    *,
    info: ServerInfo,
    instructions: str,
    allowed_origins: frozenset[str],
    allowed_hosts: frozenset[str],
) -> Blueprint:
    """Return the endpoint over *application*. No *allowed_hosts* means that every Host header is answered."""
    blueprint = Blueprint("mcp", __name__)
    server = Server(application, info=info, instructions=instructions)
    running: set[asyncio.Task[Answer]] = set()
    hosts = frozenset(host.lower() for host in allowed_hosts)

    @blueprint.post(PATH, provide_automatic_options=False)
    async def post() -> Response:  # noqa: PLR0911 - one answer for each rung of the ladder
        headers = request.headers
        if not allowed_origins.issuperset(headers.getlist("Origin")):
            return _refusal(403, "Forbidden: this origin may not call.")
        if hosts and not _is_allowed(headers.get("Host", ""), hosts):
            return _refusal(403, "Forbidden: this host is not served here.")
        authorization = headers.getlist("Authorization")
        key = _bearer(authorization)
        try:
            caller = await application.authenticate(key) if key else None
        except Unavailable as unavailable:
            return _response(unavailable_answer(unavailable))
        if caller is None:
            return Response(_UNAUTHORIZED, 401, headers=_WRONG_KEY if authorization else _NO_KEY)
        if request.mimetype != "application/json":
            return _refusal(415, "Unsupported media type: send application/json.")
        if not _accepts_json(headers.getlist("Accept")):
            return _refusal(406, "Not acceptable: answers are application/json.")
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        routing = RoutingHeaders(
            version=headers.getlist("MCP-Protocol-Version"),
            method=headers.getlist("Mcp-Method"),
            name=headers.getlist("Mcp-Name"),
        )
        # A legacy client that goes away has not cancelled its call, a modern one has. Who sends no modern version in
        # the header is answered as legacy, or refused at once.
        if MODERN_VERSION in routing.version:
            return _response(await server.answer(body, routing, caller))
        task = asyncio.create_task(server.answer(body, routing, caller))
        running.add(task)
        task.add_done_callback(running.discard)
        return _response(await asyncio.shield(task))

    @blueprint.after_app_serving
    async def finish_abandoned_calls() -> None:
        await asyncio.gather(*running, return_exceptions=True)

    return blueprint


def install_error_answers(app: Quart) -> None:
    """Answer what no route takes, and what goes wrong before one does, in JSON and without a redirect."""
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False

    @app.errorhandler(HTTPException)
    async def answer(error: HTTPException) -> Response:
        if isinstance(error, MethodNotAllowed):
            return _empty(405, Allow=", ".join(sorted(error.valid_methods or ())))
        if isinstance(error, RequestEntityTooLarge):
            return _refusal(413, "The body is too large.")
        if isinstance(error, RequestTimeout):
            return _refusal(408, "The body did not arrive in time.")
        if error.code == 404:  # noqa: PLR2004 - as in RFC 9110
            oauth = ".well-known" in request.path or request.path in _OAUTH_PATHS
            return Response(_NO_OAUTH if oauth else _NOT_FOUND, 404, headers=_JSON)
        return _refusal(error.code or 500, error.name)


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


def _accepts_json(accept: list[str]) -> bool:
    ranges = [part.lower().replace(" ", "").partition(";") for line in accept for part in line.split(",")]
    return not any(name for name, _, _ in ranges) or any(
        name in _ACCEPTABLE and not _REFUSED.fullmatch(parameters) for name, _, parameters in ranges
    )


def _refusal(status: int, message: str) -> Response:
    return Response(error_body(INVALID_REQUEST, message), status, headers=_JSON)


def _response(answer: Answer) -> Response:
    if answer.body is None:
        return _empty(answer.status)
    response = Response(answer.body, answer.status, headers=_JSON)
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    return response


def _empty(status: int, **headers: str) -> Response:
    response = Response(b"", status, headers={**_ALWAYS, **headers})
    del response.headers["Content-Type"]
    return response
