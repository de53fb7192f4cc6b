"""HTTP before Hypercorn: the usual request is read and answered here, any other is lent to Hypercorn, which serves it.

To read a request with Hypercorn takes a quarter of the CPU time of a whole call: it parses in Python, and goes through
streams, several tasks and events. Nearly all requests are a small, plain `POST` of one path, for which a parser in C
and one task are enough. What is not exactly that is lent to Hypercorn byte for byte, with its connection: pages, other
versions of HTTP, what is malformed, chunked, large or slow. When Hypercorn has answered and nothing more has come, the
connection is taken back, so that calls are not slower for the pages that a proxy sends over the same connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.utils import parse_socket_addr, wrap_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import SupportsIndex

    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import ASGIFramework, ASGIReceiveEvent, ASGISendEvent, HTTPScope, LifespanState

#: A larger body is Hypercorn's, which hands it on in parts.
MAX_BODY_BYTES = 64 * 1024
#: A request whose body is not there after so long is Hypercorn's: the application may then wait for it, or refuse.
BODY_SECONDS = 1
#: So much may be kept of what a client sends while its request runs; then nothing more is read.
_MAX_KEPT_BYTES = 64 * 1024
# What h11 takes for the end of a head.
_BLANK_LINE = re.compile(rb"\n\r?\n")
_DECIDING = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"expect", b"upgrade"})
_MAX_LENGTH_DIGITS = len(str(MAX_BODY_BYTES))
_CLOSE = b"connection: close\r\n"
_FAILED = {"status": 500, "headers": ((b"content-length", b"0"), (b"connection", b"close"))}


async def serve_http(
    app: ASGIFramework,
    config: Config,
    listening: socket.socket,
    *,
    fast: ASGIFramework,
    path: str,
    shutdown_trigger: Callable[[], Awaitable[object]],
) -> None:
    """Serve *app* as `hypercorn.asyncio.serve` does, on *listening*, which is closed when *shutdown_trigger* returns.

    The usual `POST` of *path* goes to *fast*, which answers it as *app* would, and tells the length of what it answers.
    Of *config*, what concerns sockets, TLS, QUIC and the access log is left aside, and read_timeout, max_requests and
    server_names are not to be set.
    """
    loop = asyncio.get_running_loop()
    state: LifespanState = {}
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, loop, state)
    # Each connection inherits it; asyncio's loop sets it for connections that it opens itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listening:
        lives = loop.create_task(lifespan.handle_lifespan())
        await lifespan.wait_for_startup()
        if lives.done() and (error := lives.exception()) is not None:
            raise error
        front = _Front(wrapped, config, state, fast, path)
        server = await loop.create_server(partial(_Connection, front), sock=listening, backlog=config.backlog)
        try:
            await shutdown_trigger()
        finally:
            server.close()
            await front.stop()
            await lifespan.wait_for_shutdown()
            lives.cancel()
            with suppress(asyncio.CancelledError):
                await lives


class _Front:
    """What the connections of a server share."""

    def __init__(self, app: Any, config: Config, state: LifespanState, fast: ASGIFramework, path: str) -> None:
        self.app = app
        self.config = config
        self.state = state
        self.fast = fast
        self.loop = asyncio.get_running_loop()
        self.context = WorkerContext(None)
        self.stopping = False
        self.request_line = b"POST %b HTTP/1.1\r\n" % path.encode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("ascii"),
            "query_string": b"",
            "root_path": config.root_path,
        }
        self.connections: set[_Connection] = set()
        self.exchanges: set[_Exchange] = set()
        self.loans: set[asyncio.Task[None]] = set()
        self._lines = b""
        self._lines_second = 0

    def lines(self) -> bytes:
        """Return the headers that Hypercorn adds to every answer."""
        second = int(time.time())
        if second != self._lines_second:
            self._lines_second = second
            self._lines = b"".join(b"%b: %b\r\n" % header for header in self.config.response_headers("h11"))
        return self._lines

    async def stop(self) -> None:
        """Close what is idle, let what runs end in the time that there is for it, and then end it."""
        self.stopping = True
        await self.context.terminated.set()
        for connection in tuple(self.connections):
            connection.stop()
        working = {*(exchange.task for exchange in self.exchanges), *self.loans}
        # An answer is out when its connection has been closed.
        closing = {self.loop.create_task(connection.closed.wait()) for connection in self.connections}
        if waiting := working | closing:
            _, late = await asyncio.wait(waiting, timeout=self.config.graceful_timeout)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
            for connection in tuple(self.connections):
                connection.abort()


class _Head:
    """What the parser finds in the head of a request."""

    __slots__ = ("headers", "hosts", "length", "usual")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.hosts = 0
        self.length = -1
        self.usual = True

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in _DECIDING:
            self._decide(name, value)

    def _decide(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.hosts += 1
        elif name == b"content-length" and self.length < 0 and value.isdigit() and len(value) <= _MAX_LENGTH_DIGITS:
            self.length = int(value)
        elif name != b"connection" or value.lower() != b"keep-alive":
            self.usual = False


def _read(head: bytes) -> _Head | None:
    """Return what *head* says, or None where it is not that of a usual request."""
    found = _Head()
    try:
        # It is fed nothing else, so it never runs into a body.
        HttpRequestParser(found).feed_data(head)
    except (HttpParserError, HttpParserUpgrade):
        return None
    # Parsers differ in what they take for a line, and not all versions of this one are strict.
    lines = len(found.headers) + 2
    plain = head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") == lines
    return found if plain and found.usual and found.hosts == 1 and 0 <= found.length <= MAX_BODY_BYTES else None


class _Connection(asyncio.Protocol):
    """A connection: its request is collected, then runs here, or all is lent to Hypercorn; the next one waits."""

    def __init__(self, front: _Front) -> None:
        self._front = front
        self._transport: asyncio.Transport
        self._scope: dict[str, Any]
        #: What has come and belongs to no request yet.
        self._kept: bytes | bytearray = b""
        self._searched = 0
        self._head: _Head | None = None
        self._head_size = 0
        self._began: float | None = None
        self._exchange: _Exchange | None = None
        self._loan: _Loan | None = None
        self._eof = False
        self._paused = False
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()
        #: How many requests have come over it.
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        front = self._front
        self._transport = cast("asyncio.Transport", transport)
        front.connections.add(self)
        if front.stopping:
            self._transport.close()
            return
        family = transport.get_extra_info("socket").family
        client, server = (
            address and parse_socket_addr(family, address)
            for address in (transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
        )
        self._scope = {**front.scope, "client": client, "server": server}
        self._idle_since = front.loop.time()
        self._idle_timer = front.loop.call_later(front.config.keep_alive_timeout, self._look_whether_idle)

    def data_received(self, data: bytes) -> None:
        if self._loan is not None:
            self._loan.feed(data)
            return
        if not self._kept:
            self._kept = data
        elif isinstance(self._kept, bytearray):
            self._kept += data
        else:
            self._kept = bytearray(self._kept) + data
        if self._exchange is None and self._writable.is_set():
            self._advance()
        elif len(self._kept) > _MAX_KEPT_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        if self._loan is not None:
            self._loan.feed_eof()
        elif self._exchange is not None:
            # Who sent more is there until that has been answered.
            if not self._kept:
                self._exchange.end()
        elif not self._kept:
            return False
        elif self._writable.is_set():
            self._lend()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.connections.discard(self)
        for timer in (self._idle_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._kept = b""
        self.closed.set()
        self._writable.set()
        if self._loan is not None:
            self._loan.lost(exc)
        if self._exchange is not None:
            self._exchange.end()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        if self._exchange is None and self._loan is None:
            self._go_on()

    async def drain(self) -> None:
        """Return as soon as there is room for more to be written."""
        await self._writable.wait()

    def write(self, data: bytes) -> None:
        """Write, unless the client is gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def answered(self, *, keep: bool) -> None:
        """Take the next request, or close the connection."""
        self._exchange = None
        self._idle_since = self._front.loop.time()
        if not keep or self._front.stopping:
            self._transport.close()
        elif self._kept or self._eof:
            self._go_on()

    def stop(self) -> None:
        """Close the connection unless a request is under way, which is then the last one."""
        if self._head is not None:
            self._lend()
        elif self._exchange is None and self._loan is None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection, whatever has not been sent."""
        self._transport.abort()

    def taken_back(self, requests: int) -> None:
        """Go on after a loan within which so many *requests* had come over the connection."""
        self._loan = None
        self.requests = requests
        self._idle_since = self._front.loop.time()
        if self._eof:
            self._transport.close()

    def _go_on(self) -> None:
        if not self._writable.is_set() or self._transport.is_closing():
            return
        if self._kept:
            self._advance()
        elif self._eof:
            self._transport.close()

    def _advance(self) -> None:
        """Begin the request that has come, wait for the rest of it, or lend it."""
        if self._head is None and not self._read_head():
            return
        head, begins = cast("_Head", self._head), self._head_size
        ends = begins + head.length
        if len(self._kept) < ends:
            self._wait_for_body()
            return
        body = bytes(self._kept[begins:ends])
        self._kept = self._kept[ends:]
        self._forget_head()
        if len(self._kept) <= _MAX_KEPT_BYTES:
            self._read_on()
        self.requests += 1
        scope = self._scope.copy()
        scope["headers"] = head.headers
        scope["state"] = self._front.state.copy()
        scope["extensions"] = {}
        self._exchange = _Exchange(self._front, self, scope, body)

    def _read_head(self) -> bool:
        """Return whether there is the head of a usual request; lend what cannot become one."""
        kept, line = self._kept, self._front.request_line
        if not kept.startswith(line[: len(kept)]):
            self._lend()
            return False
        ends = _BLANK_LINE.search(kept, self._searched)
        limit = self._front.config.h11_max_incomplete_size
        if ends is None:
            self._searched = max(0, len(kept) - 2)
            if len(kept) > limit or self._eof:
                self._lend()
            else:
                self._wait()
            return False
        size = ends.end()
        self._head = _read(bytes(kept[:size])) if size <= limit else None
        self._head_size = size
        if self._head is None:
            self._lend()
        return self._head is not None

    def _forget_head(self) -> None:
        self._head = self._began = None
        self._searched = 0

    def _wait(self) -> None:
        self._read_on()
        if self._began is None:
            self._began = self._front.loop.time()

    def _wait_for_body(self) -> None:
        self._wait()
        if self._eof or self._body_is_late():
            self._lend()
        elif self._body_timer is None:
            # Not cancelled, since bodies in a part of their own are usual: it sees what is waited for by then.
            self._body_timer = self._front.loop.call_at(cast("float", self._began) + BODY_SECONDS, self._look_for_body)

    def _body_is_late(self) -> bool:
        return self._front.loop.time() >= cast("float", self._began) + BODY_SECONDS

    def _look_for_body(self) -> None:
        self._body_timer = None
        if self._head is not None:
            self._wait_for_body()

    def _look_whether_idle(self) -> None:
        """Close a connection over which no request has begun in the time for it. One timer does for all of them."""
        loop, timeout = self._front.loop, self._front.config.keep_alive_timeout
        busy = self._loan or self._exchange or self._head or not self._writable.is_set()
        due = loop.time() + timeout if busy else self._idle_since + timeout
        if due <= loop.time():
            self._transport.close()
        else:
            self._idle_timer = loop.call_at(due, self._look_whether_idle)

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _lend(self) -> None:
        """Let Hypercorn have what has come, and the connection."""
        self._read_on()
        self._forget_head()
        kept, self._kept = bytes(self._kept), b""
        self._loan = _Loan(self._front, self, self._transport)
        self._loan.feed(kept)
        if self._eof:
            self._loan.feed_eof()
        self._loan.begin()


class _Exchange:
    """A request that is answered here, in a task of its own, which goes on when the client is gone."""

    def __init__(self, front: _Front, connection: _Connection, scope: dict[str, Any], body: bytes) -> None:
        self._front = front
        self._connection = connection
        self._body: bytes | None = body
        self._start: Any = None
        #: What is still to be sent of the length that was told.
        self._left: int | None = None
        self._keep = True
        self._sends = self._answered = self._over = False
        self._ends: asyncio.Event | None = None
        front.exchanges.add(self)
        self.task = front.loop.create_task(self._run(cast("HTTPScope", scope)))

    def end(self) -> None:
        """Tell the application that nobody is there any more, or that all has been said."""
        self._over = True
        if self._ends is not None:
            self._ends.set()

    async def _run(self, scope: HTTPScope) -> None:
        try:
            await self._front.fast(scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 - the edge: logged as Hypercorn does
            await self._front.config.log.exception("Error in ASGI Framework")
        finally:
            self._front.exchanges.discard(self)
            if not self._answered:
                if not self._sends:
                    self._start = _FAILED
                    self._connection.write(self._render_head())
                self._connection.answered(keep=False)

    async def _receive(self) -> ASGIReceiveEvent:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self._over:
            if self._ends is None:
                self._ends = asyncio.Event()
            await self._ends.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None and not self._answered:
            more = message.get("more_body", False)
            self._send_body(message.get("body", b""), more=more)
            if more:
                await self._connection.drain()
        else:
            raise RuntimeError(f"Unexpected message: {message['type']}")

    def _send_body(self, body: bytes, *, more: bool) -> None:
        head = b"" if self._sends else self._render_head()
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("The body is longer than its content-length.")
        self._sends = True
        self._connection.write(head + body)
        if not more:
            self._answered = True
            self.end()
            self._connection.answered(keep=self._keep and self._left == 0)

    def _render_head(self) -> bytes:
        """Return the head of the answer, and note what it says of length and connection."""
        lines = [_status_line(self._start["status"])]
        closes = False
        for name, value in self._start.get("headers", ()):
            lines.append(b"%b: %b\r\n" % (name, value))
            lowered = name.lower()
            if lowered == b"content-length":
                self._left = int(value)
            elif lowered == b"connection":
                closes = value.lower() == b"close"
        front = self._front
        last = self._connection.requests >= front.config.keep_alive_max_requests or front.stopping
        self._keep = not (closes or last or self._left is None)
        if not self._keep and not closes:
            lines.append(_CLOSE)
        head = b"".join(lines)
        # A header that is more than a line would be another one, or another answer.
        if not head.count(b"\r") == head.count(b"\n") == len(lines):
            raise RuntimeError("A header may not hold line breaks.")
        return b"%b%b\r\n" % (head, front.lines())


class _Loan(TCPServer):
    """A connection in the hands of Hypercorn."""

    def __init__(self, front: _Front, connection: _Connection, transport: asyncio.Transport) -> None:
        self._front = front
        self._connection = connection
        self._requests_before = connection.requests
        self._lent_reader = _LentReader(front.loop, transport)
        self._lent_writer = _LentWriter(connection, transport)
        reader, writer = self._lent_reader, cast("asyncio.StreamWriter", self._lent_writer)
        super().__init__(front.app, front.loop, front.config, front.context, front.state, reader, writer)

    def begin(self) -> None:
        """Let Hypercorn serve what it is fed."""
        task = self._front.loop.create_task(self.run())
        self._front.loans.add(task)
        task.add_done_callback(self._ended)

    def feed(self, data: bytes) -> None:
        """Hand on what has come."""
        self._lent_reader.feed_data(data)

    def feed_eof(self) -> None:
        """Tell that nothing more comes."""
        self._lent_reader.feed_eof()

    def lost(self, error: Exception | None) -> None:
        """Tell that the connection is no more."""
        if error is None:
            self._lent_reader.feed_eof()
        else:
            self._lent_reader.set_exception(error)

    async def protocol_send(self, event: Event) -> None:
        """Do what Hypercorn's protocol asks for; once it waits for a request of which nothing has come, end."""
        # It says so when an answer is out, never at the beginning.
        if isinstance(event, Updated) and event.idle and self._nothing_has_come():
            self._lent_writer.give_back()
            self._lent_reader.feed_eof()
            self._connection.taken_back(cast("H11Protocol", self.protocol.protocol).keep_alive_requests)
        else:
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        cast("H11Protocol", self.protocol.protocol).keep_alive_requests = self._requests_before
        await super()._read_data()

    def _nothing_has_come(self) -> bool:
        protocol = self.protocol.protocol
        if not isinstance(protocol, H11Protocol):
            return False
        unparsed, _ = protocol.connection.trailing_data
        return not unparsed and not self._lent_reader.unread

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._front.loans.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._front.loop.call_exception_handler({"message": "Hypercorn failed", "exception": error, "task": task})


