"""What stands before the application on any server of ASGI: plain HTTP/1 comes in, and who is refused is told so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, HTTPScope, Scope

_VERSIONS = frozenset({"1.0", "1.1"})
_TARGETS = ("/", "http://", "https://")
_BOTH_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
_LINGER_SECONDS = 1
_REFUSAL = orjson.dumps({"error": "bad_request", "error_description": "Only plain HTTP/1.1 is spoken here."})
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_REFUSAL)),
    (b"connection", b"close"),
)


class ASGIApplication(Protocol):
    """What serves the requests; it takes all that comes of one, as Quart does, be it of use or not."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        ...


class PlainHttp:
    """Lets *application* have requests of HTTP/1 for a path and of one length; there are no WebSockets.

    A connection over which an answer goes out before the whole request has come is of no more use, and says so. It is
    closed a little later, since a client that is still sending into a closed connection may never see the answer.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "http" and _is_plain(scope):
            await self._serve(scope, receive, send)
        else:
            await _refuse("websocket.http" if scope["type"] == "websocket" else "http", receive, send)

    async def _serve(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: Any) -> None:
        whole = asyncio.Event()

        async def take() -> ASGIReceiveEvent:
            event = await receive()
            if event["type"] != "http.request" or not event.get("more_body", False):
                whole.set()
            return event

        async def answer(event: Any) -> None:
            if not whole.is_set():
                if event["type"] == "http.response.start":
                    event["headers"] = [*event["headers"], (b"connection", b"close")]
                elif not event.get("more_body", False):
                    await send({**event, "more_body": True})
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LINGER_SECONDS):
                            await whole.wait()
                    event["body"] = b""
            await send(event)

        await self._application(scope, take, answer)


def _is_plain(scope: HTTPScope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["http_version"] in _VERSIONS and scope["path"].startswith(_TARGETS) and not names >= _BOTH_LENGTHS


async def _refuse(kind: str, receive: ASGIReceiveCallable, send: Any) -> None:
    await receive()
    await send({"type": f"{kind}.response.start", "status": 400, "headers": _HEADERS})
    await send({"type": f"{kind}.response.body", "body": _REFUSAL, "more_body": False})
