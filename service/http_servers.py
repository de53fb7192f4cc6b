"""The servers of HTTP that the application runs on: Hypercorn, or uvicorn where that is installed.

Both speak HTTP/1.1 in clear text alone, and what proxies and servers may read in different ways is refused with 400.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import h11
import hypercorn.asyncio
import hypercorn.protocol
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol

from service.errors import SettingsError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator

    from hypercorn.typing import ASGIFramework

#: What a server may be called.
Name = Literal["hypercorn", "uvicorn"]

#: So many connections may wait to be accepted.
BACKLOG = 1024
#: What is left when all requests are done may take so long.
CLOSE_SECONDS = 10
_VERSIONS = (b"1.0", b"1.1")
# What h11 takes for the end of a head.
_END_OF_HEAD = re.compile(rb"\n\r?\n")
#: A line that ends without a carriage return, or goes on in the next one.
_AMBIGUOUS = re.compile(rb"\n(?:(?<!\r\n)|[ \t])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a connection may take; uvicorn has no bound for the size of headers."""

    keep_alive_seconds: float
    max_header_bytes: int
    shutdown_seconds: int


def require(server: Name) -> None:
    """Raise SettingsError unless *server* is installed."""
    if server == "uvicorn" and not (find_spec("uvicorn") and find_spec("httptools")):
        raise SettingsError("uvicorn is not installed. Run: pip install 'testorchestrator[uvicorn]'")


async def serve_http(
    server: Name,
    app: ASGIFramework,
    listening: socket.socket,
    limits: Limits,
    *,
    until: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Serve *app* by *server* on *listening* until *until* returns, finish what runs, and close it."""
    await _SERVERS[server](app, listening, limits, until)


async def _serve_by_hypercorn(
    app: ASGIFramework,
    listening: socket.socket,
    limits: Limits,
    until: Callable[[], Coroutine[None, None, None]],
) -> None:
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = BACKLOG
    config.keep_alive_timeout = limits.keep_alive_seconds
    config.h11_max_incomplete_size = limits.max_header_bytes
    config.graceful_timeout = limits.shutdown_seconds
    config.shutdown_timeout = CLOSE_SECONDS
    config.include_server_header = False
    config.errorlog = None
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=until)


async def _serve_by_uvicorn(
    app: ASGIFramework,
    listening: socket.socket,
    limits: Limits,
    until: Callable[[], Coroutine[None, None, None]],
) -> None:
    import uvicorn  # noqa: PLC0415 - it need not be installed

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave signals to who waits for them."""
            yield

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(limits.keep_alive_seconds),
        timeout_graceful_shutdown=limits.shutdown_seconds,
        # Whom a client was passed on by the application reads itself.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        # What it tells of requests that it cannot read is no event of the log, and as many as anybody likes.
        log_level="critical",
    )
    server = Server(config)

    async def stop() -> None:
        await until()
        server.should_exit = True

    stopping = asyncio.ensure_future(stop())
    try:
        await server.serve(sockets=[listening])
    finally:
        stopping.cancel()


_SERVERS = {"hypercorn": _serve_by_hypercorn, "uvicorn": _serve_by_uvicorn}


class _Connection(h11.Connection):
    """Refuses other versions of HTTP, and what h11 reads although others may read it differently."""

    def next_event(self) -> Any:
        """Return the next event; raise RemoteProtocolError for what is refused."""
        if self.their_state is h11.IDLE:
            come, _ = self.trailing_data
            end = _END_OF_HEAD.search(come)
            if _AMBIGUOUS.search(come, 0, end.end() if end else len(come)):
                raise h11.RemoteProtocolError("lines are not as they should be", error_status_hint=400)
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event


def _checked(request: h11.Request) -> h11.Request:
    if request.http_version not in _VERSIONS:
        raise h11.RemoteProtocolError("no HTTP/1", error_status_hint=400)
    # Whoever offers another protocol is served by this one all the same. Hypercorn would take up WebSockets too, and
    # keep the connection of a broken handshake for ever.
    headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
    if len(headers) == len(request.headers):
        return request
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


class _Protocol(H11Protocol):
    """Hypercorn's, over such a connection."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)


# Hypercorn goes over to HTTP/2 in clear text whenever a client asks for that, and has no setting against it. This is
# the one name by which it makes the protocol of a connection.
hypercorn.protocol.H11Protocol = _Protocol  # type: ignore[assignment, attr-defined]
