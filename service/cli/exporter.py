"""`exporter`: what Prometheus is told of all workspaces together, by one process for each database.

It is a process of its own because the service cannot know: its login may not read the list of workspaces, and a
function that let it would be one more thing to call for whoever gets hold of that login. It also counts once what
every process of the service would count again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Annotated

import asyncpg
import structlog
import typer
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from migrations.trees import Tree, head
from service.cli.console import database_url, run
from service.logs import configure_logging
from service.metrics import serving_metrics
from service.server import listening_for_metrics, until_signal
from tenancy.catalog import count_workspaces
from tenancy.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

_PATIENCE_SECONDS = 5
_KEPT_SECONDS = 30


def exporter(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 9521,
) -> None:
    """Tell Prometheus how many workspaces there are, by state and schema version.

    It serves GET /metrics over the database of DATABASE_URL. One for a database is enough. Any login will do that may
    read two columns of control.workspaces; see docs/operations.md. The database is asked every 30 seconds at most.

    Example: testorchestrator exporter --port 9521
    """
    configure_logging(form="json", level="info")
    registry = CollectorRegistry()
    registry.register(Workspaces(database_url()))
    with listening_for_metrics(host, port, setting="--port") as listening, serving_metrics(registry, listening):
        run(until_signal())


class Workspaces(Collector):
    """How many workspaces there are, as the database at *url* told in the last 30 seconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._counts: list[tuple[str, str, int]] = []
        self._is_up = False

    def collect(self) -> Iterable[Metric]:
        """Return the numbers, those from the last time if the database does not answer."""
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at >= _KEPT_SECONDS:
                self._ask()
                self._asked_at = time.monotonic()
            counts, is_up = self._counts, self._is_up
        workspaces = GaugeMetricFamily(
            "testorchestrator_workspaces",
            "Workspaces by state and by the version of their schema.",
            labels=["state", "schema_version"],
        )
        for state, version, count in counts:
            workspaces.add_metric([state, version], count)
        release = GaugeMetricFamily(
            "testorchestrator_schema_head",
            "The schema version that this release brings workspaces to.",
            labels=["schema_version"],
        )
        release.add_metric([head(Tree.WORKSPACE)], 1)
        up = GaugeMetricFamily(
            "testorchestrator_database_up", "Whether the database answered the last time it was asked.", value=is_up
        )
        return workspaces, release, up

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks nobody."""
        return ()

    def _ask(self) -> None:
        try:
            self._counts = asyncio.run(_counts(self._url))
            self._is_up = True
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._is_up = False
            # Only the server's own words are sure to be without the URL.
            said = f": {first_line(error)}" if isinstance(error, asyncpg.PostgresError) else ""
            structlog.get_logger().warning("database_unavailable", reason=type(error).__name__ + said)


async def _counts(url: str) -> list[tuple[str, str, int]]:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        # Not by connect(), which looks up types as only an administrator or the service may.
        connection = await asyncpg.connect(url)
        try:
            return await count_workspaces(connection)
        finally:
            connection.terminate()
