"""Serving the application on one listening socket, until a signal or the caller ends it."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from typing import TYPE_CHECKING

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from service.app import create_app
from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.guard import require_isolation
from tenancy.release import require_control

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.settings import Settings

_BACKLOG = 1024
_CLOSE_SECONDS = 10
#: Linux alone has it.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that nobody else takes the port while the database starts. 0: any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise TenancyError(f"Port {port} is in use: stop what uses it, or choose another with --port.") from error
        raise TenancyError(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
    return listening


async def until_signal() -> None:
    """Return at SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def serve(
    settings: Settings,
    listening: socket.socket,
    *,
    until: Callable[[], Coroutine[None, None, None]] = until_signal,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on *listening* until *until* returns, finish what runs, stop; raise TenancyError if it cannot start."""
    await _require_isolation(settings)
    app = create_app(settings)

    @app.before_serving
    async def tell() -> None:
        on_ready()

    if _USER_TIMEOUT is not None:
        # Each connection inherits it. Nothing above the kernel gives up a client that does not read its answers.
        listening.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, round(settings.body_timeout_seconds * 1000))
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = _BACKLOG
    config.keep_alive_timeout = settings.keep_alive_seconds
    config.h11_max_incomplete_size = config.h2_max_header_list_size = settings.max_header_bytes
    config.graceful_timeout = settings.shutdown_seconds
    config.shutdown_timeout = _CLOSE_SECONDS
    config.include_server_header = False
    config.errorlog = None
    # From here on, so that a signal during the start stops as cleanly as one later.
    stopping = asyncio.ensure_future(until())
    await asyncio.sleep(0)

    async def stopped() -> None:
        await stopping

    try:
        await hypercorn_serve(app, config, shutdown_trigger=stopped)
    finally:
        stopping.cancel()


async def _require_isolation(settings: Settings) -> None:
    connection = await connect(settings.service_database_url.get_secret_value(), name="SERVICE_DATABASE_URL")
    try:
        await require_isolation(connection)
        await require_control(connection)
    finally:
        await connection.close()
