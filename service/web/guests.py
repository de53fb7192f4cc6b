"""What is done for those who are not signed in: so much for an address, and so much in all.

Nobody has to prove anything to ask for a page, so there is no end to what strangers ask for. Whoever shows a session
that we signed does not wait for them: to check the signature takes no database. Should the session have ended, which
only the database knows, its bearer is one of them from then on.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.limits import Buckets, Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.settings import Settings
    from tenancy.accounts import Session


class Guests:
    """Admits them, *at_once* at a time."""

    def __init__(self, settings: Settings, *, at_once: int) -> None:
        most = settings.guest_pages_per_minute
        self._addresses = Buckets(burst=most, per_second=most / 60)
        self._turns = Turns(at_once, wait_seconds=settings.pool_wait_seconds)
        # Names to remember, with nothing to take: the last of them.
        self._ended = Buckets(burst=1, per_second=0)

    def take(self, session: Session | None, address: str) -> float:
        """Count a guest's request and return 0, or return the seconds until the address may ask again."""
        return self._addresses.take(address) if self._is_guest(session) else 0.0

    @asynccontextmanager
    async def turn(self, session: Session | None) -> AsyncIterator[None]:
        """Work for whoever shows *session*, a guest when it is their turn; raise Busy where that takes too long."""
        if self._is_guest(session):
            async with self._turns.turn():
                yield
        else:
            yield

    def settle(self, session: Session | None, *, holds: bool) -> None:
        """Say whether the session that was shown holds."""
        if holds:
            self._ended.forget(session)
        elif session is not None:
            self._ended.charge(session, 0)

    def _is_guest(self, session: Session | None) -> bool:
        return session is None or session in self._ended