class _LentReader(asyncio.StreamReader):
    """Tells how much of what has come is unread, and of the end only who has read that.

    Hypercorn would overlook an end that comes with the data before it, and not refuse half a body.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        super().__init__(loop=loop)
        self.set_transport(transport)
        self.unread = 0
        self._end_is_read = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.unread += len(cast("bytes", data))
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.unread -= len(data)
        self._end_is_read = not data
        return data

    def at_eof(self) -> bool:
        return self._end_is_read


class _LentWriter:
    """What Hypercorn needs of a StreamWriter, until the connection is given back: then it can do nothing more."""

    def __init__(self, connection: _Connection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport: asyncio.Transport | None = transport

    def give_back(self) -> None:
        self._transport = None

    def get_extra_info(self, name: str) -> Any:
        return None if self._transport is None else self._transport.get_extra_info(name)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        await self._connection.drain()
        if self._connection.closed.is_set():
            raise ConnectionResetError("The client is gone.")

    def write_eof(self) -> None:
        if self._transport is not None:
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def wait_closed(self) -> None:
        if self._transport is not None:
            await self._connection.closed.wait()


@lru_cache
def _status_line(status: int) -> bytes:
    # Without a reason, as Hypercorn has it.
    return b"HTTP/1.1 %d \r\n" % status
