"""A project at a glance: results over time, and who did what last."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# How far back recent activity is looked for: a call that changes many objects is one entry, but many changes.
_MOST_CHANGES = 600


async def project_figures(work: Work, project_ids: Sequence[int]) -> dict[int, Document]:
    """Return how many cases and open runs each project has."""
    rows = await work.connection.fetch(_SQL["figures"], project_ids)
    return {row["id"]: {"cases": row["cases"], "openRuns": row["open_runs"]} for row in rows}


async def results_by_day(work: Work, project_id: int, *, days: int) -> list[Document]:
    """Return, for each of the last *days*, the results by status, how many are completed, and successful of these."""
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days - 1)
    items: list[Document] = [
        {"day": first + dt.timedelta(days=n), "counts": {}, "completed": 0, "success": 0} for n in range(days)
    ]
    for row in await work.connection.fetch(_SQL["results_by_day"], project_id, first):
        place = (row["day"] - first).days
        # A result of the last seconds may be of a day that has just begun.
        if place >= days:
            continue
        item = items[place]
        item["counts"][row["status"]] = row["results"]
        item["completed"] += row["results"] if row["completed"] else 0
        item["success"] += row["results"] if row["completed"] and row["success"] else 0
    return items


async def recent_activity(work: Work, project_id: int, *, limit: int) -> list[Document]:
    """Return what was done last in the project, the latest first; the changes of one call are one entry."""
    rows = await work.connection.fetch(_SQL["activity"], project_id, _MOST_CHANGES, limit)
    return [row["document"] for row in rows]
