"""How often a key may call, and what an address may try: token buckets and turns, in this process alone.

They protect the process and its database, so each process keeps its own, and n processes let n times as much through.
Nothing here says who is let in: that the database answers, on every request.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Sequence

_MOST_NAMES = 10_000
_IPV6_NETWORK = 64
#: What one wrong key may cost beyond the first look: so many more looks at once, and then one in so many seconds.
_REPEATS = 5
_REPEAT_SECONDS = 10


class TooMany(Exception):  # noqa: N818 - says what is the matter
    """Not now; *retry_after* is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = max(1, math.ceil(retry_after))


class Busy(Exception):  # noqa: N818 - says what is the matter
    """Others are at work; whoever asks again may have more luck."""


class Turns:
    """Lets *most* be at work at a time, in the order of their coming, and each wait for it so long."""

    def __init__(self, most: int, *, wait_seconds: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be at work; raise Busy where the others take too long."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Busy from None
        try:
            yield
        finally:
            self._free.release()


class Buckets:
    """A bucket of *burst* tokens for each name, into which *per_second* new ones drop; 0: tokens without end.

    The names that were used last are remembered, at most *most* of them; a forgotten one starts with a full bucket.
    """

    def __init__(
        self,
        *,
        burst: int,
        per_second: float,
        most: int = _MOST_NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._tolerance = (burst - 1) * self._interval
        self._most = most
        self._clock = clock
        # When the bucket of each name will be full again: all that must be known of it.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __contains__(self, name: Hashable) -> bool:
        return name in self._full_at

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, name: Hashable) -> float:
        """Return the seconds until there is a token: 0 if there is one."""
        now = self._clock()
        return max(0.0, self._full_at.get(name, now) - now - self._tolerance)

    def take(self, name: Hashable) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        if wait := self.wait(name):
            self._full_at.move_to_end(name)
            return wait
        self.charge(name, 1)
        return 0.0

    def charge(self, name: Hashable, tokens: int) -> None:
        """Take tokens, be they there or not; the name is remembered even if there are none to take."""
        now = self._clock()
        self._full_at[name] = max(self._full_at.get(name, now), now) + tokens * self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)

    def forget(self, name: Hashable) -> None:
        """Forget the name."""
        self._full_at.pop(name, None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A key that may be looked up. *address* is who answers for it: None for a key that has a bucket of its own."""

    name: bytes
    address: str | None = None


class Throttle:
    """Who may ask the database about a key.

    A key that worked last time has a bucket of its own, so that whoever guesses keys behind the same address cannot
    take its calls away. All other keys share their address's bucket, but for one that failed already: it gets few
    looks of its own, so that one client with an old key does not use up the address of its whole office.
    """

    def __init__(
        self,
        *,
        burst: int = 0,
        calls_per_second: float = 0,
        wrong_keys_per_minute: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls_per_second = calls_per_second
        self._working = Buckets(burst=burst, per_second=calls_per_second, clock=clock)
        self._addresses = Buckets(burst=wrong_keys_per_minute, per_second=wrong_keys_per_minute / 60, clock=clock)
        repeats = 1 / _REPEAT_SECONDS if wrong_keys_per_minute else 0
        self._failed = Buckets(burst=_REPEATS, per_second=repeats, clock=clock)

    def admit(self, key: str, address: Callable[[], str]) -> Attempt:
        """Return the attempt, which is to be settled; raise TooMany."""
        # The key itself is not kept, not even in memory.
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        if name in self._working:
            if wait := self._working.take(name):
                raise self._too_many_calls(wait)
            return Attempt(name)
        if name in self._failed:
            attempt = Attempt(name)
            wait = self._failed.take(name)
        else:
            # It pays only when it has failed: after a restart all keys are new, and may come in hundreds at once.
            attempt = Attempt(name, address())
            wait = self._addresses.wait(attempt.address)
        if wait:
            raise TooMany("Too many requests with wrong API keys. Check the key, wait and try again.", retry_after=wait)
        return attempt

    def settle(self, attempt: Attempt, *, works: bool) -> None:
        """Say whether the key *works*."""
        if not works:
            self._working.forget(attempt.name)
            self._failed.charge(attempt.name, 0)
            if attempt.address is not None:
                self._addresses.take(attempt.address)
        elif attempt.name not in self._working:
            self._failed.forget(attempt.name)
            self._working.charge(attempt.name, 1)

    def charge(self, attempt: Attempt, calls: int) -> None:
        """Count calls beyond the first one, which a batch holds: the next requests wait for them."""
        self._working.charge(attempt.name, calls)

    def _too_many_calls(self, wait: float) -> TooMany:
        return TooMany(
            f"Too many calls with this API key: at most {self._calls_per_second:g} a second. Wait and try again.",
            retry_after=wait,
        )


def client_address(peer: tuple[str, int] | None, forwarded_for: Sequence[str], *, trusted_proxies: int) -> str:
    """Return the address that a client is counted under: an IPv4 address, or a network of IPv6, as one client has.

    Each trusted proxy writes at the end of X-Forwarded-For whom it was called by; what stands before may be made up.
    """
    address = peer[0] if peer else ""
    if trusted_proxies:
        written = [part.strip() for line in forwarded_for for part in line.split(",")]
        if len(written) >= trusted_proxies:
            address = written[-trusted_proxies]
    return _network(address)


def _network(address: str) -> str:
    # Some proxies write the port too: 192.0.2.1:5000, [2001:db8::1]:5000.
    bare = address[1:].partition("]")[0] if address.startswith("[") else address
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return "unknown"
    if parsed.version == 4:  # noqa: PLR2004 - IPv4
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
