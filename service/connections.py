"""The connections of a process: no more than it has room for, and which of their clients are still there.

No server of HTTP tells either. So this stands at both of its ends: between it and asyncio, which asks a server for a
protocol for each connection, and between it and the application. Where there is no room for one more connection, the
one goes that has been idle for the longest. A request is told that its client has gone even while the server does not
read, as it does not with the next requests before it.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import OrderedDict
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope

_LOG = structlog.get_logger()
#: However many descriptors there are: each connection takes 35 kB.
_MOST = 10_000
#: Of the descriptors: the rest is for connections that come at once, before others can be closed.
_SHARE = 0.75
_TELL_SECONDS = 60
#: There is no standard status, since nobody sees it.
_GONE = 499
#: What else came over the connection goes with it.
_LAST = ((b"connection", b"close"), (b"content-length", b"0"))

_CURRENT: ContextVar[_Connection] = ContextVar("connection")


def raise_descriptors() -> int:
    """Let this process, and those that it starts, have as many descriptors open as it may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has a lower one that it does not tell.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _descriptors()


def room(*, spare: int) -> int:
    """Return how many connections the process has room for beside *spare* other descriptors."""
    return max(1, min(_MOST, int((_descriptors() - spare) * _SHARE)))


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


class Connections:
    """At most *most* at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: set[_Connection] = set()
        # The first has been idle for the longest.
        self._idle: OrderedDict[_Connection, None] = OrderedDict()
        self._told_at = -float(_TELL_SECONDS)

    @contextmanager
    def watching(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Count the connections of every server that *loop* makes inside."""
        create_server = loop.create_server

        def watched(factory: Callable[[], asyncio.Protocol], *arguments: Any, **options: Any) -> Any:
            return create_server(lambda: _Connection(self, factory()), *arguments, **options)

        loop.create_server = watched  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            loop.create_server = create_server  # type: ignore[method-assign]

    def serving(self, application: ASGIFramework, *, kept: str) -> ASGIFramework:
        """Return *application* for the servers. Who has gone is served no more, but for calls of the path *kept*."""

        async def serve(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            connection = _CURRENT.get(None)
            if connection is None or scope["type"] != "http":
                await application(scope, receive, send)
            elif connection.is_gone and scope["path"] != kept:
                await send({"type": "http.response.start", "status": _GONE, "headers": _LAST, "trailers": False})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                self._idle.pop(connection, None)
                try:
                    await application(scope, connection.telling(receive), send)
                finally:
                    if connection in self._open:
                        self._idle[connection] = None

        return serve

    def add(self, connection: _Connection) -> None:
        """Count a connection that has been made, and make room for it."""
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) > self.most:
            self._tell()
            # Of one that does not take its answer, nothing is known but that it is there.
            if (first := next((one for one in self._idle if not one.is_sending), None)) is not None:
                self.remove(first)
                first.close()

    def remove(self, connection: _Connection) -> None:
        """Count a connection no more."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            _LOG.warning("too_many_connections", most=self.most, closing="the one that is idle for the longest")


class _Connection(asyncio.Protocol):
    """Hands on to the server's own *protocol* what comes, and sees when the client goes."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self._connections = connections
        self._protocol = protocol
        # In it the server starts its tasks, by which a request knows its connection.
        self._context = copy_context()
        self._context.run(_CURRENT.set, self)
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[ASGIReceiveEvent] | None = None
        self.is_gone = False

    @property
    def is_sending(self) -> bool:
        """Whether the client has not taken yet all that was sent to it."""
        return self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def telling(self, receive: ASGIReceiveCallable) -> ASGIReceiveCallable:
        """Return *receive* of a request, which after the last of that tells as soon as the client has gone."""
        is_whole = False

        async def told() -> ASGIReceiveEvent:
            nonlocal is_whole
            if not is_whole:
                event = await receive()
                is_whole = event["type"] != "http.request" or not event["more_body"]
                return event
            if not self.is_gone:
                self._waiting = waiting = asyncio.ensure_future(receive())
                try:
                    return await waiting
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
            return {"type": "http.disconnect"}

        return told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._context.run(self._protocol.connection_made, transport)

    def data_received(self, data: bytes) -> None:
        self._context.run(self._protocol.data_received, data)

    def eof_received(self) -> bool | None:
        self._go()
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._go()
        self._connections.remove(self)
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _go(self) -> None:
        self.is_gone = True
        if self._waiting is not None:
            self._waiting.cancel()
