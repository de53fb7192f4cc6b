"""A raw HTTP client, since what a well-behaved one cannot send is what these tests are about, and apps to send to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from quart import Quart

from service.calls import CallResult, InvalidParams
from service.http_servers import Limits, serve_http
from service.mcp.dispatch import ServerInfo
from service.mcp.http import Endpoint, install_error_answers
from service.plain_http import PlainHttp
from tests.conftest import serving

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Wire:
    """Sends exactly what it is told to an endpoint, with a key that works unless told otherwise."""

    host: str
    port: int
    key: str

    def send(
        self,
        body: Any = b"",
        *,
        headers: Mapping[str, str | list[str] | None] | None = None,
        method: str = "POST",
        path: str = "/mcp",
        chunked: bool = False,
    ) -> Reply:
        """Return the reply to *body*, JSON unless it is bytes. A header None is left out, a list is sent repeatedly."""
        with self.opened(body, headers=headers, method=method, path=path, chunked=chunked) as connection:
            return self.reply(connection, method=method)

    @contextmanager
    def opened(self, body: Any = b"", *, headers=None, method="POST", path="/mcp", chunked=False):
        """A connection over which the request has been sent."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(data))}
        sent = {
            "Host": f"{self.host}:{self.port}",
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **length,
            **(headers or {}),
        }
        lines = [f"{method} {path} HTTP/1.1"]
        for name, value in sent.items():
            values = [] if value is None else [value] if isinstance(value, str) else value
            lines += [f"{name}: {one}" for one in values]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if chunked:
            half = len(data) // 2
            data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:half], data[half:]) if part)
            data += b"0\r\n\r\n"
        with socket.create_connection((self.host, self.port), timeout=_PATIENCE_SECONDS) as connection:
            # Who is refused may find the connection closed before all is sent.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(head + data)
            yield connection

    def reply(self, connection: socket.socket, *, method: str = "POST") -> Reply:
        """Return the reply that is read from *connection*."""
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            return Reply(response.status, response.headers, response.read())
        finally:
            response.close()


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn"])
def server(request):
    """What serves HTTP."""
    return request.param


@pytest.fixture(scope="module")
def wire(world, endpoint, server):
    """The service itself, by either server."""
    with serving(world.service_url, server=server) as (host, port):
        yield Wire(host, port, endpoint.key)


class Application:
    """The smallest application; a test overrides what is to go wrong."""

    key = "to_live_made_up"

    def __init__(self) -> None:
        self.listing = [{"name": "get_projects", "inputSchema": {"type": "object"}}]

    async def authenticate(self, key: str) -> str | None:
        return "caller" if key == self.key else None

    def recall(self, _key: str) -> str | None:
        return None

    async def confirm(self, caller: str) -> None:
        pass

    async def call(self, caller: str, name: str, arguments: dict[str, Any]) -> CallResult:
        if name != "get_projects" or arguments or caller != "caller":
            raise InvalidParams(f"Unknown tool: {name}")
        return CallResult(structured={"items": [], "total": 0})


@contextmanager
def _serve(application, *, server, body_timeout=30, grace=5, allowed_origins=frozenset(), allowed_hosts=frozenset()):
    app = Quart("toy", static_folder=None)
    install_error_answers(app)
    endpoint = Endpoint(
        application,
        info=ServerInfo(name="toy", title="Toy", version="1"),
        instructions="None.",
        allowed_origins=allowed_origins,
        allowed_hosts=allowed_hosts,
        max_body_bytes=10_000,
        body_timeout_seconds=body_timeout,
    )
    endpoint.install(app)
    app.asgi_app = PlainHttp(app.asgi_app)
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    limits = Limits(keep_alive_seconds=0.5, max_header_bytes=64 * 1024, shutdown_seconds=grace)
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    @app.before_serving
    async def tell() -> None:
        ready.set()

    async def until_stopped() -> None:
        await stop.wait()

    serving = serve_http(server, app, listening, limits, until=until_stopped)
    thread = threading.Thread(target=loop.run_until_complete, args=[serving])
    thread.start()
    try:
        assert ready.wait(_PATIENCE_SECONDS)
        yield Wire(host, port, application.key)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_PATIENCE_SECONDS)
        loop.close()


@pytest.fixture(scope="module")
def serve_toy(server):
    """Serve an application of the test's own, by either server: a context manager of the Wire to it."""
    return partial(_serve, server=server)


@pytest.fixture(scope="session")
def toy():
    """The class of applications to derive from."""
    return Application
