"""The service's connections: bounded, lent with a short wait, and each by preference to the same workspaces.

A connection that meets a workspace again spares what takes many times longer than a query: to learn its tables and to
plan. It also keeps megabytes for every workspace that it has met. So connections share the workspaces out. A hash gives
each workspace two of them for its own; it waits a moment until one of these comes free, then takes another, which fits
it too from then on. Since nothing else frees that memory, connections are renewed after a hundred workspaces, and after
many thousands of requests. There is no reset between requests: only SET LOCAL is ever used.

No workspace can take what others need. The last quarter of the places is for workspaces that hold none. A place that
comes free goes to whoever has waited for long, or else to the workspace that holds the fewest; of several, to the first
whom it fits. Where even a workspace that holds none has had to wait, those that have held more than an equal share on
the average of the last seconds come last for a while, hold no more than that share at once and nothing of the last
quarter, and are refused after a part of the wait (`tenancy.shares`). What the service looks up for itself counts for
nobody.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING

import asyncpg

from tenancy.connection import connect
from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.release import application_name
from tenancy.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tenancy.connection import Login

_CLOSE_SECONDS = 5
_OPENING_AT_ONCE = 4
# So many of the connections are a workspace's own. While others are idle it waits so long for one that fits: some
# calls' time, and not much more than it takes another connection to meet the workspace.
_OWN = 2
_FITTING_SECONDS = 0.05
# In strict mode, where another workspace's would be closed for it: several times what it takes to log in.
_RETURN_SECONDS = 0.2
# After this part of the longest wait, whoever waits comes before those who came later.
_PATIENCE = 0.25
# One that comes free is offered to so many workspaces that hold none, and goes to the first that has not held too much
# and is fitted.
_PASSING = 64
_FIRST = (False, 0, False)


@dataclass(slots=True, eq=False)
class Lent:
    """A connection for one borrower. *is_at_home*: its workspace has had it before."""

    connection: asyncpg.Connection
    #: Its place among the pool's connections, which the one that replaces it takes over.
    number: int
    is_at_home: bool
    #: Whether nothing is under way on it: only then it is lent again.
    is_settled: bool = False

    def settle(self) -> None:
        """Say that the last statement was answered, by which its transaction has ended."""
        self.is_settled = not self.connection.is_closed() and not self.connection.is_in_transaction()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """How a pool is used now (*in_use*, *idle*, *closing*, *waiting*), and since it was made.

    *refused* are those who waited in vain, but for those whose workspace had its share: these are *over_share*. What
    *failed* are connections that could not be made.
    """

    size: int
    in_use: int
    idle: int
    closing: int
    waiting: int
    waits: int
    waited_seconds: float
    refused: int
    over_share: int
    failed: int


@dataclass(slots=True, eq=False)
class _Place:
    """A place for one connection, what that has been used for, and whose it is now: *holder*'s, unless it is free."""

    number: int
    connection: asyncpg.Connection | None = None
    #: The workspace that had it last; in strict mode, whose login it is.
    workspace: str | None = None
    holder: str | None = None
    requests: int = 0
    met: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.connection is not None and not self.connection.is_closed()

    def empty(self) -> None:
        """Give up the connection, on which nothing may be under way: the server would not be told to end it."""
        if self.connection is not None:
            self.connection.terminate()
        self.connection = self.workspace = None
        self.requests, self.met = 0, set()

    def lend(self, workspace: str | None) -> Lent:
        is_at_home = workspace in self.met
        if workspace is not None:
            self.workspace = workspace
            self.met.add(workspace)
        self.requests += 1
        return Lent(self.connection, self.number, is_at_home)


@dataclass(slots=True, eq=False)
class _Waiter:
    """Who waits for a place, *since* then; *turn* is done with one, or when it was in vain."""

    workspace: str | None
    turn: asyncio.Future[_Place]
    since: float
    then: asyncio.TimerHandle | None = None
    #: It has waited for a place that fits for long enough.
    takes_any: bool = False
    #: It has waited for so long that its workspace counts as one that holds none.
    is_due: bool = False

    def after(self, seconds: float, work: Callable[[_Waiter], None]) -> None:
        """Do *work* when so many seconds have passed since it began to wait."""
        self.then = self.turn.get_loop().call_at(self.since + seconds, work, self)

    def stop(self) -> None:
        if self.then is not None:
            self.then.cancel()


