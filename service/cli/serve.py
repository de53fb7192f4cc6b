"""`serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
import typer

from service.cli.console import run
from service.connections import raise_descriptors
from service.http_servers import require
from service.logs import configure_logging
from service.server import listen, wait_for_database
from service.server import serve as serve_until_stopped
from service.settings import read_settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one. Default: 8520.")] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="N|auto", help="Processes; auto: one for each processor. Default: 1.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="hypercorn, or uvicorn if it is installed. Default: hypercorn.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, max=3600, help="Wait so long for a database that it can serve."),
    ] = 0,
) -> None:
    """Serve POST /mcp over the database of SERVICE_DATABASE_URL (the login testorchestrator_app).

    With --wait it may be started before the database is there and migrated; what it waits for is logged. SIGTERM
    stops it when what runs is done; TESTORCHESTRATOR_DRAIN_SECONDS before that, /readyz tells proxies to turn away.
    With --workers, one that dies is started again; each has its own connections to the database.

    Example: testorchestrator serve --port 8520 --workers auto --wait 60
    """
    given = {"host": host, "port": port, "workers": workers, "server": server}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    require(settings.server)
    configure_logging(form=settings.log_format, level=settings.log_level)
    if wait:
        # Before it listens, or a proxy would take it for one that answers; with no threads left, as workers want it.
        asyncio.run(wait_for_database(settings, wait))
    listening = listen(settings.host, settings.port)
    host, port, *_ = listening.getsockname()
    # Workers inherit it.
    descriptors = raise_descriptors()
    count = {"workers": settings.workers} if settings.workers > 1 else {}

    def ready() -> None:
        structlog.get_logger().info("serving", host=host, port=port, descriptors=descriptors, **count)

    if settings.workers > 1:
        from service.workers import serve_by_workers

        serve_by_workers(settings, listening, on_ready=ready)
    else:
        run(serve_until_stopped(settings, listening, on_ready=ready))
