"""`/healthz` and `/readyz`, for whatever starts, watches and balances processes; they need no key and tell nothing.

A process is healthy while it answers. It is ready while the database answers too, and until it begins to stop, so
that a proxy sends it nothing more.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import structlog
from quart import Response

from tenancy.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from quart import Quart

    from tenancy.pool import Pool

#: The paths of both.
PROBES = frozenset({"/healthz", "/readyz"})

_LOG = structlog.get_logger()
_PATIENCE_SECONDS = 2
_KEPT_SECONDS = 1
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "content-type": "application/json"}
_LOST = (DatabaseUnavailable, TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Database:
    """Whether the database answers, over a connection of its own: a pool that is busy is no reason to be passed over.

    It is asked at most once a second, however many ask.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._asked_at = 0.0
        self._asking: asyncio.Future[bool] | None = None
        self._answered = True

    async def answers(self) -> bool:
        """Return whether it did, within two seconds and not more than a second ago."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= _KEPT_SECONDS):
            self._asked_at = now
            self._asking = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        reason = None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._pool.lend() as lent:
                await lent.connection.execute("SELECT 1")
                lent.settle()
        except _LOST as error:
            reason = type(error).__name__
        if self._answered != (reason is None):
            self._answered = reason is None
            _LOG.warning("ready" if self._answered else "not_ready", **({} if reason is None else {"reason": reason}))
        return self._answered


def install_health(app: Quart, database: Database, stopping: asyncio.Event) -> None:
    """Answer `/healthz` and `/readyz`; from *stopping* on, the process is not ready."""

    @app.get("/healthz")
    async def healthy() -> Response:
        return Response('{"status":"ok"}', 200, headers=_HEADERS)

    @app.get("/readyz")
    async def ready() -> Response:
        if stopping.is_set():
            return Response('{"status":"stopping"}', 503, headers=_HEADERS)
        if not await database.answers():
            return Response('{"status":"no database"}', 503, headers=_HEADERS)
        return Response('{"status":"ok"}', 200, headers=_HEADERS)
