"""Serving the application on one listening socket, until a signal or the caller ends it: one process."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import asyncpg
import structlog

from migrations.trees import Tree, head
from service import __version__
from service.app import create_app, most_connections
from service.connections import Connections, room
from service.http_servers import BACKLOG, Limits, serve_http
from service.mcp.http import PATH
from service.metrics import Metrics, serving_metrics
from tenancy.connection import is_pooled, require_statement_cache
from tenancy.errors import DatabaseUnavailable, TenancyError, first_line
from tenancy.guard import is_held, require_isolation
from tenancy.keys import PREFIX
from tenancy.pool import Pool
from tenancy.release import require_control, service_connection
from tenancy.session import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from service.settings import Settings

_LOG = structlog.get_logger()
_ASK_AGAIN_SECONDS = 1
#: Descriptors for logs, metrics, mail and the like.
_SPARE = 32
#: Linux alone has it.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def listen(host: str, port: int, *, beside: bool = False, setting: str = "--port") -> socket.socket:
    """Return a listening socket, so that nobody else takes the port while the database starts. 0: any free port.

    With *beside*, next to one that lets itself be shared: the kernel spreads connections over them. *setting* is where
    the port can be chosen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if beside:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise TenancyError(
                f"Port {port} is in use: stop what uses it, or choose another with {setting}."
            ) from error
        raise TenancyError(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
    return listening


@contextmanager
def listening_for_metrics(
    host: str, port: int, *, setting: str = "TESTORCHESTRATOR_METRICS_PORT"
) -> Iterator[socket.socket]:
    """Listen for who asks for metrics."""
    with listen(host, port, setting=setting) as listening:
        _LOG.info("metrics", host=host, port=listening.getsockname()[1])
        yield listening


async def until_signal(line: socket.socket | None = None) -> None:
    """Return at SIGINT or SIGTERM, or when *line* is at its end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if line is not None:
        loop.add_reader(line, stop.set)
    await stop.wait()
    if line is not None:
        loop.remove_reader(line)


async def serve(
    settings: Settings,
    listening: socket.socket,
    *,
    until: Callable[[], Coroutine[None, None, None]] = until_signal,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on *listening* until *until* returns, finish what runs, stop; raise TenancyError if it cannot start."""
    await check_database(settings)
    with ExitStack() as stack:
        telling = None
        if settings.metrics_port is not None:
            telling = stack.enter_context(listening_for_metrics(settings.metrics_host, settings.metrics_port))
        await serve_checked(settings, listening, telling, until=until, on_ready=on_ready)


async def serve_checked(
    settings: Settings,
    listening: socket.socket,
    telling: socket.socket | None,
    *,
    until: Callable[[], Coroutine[None, None, None]],
    on_ready: Callable[[], None],
) -> None:
    """Serve as `serve` does, on a database that was checked before, with metrics on *telling*."""
    with ExitStack() as stack:
        metrics = None
        if telling is not None:
            metrics = Metrics(version=__version__, schema_version=head(Tree.WORKSPACE))
            stack.enter_context(serving_metrics(metrics.registry, telling))
        await _serve(settings, listening, metrics, until=until, on_ready=on_ready)


async def _serve(
    settings: Settings,
    listening: socket.socket,
    metrics: Metrics | None,
    *,
    until: Callable[[], Coroutine[None, None, None]],
    on_ready: Callable[[], None],
) -> None:
    stops = asyncio.Event()
    app = create_app(settings, metrics=metrics, stopping=stops)

    @app.before_serving
    async def tell() -> None:
        on_ready()

    if _USER_TIMEOUT is not None:
        # Each connection inherits it. Nothing above the kernel gives up a client that does not read its answers.
        listening.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, round(settings.body_timeout_seconds * 1000))
    limits = Limits(
        keep_alive_seconds=settings.keep_alive_seconds,
        max_header_bytes=settings.max_header_bytes,
        shutdown_seconds=settings.shutdown_seconds,
    )
    # From here on, so that a signal during the start stops as cleanly as one later.
    stopping = asyncio.ensure_future(until())
    await asyncio.sleep(0)

    async def stopped() -> None:
        await stopping
        stops.set()
        await asyncio.sleep(settings.drain_seconds)

    # To cancel a query takes a connection more.
    connections = Connections(room(spare=2 * most_connections(settings) + _SPARE))
    try:
        with connections.watching(asyncio.get_running_loop()):
            await serve_http(settings.server, connections.serving(app, kept=PATH), listening, limits, until=stopped)
    finally:
        stopping.cancel()


async def wait_for_database(settings: Settings, seconds: float) -> None:
    """Return as soon as the database can be served; raise TenancyError when it cannot after so many *seconds*.

    What is waited for goes to the log, each time that it becomes something else.
    """
    until = time.monotonic() + seconds
    told = None
    while True:
        try:
            await _require_database(settings)
        except (TenancyError, asyncpg.PostgresError) as error:
            # Postgres's own errors: of a schema that is being migrated at this moment.
            if time.monotonic() >= until:
                raise TenancyError(f"Waited {seconds:g} s in vain. {first_line(error)}") from error
            if told != first_line(error):
                told = first_line(error)
                _LOG.info("waiting", reason=told)
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        else:
            return


async def check_database(settings: Settings) -> None:
    """Raise TenancyError unless the database can be served, and tell where it lets in too few connections."""
    await _require_database(settings)
    async with service_connection(settings.service_database_url.get_secret_value()) as connection:
        if await is_held(connection):
            _LOG.warning(
                "migration_held",
                mend="run testorchestrator migrate again when no process of the release before is left: until then the "
                "service's login may do what that release needs",
            )
        # A pooler is there to have more of them than the server.
        if await is_pooled(connection):
            return
        most = int(await connection.fetchval("SELECT current_setting('max_connections')"))
    if (wanted := settings.workers * most_connections(settings)) > most:
        _LOG.warning(
            "too_few_connections",
            wanted=wanted,
            max_connections=most,
            mend="raise max_connections of PostgreSQL, or lower TESTORCHESTRATOR_POOL_SIZE or _WORKERS",
        )


async def _require_database(settings: Settings) -> None:
    """Raise TenancyError unless the database isolates the workspaces, and knows keys as this release asks for them."""
    async with service_connection(settings.service_database_url.get_secret_value()) as connection:
        await require_isolation(connection)
        await require_control(connection)
        if settings.statement_cache_size:
            await require_statement_cache(connection)
    pool = Pool(settings.service_database_url.get_secret_value(), size=1, statement_cache_size=0)
    try:
        await Gateway(pool).authenticate(PREFIX)
    except DatabaseUnavailable as error:
        raise TenancyError(f"SERVICE_DATABASE_URL: keys cannot be looked up just now ({error}).") from error
    except (asyncpg.UndefinedObjectError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError) as error:
        raise TenancyError(
            f"The database is not at this release's schema ({first_line(error)}). Run: testorchestrator migrate"
        ) from error
    finally:
        await pool.close()
