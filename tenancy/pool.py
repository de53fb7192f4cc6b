"""The service's connections: bounded, lent with a short wait, and each by preference to the same workspaces.

A connection that meets a workspace again spares what takes many times longer than a query: to learn its tables and to
plan. It also keeps megabytes for every workspace that it has met. So connections share the workspaces out. A hash gives
each workspace two of them for its own; it waits a moment until one of these comes free, then takes another, which fits
it too from then on. One that comes free goes to the first of those who wait whom it fits. Since nothing else frees that
memory, connections are renewed after a hundred workspaces, and after many thousands of requests. There is no reset
between requests: only SET LOCAL is ever used.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, OrderedDict, defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import asyncpg

from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.release import application_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tenancy.connection import Login

_CLOSE_SECONDS = 5
_OPENING_AT_ONCE = 4
# So many of the connections are a workspace's own. While others are idle it waits so long for one that fits: some
# calls' time, and not much more than it takes another connection to meet the workspace.
_OWN = 2
_FITTING_SECONDS = 0.05
# One that comes free is offered to so many who wait, and goes to the first of them after this part of the longest wait.
_PASSING = 64
_PATIENCE = 0.25
# Several times what it takes to log in.
_RETURN_SECONDS = 0.2


@dataclass(slots=True, eq=False)
class Lent:
    """A connection, and what it has been used for. *is_at_home*: its workspace has had it before."""

    connection: asyncpg.Connection
    #: Its place among the pool's connections, which the one that replaces it takes over.
    number: int
    is_at_home: bool = False
    workspace: str | None = None
    requests: int = 0
    met: set[str] = field(default_factory=set)
    #: Whether nothing is under way on it: only then it is lent again.
    is_settled: bool = True

    def settle(self) -> None:
        """Say that the last statement was answered, by which its transaction has ended."""
        self.is_settled = not self.connection.is_closed() and not self.connection.is_in_transaction()

    def enter(self, workspace: str) -> None:
        """Count a request of the workspace."""
        self.workspace = workspace
        self.is_at_home = workspace in self.met
        self.met.add(workspace)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """How a pool is used now (*in_use*, *idle*, *waiting*), and since it was made.

    *refused* are those who waited in vain, *failed* the connections that could not be made.
    """

    size: int
    in_use: int
    idle: int
    waiting: int
    waits: int
    waited_seconds: float
    refused: int
    failed: int


class Pool:
    """At most *size* connections to *url*.

    With *login_of* a connection is one workspace's alone, logged in as its role: one that was idle for the longest is
    closed where another workspace needs the place.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int = 10,
        wait_seconds: float = 2.0,
        renew_after: int = 50_000,
        renew_after_workspaces: int = 100,
        statement_cache_size: int = 600,
        command_timeout: float = 30.0,
        login_of: Callable[[str], Login] | None = None,
    ) -> None:
        self._url = url
        self._size = size
        self._login_of = login_of
        # Logging in costs the server a process: of many workspaces at once, most wait, and are refused in time.
        self._opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        self._lent = 0
        self._numbers = set(range(size))
        # Who waits for a connection, in the order of their coming: since when, and for which workspace.
        self._queue: OrderedDict[asyncio.Future[Lent | None], tuple[float, str | None]] = OrderedDict()
        self._waiting = self._waits = self._refused = self._failed = 0
        self._waited_seconds = 0.0
        self._out: Counter[str | None] = Counter()
        self._awaited: defaultdict[str | None, list[asyncio.Future[Lent]]] = defaultdict(list)
        self._wait_seconds = wait_seconds
        self._renew_after = renew_after
        self._renew_after_workspaces = renew_after_workspaces
        self._statement_cache_size = statement_cache_size
        # The server's own limits end what is slow; this one, a connection whose other end is gone without a word.
        self._command_timeout = command_timeout
        # By their numbers, in the order of their return: the first has been idle for the longest.
        self._idle: OrderedDict[int, Lent] = OrderedDict()
        self._closed = False

    @asynccontextmanager
    async def lend(self, workspace: str | None = None) -> AsyncIterator[Lent]:
        """Lend a connection, by preference one that *workspace* has had. It is closed unless it comes back settled.

        Raises DatabaseUnavailable when none comes free in time, when the server cannot be reached, and after close().
        """
        lent = await self._wait_for_turn(workspace)
        try:
            lent = lent or await self._await_return(workspace)
            # Before it is opened, so that a second request waits for it rather than open another.
            self._out[workspace] += 1
            try:
                lent = lent or await self._open_or_any(workspace)
                if workspace is not None:
                    lent.enter(workspace)
                lent.requests += 1
                # Whatever happens from here on, a cancellation in the middle of a statement say, only its borrower can
                # tell that the connection is as it was.
                lent.is_settled = False
                try:
                    yield lent
                finally:
                    self._take_back(lent)
            finally:
                self._out[workspace] -= 1
                if not self._out[workspace]:
                    del self._out[workspace]
        finally:
            self._pass_turn()

    @property
    def usage(self) -> PoolUsage:
        """How busy the pool is, for metrics."""
        return PoolUsage(
            size=self._size,
            in_use=self._lent,
            idle=len(self._idle),
            waiting=self._waiting,
            waits=self._waits,
            waited_seconds=self._waited_seconds,
            refused=self._refused,
            failed=self._failed,
        )

    async def close(self) -> None:
        """Close the idle connections, and any lent one when it comes back."""
        self._closed = True
        while self._idle:
            _, lent = self._idle.popitem()
            # The driver gives up a connection that it cannot close.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await lent.connection.close(timeout=_CLOSE_SECONDS)

    async def _wait_for_turn(self, workspace: str | None) -> Lent | None:
        """Return the connection that fits best as soon as there is a place for it, None where it must be opened."""
        if self._lent < self._size and self._fits(workspace):
            self._lent += 1
            return self._pick(workspace)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Lent | None] = loop.create_future()
        self._queue[turn] = (time.monotonic(), workspace)
        settling = loop.call_later(_FITTING_SECONDS, self._settle, turn)
        try:
            async with self._in_time():
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                if lent := turn.result():
                    self._take_back(lent)
                self._pass_turn()
            raise
        finally:
            settling.cancel()
            self._queue.pop(turn, None)

    def _pass_turn(self) -> None:
        """Let the first one whom a connection fits have it, or the first of all where that would be too late."""
        self._lent -= 1
        now, first = time.monotonic(), None
        for turn, (since, workspace) in islice(self._queue.items(), _PASSING):
            if not turn.done():
                if self._fits(workspace) or now - since > _PATIENCE * self._wait_seconds:
                    self._grant(turn)
                    return
                first = first or (since, turn)
        if first is not None and now - first[0] > _FITTING_SECONDS:
            self._grant(first[1])

    def _settle(self, turn: asyncio.Future[Lent | None]) -> None:
        """Let who has waited long enough for a connection that fits have any that is not in use."""
        if self._lent < self._size and not turn.done():
            self._grant(turn)

    def _grant(self, turn: asyncio.Future[Lent | None]) -> None:
        # Picked for it at once, before another takes what fits.
        self._lent += 1
        turn.set_result(self._pick(self._queue[turn][1]))

    def _fits(self, workspace: str | None) -> bool:
        """Return whether a connection that is free, or a place for one, is the workspace's own or has met it."""
        if self._login_of is not None or workspace is None:
            return True
        return self._best(workspace)[1]

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Let what is inside wait, and be refused when it takes too long."""
        self._waits += 1
        self._waiting += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._wait_seconds):
                yield
        except TimeoutError as error:
            self._refused += 1
            raise DatabaseUnavailable("no connection came free in time") from error
        finally:
            self._waiting -= 1
            self._waited_seconds += time.monotonic() - began

    def _pick(self, workspace: str | None) -> Lent | None:
        while self._idle:
            lent: Lent | None = next(iter(self._idle.values()))
            if self._login_of is not None:
                lent = next((lent for lent in reversed(self._idle.values()) if lent.workspace == workspace), None)
            elif workspace is not None:
                lent = self._best(workspace)[0]
            if lent is None:
                return None
            del self._idle[lent.number]
            if not lent.connection.is_closed():
                return lent
            self._end(lent)
        return None

    def _best(self, workspace: str) -> tuple[Lent | None, bool]:
        """Return the connection that fits best, None where that is one that is yet to be opened, and whether it fits.

        One does that is the workspace's own, or has met it.
        """
        other: list[Lent | None] = []
        for rank, number in enumerate(self._order(workspace)):
            lent = self._idle.get(number)
            if lent is not None or number in self._numbers:
                if rank < _OWN or (lent is not None and workspace in lent.met):
                    return lent, True
                other.append(lent)
        return (other[0] if other else None), False

    async def _await_return(self, workspace: str | None) -> Lent | None:
        """Wait a little for a connection that the workspace has out, where a new one would have to push one aside."""
        if not self._is_full or not self._out[workspace]:
            return None
        waiting = asyncio.get_running_loop().create_future()
        self._awaited[workspace].append(waiting)
        try:
            async with asyncio.timeout(_RETURN_SECONDS):
                return await waiting  # type: ignore[no-any-return]
        except TimeoutError:
            return None
        finally:
            self._awaited[workspace].remove(waiting)
            if not self._awaited[workspace]:
                del self._awaited[workspace]
            if waiting.done() and not waiting.cancelled() and sys.exception() is not None:
                self._idle[waiting.result().number] = waiting.result()

    @property
    def _is_full(self) -> bool:
        """Whether connections of other workspaces leave no place for a new one, which is asked for already."""
        return self._login_of is not None and self._lent + len(self._idle) > self._size

    def _take_back(self, lent: Lent) -> None:
        is_due = lent.requests >= self._renew_after or len(lent.met) >= self._renew_after_workspaces
        if lent.connection.is_closed() or self._closed or is_due or not lent.is_settled:
            self._end(lent)
        elif waiting := next((one for one in self._awaited.get(lent.workspace, ()) if not one.done()), None):
            waiting.set_result(lent)
        else:
            self._idle[lent.number] = lent

    def _end(self, lent: Lent) -> None:
        lent.connection.terminate()
        self._numbers.add(lent.number)

    async def _open_or_any(self, workspace: str | None) -> Lent:
        # The place may have been taken since it was picked: then a connection is idle.
        if not self._numbers and (lent := self._pick(workspace)):
            return lent
        try:
            return await self._open(workspace)
        except DatabaseUnavailable:
            # Where the server lets nobody in any more, those that are in still serve.
            if self._login_of is None and (lent := self._pick(None)):
                return lent
            raise

    async def _open(self, workspace: str | None) -> Lent:
        if self._closed:
            raise DatabaseUnavailable("the pool is closed")
        while self._is_full and self._idle:
            # Idle for the longest, and another workspace's.
            self._end(self._idle.popitem(last=False)[1])
        login = None if self._login_of is None or workspace is None else self._login_of(workspace)
        number = next(number for number in self._order(workspace) if number in self._numbers)
        self._numbers.remove(number)
        try:
            return Lent(await self._connect(login), number)
        except BaseException:
            self._numbers.add(number)
            raise

    async def _connect(self, login: Login | None) -> asyncpg.Connection:
        if self._opening.locked():
            async with self._in_time():
                await self._opening.acquire()
        else:
            # At once, and a timer would cost more.
            await self._opening.acquire()
        try:
            return await connect(
                self._url,
                name="The service's database",
                statement_cache_size=self._statement_cache_size,
                login=login,
                command_timeout=self._command_timeout,
                application=application_name(),
            )
        except TenancyError as error:
            self._failed += 1
            raise DatabaseUnavailable(str(error)) from error
        finally:
            self._opening.release()

    def _order(self, workspace: str | None) -> Sequence[int]:
        """Return the numbers of the connections, those first that are to be the workspace's own."""
        # Any fits who needs it for a moment, in none.
        return range(self._size) if workspace is None else _order_of(workspace, self._size)


@lru_cache(maxsize=10_000)
def _order_of(workspace: str, size: int) -> tuple[int, ...]:
    return tuple(sorted(range(size), key=lambda number: hash((workspace, number))))