class Pool:
    """At most *size* connections to *url*.

    With *login_of* a connection is one workspace's alone, logged in as its role: one that was idle for the longest is
    closed where another workspace needs the place. *connect* is what makes a connection.
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
        connect: Callable[..., Awaitable[asyncpg.Connection]] = connect,
    ) -> None:
        self._url = url
        self._size = size
        self._wait_seconds = wait_seconds
        self._renew_after = renew_after
        self._renew_after_workspaces = renew_after_workspaces
        self._statement_cache_size = statement_cache_size
        # The server's own limits end what is slow; this one, a connection whose other end is gone without a word.
        self._command_timeout = command_timeout
        self._login_of = login_of
        self._connect = connect
        # Those that nobody has, in the order of their return: the first has been idle for the longest.
        self._free = OrderedDict((number, _Place(number)) for number in range(size))
        self._closing: set[asyncio.Task[None]] = set()
        # Logging in costs the server a process: of many at once, most wait, and are refused in time.
        self._opening: set[_Place] = set()
        # Who waits, by workspace: first those that were served the longest ago.
        self._queues: OrderedDict[str | None, deque[_Waiter]] = OrderedDict()
        # Those that are being opened or closed for a workspace among what it holds.
        self._shares = Shares(size, self._queues.keys())
        self._waits = self._refused = self._over_share = self._failed = 0
        self._waited_seconds = 0.0
        self._closed = False

    @asynccontextmanager
    async def lend(self, workspace: str | None = None) -> AsyncIterator[Lent]:
        """Lend a connection, by preference one that *workspace* has had. It is closed unless it comes back settled.

        Raises DatabaseUnavailable when none comes free in time, when the server cannot be reached, and after close().
        """
        place = self._take(workspace) or await self._wait(workspace)
        lent = None
        try:
            if not place.is_open:
                place = await self._open(place)
            lent = place.lend(workspace)
            yield lent
        finally:
            # Whatever has happened, a cancellation in the middle of a statement say, only its borrower can tell that
            # the connection is as it was.
            self._take_back(place, is_settled=lent is None or lent.is_settled)

    @property
    def usage(self) -> PoolUsage:
        """How busy the pool is, for metrics."""
        return PoolUsage(
            size=self._size,
            in_use=self._size - len(self._free) - len(self._closing),
            idle=sum(place.is_open for place in self._free.values()),
            closing=len(self._closing),
            waiting=sum(len(queue) for queue in self._queues.values()),
            waits=self._waits,
            waited_seconds=self._waited_seconds,
            refused=self._refused,
            over_share=self._over_share,
            failed=self._failed,
        )

    async def close(self) -> None:
        """Close the idle connections, and any lent one when it comes back; refuse all who wait."""
        self._closed = True
        for waiter in [waiter for queue in self._queues.values() for waiter in queue if not waiter.turn.done()]:
            self._end_wait(waiter, "the pool is closed")
        for place in list(self._free.values()):
            await self._close(place)
        if self._closing:
            await asyncio.wait(self._closing)

    # Who gets a place

    def _take(self, workspace: str | None) -> _Place | None:
        """Return a place that fits and may be had at once. Nobody waits who could have it: they would have it."""
        if self._closed:
            raise DatabaseUnavailable("the pool is closed")
        place, fits = self._best(workspace)
        if place is None or not fits or not self._shares.allow(workspace, len(self._free)):
            return None
        return self._grant(place, workspace)

    async def _wait(self, workspace: str | None) -> _Place:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(workspace, loop.create_future(), loop.time())
        self._queues.setdefault(workspace, deque()).append(waiter)
        fitting = _FITTING_SECONDS if self._login_of is None else _RETURN_SECONDS
        waiter.after(fitting, self._take_any)
        self._waits += 1
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._leave(waiter)
            elif waiter.turn.exception() is None:
                # It was served in the same turn of the loop.
                self._take_back(waiter.turn.result(), is_settled=True)
            raise
        finally:
            self._waited_seconds += loop.time() - waiter.since
            waiter.stop()

    def _take_any(self, waiter: _Waiter) -> None:
        waiter.takes_any = True
        self._serve()
        if not waiter.turn.done():
            self._shares.miss(waiter.workspace)
            waiter.after(_PATIENCE * self._wait_seconds, self._become_due)

    def _become_due(self, waiter: _Waiter) -> None:
        waiter.is_due = True
        self._serve()
        if self._shares.is_over(waiter.workspace):
            self._refuse(waiter)
        else:
            waiter.after(self._wait_seconds, self._refuse)

    def _refuse(self, waiter: _Waiter) -> None:
        self._serve()
        if waiter.turn.done():
            return
        if self._shares.has_its_own(waiter.workspace):
            self._over_share += 1
            self._end_wait(waiter, "the workspace has its share of the connections")
        else:
            self._refused += 1
            self._end_wait(waiter, "no connection came free in time")

    def _end_wait(self, waiter: _Waiter, reason: str) -> None:
        self._leave(waiter)
        waiter.turn.set_exception(DatabaseUnavailable(reason))

    def _leave(self, waiter: _Waiter) -> None:
        queue = self._queues[waiter.workspace]
        queue.remove(waiter)
        if not queue:
            del self._queues[waiter.workspace]

    def _serve(self) -> None:
        """Give places to those who wait, for as long as there is one that somebody may have."""
        while self._free and self._queues and (found := self._next()):
            waiter, place = found
            waiter.turn.set_result(self._grant(place, waiter.workspace))
            self._leave(waiter)
            # The service's own keep their turn: without what they look up, nobody else goes on.
            if waiter.workspace is not None and waiter.workspace in self._queues:
                self._queues.move_to_end(waiter.workspace)

    def _next(self) -> tuple[_Waiter, _Place] | None:
        """Return who is to be served, and the place to give: of several the first, in the order of the queues."""
        found, least = None, None
        for workspace, queue in islice(self._queues.items(), self._size + _PASSING):
            waiter = next((waiter for waiter in queue if not waiter.turn.done()), None)
            if waiter is None or not self._shares.allow(workspace, len(self._free)):
                continue
            place, fits = self._best(workspace)
            if place is None or not (fits or waiter.takes_any):
                continue
            held = 0 if waiter.is_due else self._shares.held(workspace)
            rank = (self._shares.is_over(workspace), held, not (fits or waiter.is_due))
            if least is None or rank < least:
                found, least = (waiter, place), rank
                if rank == _FIRST:
                    break
        return found

    def _best(self, workspace: str | None) -> tuple[_Place | None, bool]:
        """Return the free place that fits best, one that is yet to be opened perhaps, and whether it does fit."""
        may_open = len(self._opening) < _OPENING_AT_ONCE
        if self._login_of is not None:
            return self._best_login(workspace, may_open=may_open)
        if workspace is None:
            open_ones = (place for place in self._free.values() if place.is_open)
            return next(open_ones, next(iter(self._free.values()), None) if may_open else None), True
        other = None
        for rank, number in enumerate(_order_of(workspace, self._size)):
            place = self._free.get(number)
            if place is not None and (may_open or place.is_open):
                # It is the workspace's own, or has met it.
                if rank < _OWN or (place.is_open and workspace in place.met):
                    return place, True
                other = other or place
        return other, False

    def _best_login(self, workspace: str | None, *, may_open: bool) -> tuple[_Place | None, bool]:
        places = self._free.values()
        own = next((place for place in reversed(places) if place.workspace == workspace and place.is_open), None)
        if own is not None or not may_open:
            return own, True
        if empty := next((place for place in places if not place.is_open), None):
            return empty, True
        # Another workspace's would be closed for it: what it has out may come back before.
        return next(iter(places), None), not self._shares.held(workspace)

    # The way of a place from hand to hand

    def _grant(self, place: _Place, workspace: str | None) -> _Place:
        del self._free[place.number]
        place.holder = workspace
        self._shares.change(workspace, 1)
        if not place.is_open or (self._login_of is not None and place.workspace != workspace):
            place.empty()
            self._opening.add(place)
        return place

    def _take_back(self, place: _Place, *, is_settled: bool) -> None:
        if place.is_open and not is_settled:
            # The server is told to end what is under way, and the place is free when it has.
            closing = asyncio.get_running_loop().create_task(self._close(place))
            self._closing.add(closing)
            closing.add_done_callback(partial(self._closed_one, place))
            return
        is_due = place.requests >= self._renew_after or len(place.met) >= self._renew_after_workspaces
        if self._closed or is_due or not place.is_open:
            place.empty()
        self._free_again(place)

    def _closed_one(self, place: _Place, closing: asyncio.Task[None]) -> None:
        self._closing.remove(closing)
        place.empty()
        self._free_again(place)

    def _free_again(self, place: _Place) -> None:
        self._shares.change(place.holder, -1)
        place.holder = None
        self._opening.discard(place)
        self._free[place.number] = place
        self._serve()

    async def _open(self, place: _Place) -> _Place:
        """Return the place with a connection, or another one that has some."""
        try:
            await self._log_in(place)
        except DatabaseUnavailable:
            # Where the server lets nobody in any more, those that are in still serve.
            other = next((other for other in self._free.values() if other.is_open), None)
            if other is None or self._login_of is not None:
                raise
            self._grant(other, place.holder)
            self._free_again(place)
            return other
        self._serve()
        return place

    async def _log_in(self, place: _Place) -> None:
        login = None if self._login_of is None or place.holder is None else self._login_of(place.holder)
        try:
            place.connection = await self._connect(
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
            self._opening.discard(place)

    async def _close(self, place: _Place) -> None:
        if place.connection is not None:
            # The driver gives up a connection that it cannot close.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                await place.connection.close(timeout=_CLOSE_SECONDS)


@lru_cache(maxsize=10_000)
def _order_of(workspace: str, size: int) -> Sequence[int]:
    """Return the numbers of the connections, those first that are to be the workspace's own."""
    return sorted(range(size), key=lambda number: blake2b(f"{workspace} {number}".encode(), digest_size=8).digest())
