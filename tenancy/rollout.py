"""Moving many workspaces in stages: a canary, a few, the rest. What cannot be moved is told and holds up no other."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from tenancy.crew import for_each
from tenancy.errors import TenancyError, first_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from tenancy.crew import Connecting

_FEW = 5
_PAUSES = (0.25, 1.0, 4.0)
_TRY_AGAIN = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)
_LOCKED = "its tables are in use by a long transaction: run migrate again when that has ended"
_SLOWEST = 5
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Behind:
    """A workspace that is not at this release's revision."""

    id: int
    slug: str
    schema_name: str
    schema_version: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Workspaces that are moved before those of the next stage are touched."""

    name: str
    workspaces: tuple[Behind, ...]

    def is_bad(self, failed: int) -> bool:
        """Return whether so many failures say that the next stage should not begin."""
        return failed > 0 if self.name == "canary" else failed == len(self.workspaces)


@dataclass(slots=True)
class Report:
    """What a migration did. *failed* and *skipped* tell why, by slug; *stopped* is the stage after which it ended.

    *revision* is where the workspaces were brought. *is_held*: an older release is connected, so what it would not go
    on with was left.
    """

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str | None = None
    revision: str = ""
    is_held: bool = False

    @property
    def per_second(self) -> float:
        """How many workspaces were moved in a second."""
        return self.done / self.seconds if self.seconds else 0.0

    def check(self) -> None:
        """Raise TenancyError, naming them, if there are workspaces that could not be moved."""
        if self.failed:
            told = "; ".join(f"{slug}: {reason}" for slug, reason in list(self.failed.items())[:_SHOWN])
            total = self.done + len(self.failed) + len(self.skipped)
            raise TenancyError(f"{len(self.failed)} of {total} workspaces are not migrated: {told}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a migration is: *done* of the *total* workspaces were tried."""

    stage: str
    done: int
    total: int


def in_stages(behind: Sequence[Behind], canary: Iterable[str] = ()) -> list[Stage]:
    """Return the stages in which to move the workspaces; without a *canary* the first of them is it."""
    first = set(canary) or {one.slug for one in behind[:1]}
    canaries = [one for one in behind if one.slug in first]
    rest = [one for one in behind if one.slug not in first]
    few = max(_FEW, math.ceil(len(rest) / 100))
    cut = {"canary": canaries, "few": rest[:few], "rest": rest[few:]}
    return [Stage(name, tuple(workspaces)) for name, workspaces in cut.items() if workspaces]


async def roll_out(
    stages: Sequence[Stage],
    move: Callable[[asyncpg.Connection, Behind], Awaitable[None]],
    *,
    connecting: Connecting,
    connections: int,
    tell: Callable[[Progress], None],
) -> Report:
    """Move the workspaces, stage after stage, and return what came of it.

    Those that are locked are tried again, when the others of their stage are through.
    """
    report = Report()
    started = time.monotonic()
    total = sum(len(stage.workspaces) for stage in stages)
    for stage in stages:
        if report.stopped is not None:
            report.skipped |= {one.slug: f"not tried after the stage {report.stopped}" for one in stage.workspaces}
            continue
        failures = await _Moving(stage, move, report, total, tell).run(connecting, connections)
        report.failed |= failures
        if stage.is_bad(len(failures)):
            report.stopped = stage.name
    report.seconds = time.monotonic() - started
    report.slowest.sort(reverse=True)
    return report


@dataclass(slots=True)
class _Moving:
    """One stage being moved."""

    stage: Stage
    move: Callable[[asyncpg.Connection, Behind], Awaitable[None]]
    report: Report
    total: int
    tell: Callable[[Progress], None]
    failures: dict[str, str] = field(default_factory=dict)
    locked: list[Behind] = field(default_factory=list)

    async def run(self, connecting: Connecting, connections: int) -> dict[str, str]:
        waiting: Sequence[Behind] = self.stage.workspaces
        for pause in (0, *_PAUSES):
            await asyncio.sleep(pause)
            self.locked = []
            await for_each(waiting, self._try, connecting=connecting, connections=min(connections, len(waiting)))
            waiting = self.locked
            if not waiting:
                break
        return self.failures

    async def _try(self, connection: asyncpg.Connection, workspace: Behind) -> None:
        started = time.monotonic()
        slug = workspace.slug
        try:
            await self.move(connection, workspace)
        except _TRY_AGAIN as error:
            self.locked.append(workspace)
            self.failures[slug] = _LOCKED if isinstance(error, asyncpg.LockNotAvailableError) else first_line(error)
        except (TenancyError, asyncpg.PostgresError) as error:
            self.failures[slug] = first_line(error)
        else:
            self.failures.pop(slug, None)
            self.report.done += 1
            heapq.heappush(self.report.slowest, (time.monotonic() - started, slug))
            if len(self.report.slowest) > _SLOWEST:
                heapq.heappop(self.report.slowest)
        self.tell(
            Progress(self.stage.name, self.report.done + len(self.report.failed) + len(self.failures), self.total)
        )
