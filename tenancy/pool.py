"""The service's connections: bounded, lent with a short wait, and by preference to the workspace that had them last.

A connection that meets the same workspace again spares a new plan (about 100 µs) and the memory that a backend
keeps for every workspace it has touched. Nothing else frees that memory, so connections are renewed after some
thousands of requests. There is no reset between requests: only SET LOCAL is ever used.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable, TenancyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CLOSE_SECONDS = 5


@dataclass(slots=True, eq=False)
class _Lent:
    connection: asyncpg.Connection
    workspace: str | None = None
    requests: int = 0


class Pool:
    """At most *size* connections to *url*."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 10,
        wait_seconds: float = 2.0,
        renew_after: int = 5_000,
        statement_cache_size: int = 200,
    ) -> None:
        self._url = url
        self._free = asyncio.Semaphore(size)
        self._wait_seconds = wait_seconds
        self._renew_after = renew_after
        self._statement_cache_size = statement_cache_size
        # In the order of their return: the first has been idle for the longest.
        self._idle: OrderedDict[_Lent, None] = OrderedDict()
        self._closed = False

    @asynccontextmanager
    async def connection(self, workspace: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, if there is one the connection that *workspace* had last.

        Raises DatabaseUnavailable when none comes free in time, when the server cannot be reached, and after close().
        """
        await self._take_permit()
        try:
            lent = self._pick(workspace) or _Lent(await self._open())
            if workspace is not None:
                lent.workspace = workspace
            lent.requests += 1
            try:
                yield lent.connection
            finally:
                self._take_back(lent)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close the idle connections, and any lent one when it comes back."""
        self._closed = True
        while self._idle:
            lent, _ = self._idle.popitem()
            # The driver gives up a connection that it cannot close.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await lent.connection.close(timeout=_CLOSE_SECONDS)

    async def _take_permit(self) -> None:
        if not self._free.locked():
            # It returns at once, and a timer would cost more than all the rest here.
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable("no connection came free in time") from error

    def _pick(self, workspace: str | None) -> _Lent | None:
        while self._idle:
            lent = next((lent for lent in reversed(self._idle) if lent.workspace == workspace), next(iter(self._idle)))
            del self._idle[lent]
            if not lent.connection.is_closed():
                return lent
        return None

    def _take_back(self, lent: _Lent) -> None:
        if lent.connection.is_closed():
            return
        if self._closed or lent.requests >= self._renew_after or lent.connection.is_in_transaction():
            lent.connection.terminate()
        else:
            self._idle[lent] = None

    async def _open(self) -> asyncpg.Connection:
        if self._closed:
            raise DatabaseUnavailable("the pool is closed")
        try:
            return await connect(
                self._url, name="The service's database", statement_cache_size=self._statement_cache_size
            )
        except TenancyError as error:
            raise DatabaseUnavailable(str(error)) from error
