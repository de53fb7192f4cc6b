"""What each workspace holds of the pool's places, and has held lately: who may have one more, and who comes last.

The last quarter of the places, one at least, is for workspaces that hold none. Of the others each may have as many as
it likes, until somebody who holds none has to wait. For a while from then on, whoever has held more than an equal share
of the places, on the average of the last seconds, comes last and may hold no more than that share at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

# What was held is forgotten by a factor of e in this time, and altogether after the longer one.
_LATELY_SECONDS = 10.0
_FORGOTTEN_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class _Use:
    """How many places a workspace has *held* since then, and on the average when that began."""

    since: float
    held: int = 0
    average: float = 0.0

    def average_at(self, now: float) -> float:
        return self.held + (self.average - self.held) * math.exp((self.since - now) / _LATELY_SECONDS)


class Shares:
    """Who holds how many of *size* places; *waiting* are those who wait for one, now and whenever it is looked at.

    None, in place of a workspace, is the service itself: it only looks something up, and is no party to the shares.
    """

    def __init__(self, size: int, waiting: AbstractSet[str | None]) -> None:
        self._size = size
        self._waiting = waiting
        self._spare = max(1, size // 4)
        # By workspace, in the order of the last change.
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._holders: set[str] = set()
        self._short_until = -math.inf

    def held(self, workspace: str | None) -> int:
        """Return how many places the workspace holds."""
        return 0 if workspace is None or workspace not in self._uses else self._uses[workspace].held

    def change(self, workspace: str | None, by: int) -> None:
        """Count a place that was taken (1) or given back (-1)."""
        if workspace is None:
            return
        now = _now()
        use = self._uses.setdefault(workspace, _Use(now))
        use.average, use.held, use.since = use.average_at(now), use.held + by, now
        if use.held:
            self._holders.add(workspace)
        else:
            self._holders.discard(workspace)
        self._uses.move_to_end(workspace)
        while (first := next(iter(self._uses.values()))).since < now - _FORGOTTEN_SECONDS and not first.held:
            self._uses.popitem(last=False)

    def allow(self, workspace: str | None, free: int) -> bool:
        """Return whether the workspace may take one more place, of which so many are free."""
        if free > self._spare:
            return not self.is_over(workspace) or self.held(workspace) < self._equal
        return not self.held(workspace) and not self.is_over(workspace)

    def is_over(self, workspace: str | None) -> bool:
        """Return whether the workspace has held more than its share lately, in a time of shortage."""
        now = _now()
        if now >= self._short_until or workspace is None or workspace not in self._uses:
            return False
        return self._uses[workspace].average_at(now) > self._equal

    def has_its_own(self, workspace: str | None) -> bool:
        """Return whether the workspace holds as much as it may count upon, or has held more lately."""
        return self.is_over(workspace) or self.held(workspace) >= max(1, min(self._equal, self._size - self._spare))

    def miss(self, workspace: str | None) -> None:
        """Note that the workspace has had to wait: there is a shortage, unless it is one of those who caused it."""
        if not self.held(workspace) and not self.is_over(workspace):
            self._short_until = _now() + _LATELY_SECONDS

    @property
    def _equal(self) -> int:
        """How many places each could have of those who hold some or wait."""
        return max(1, self._size // max(1, len((self._holders | self._waiting) - {None})))


def _now() -> float:
    return asyncio.get_running_loop().time()
