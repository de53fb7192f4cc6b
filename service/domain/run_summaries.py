"""What a test run comes to: totals, who did what, where, and which failures have no defect yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.pages import fitting
from service.domain.runs import run_document
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# Characters of JSON, so that a summary is read like a default page.
_ROOM = 4_000
_MOST_FAILED = 200
_FIGURES = ("id", "title", "closed", "caseCount", "counts", "progress", "passRate")


async def summarise_run(work: Work, project_id: int, run_id: int) -> Document:
    """Return the run's figures: counts, progress, pass rate, time spent, by assignee, by folder, and its failures."""
    run = await run_document(work, project_id, run_id)
    totals = await work.connection.fetchrow(_SQL["run_totals"], run_id)
    assert totals is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    lists: dict[str, tuple[list[Document], int]] = {}
    for name, query in (("byAssignee", "counts_by_assignee"), ("byFolder", "counts_by_folder")):
        rows = [row["document"] for row in await work.connection.fetch(_SQL[query], run_id)]
        lists[name] = (rows, len(rows))
    lists["failedWithDefect"] = (await failed_cases(work, run_id, without_defect=False), totals["with_defect"])
    lists["failedWithoutDefect"] = (await failed_cases(work, run_id, without_defect=True), totals["without_defect"])
    shown = {name: _first(rows) for name, (rows, _) in lists.items()}
    document: Document = {
        **{key: run[key] for key in _FIGURES if key in run},
        "elapsedSeconds": totals["elapsed_seconds"],
        "failed": {"withDefect": totals["with_defect"], "withoutDefect": totals["without_defect"]},
        **shown,
    }
    cut = [f"{len(shown[name])} of {total} of {name}" for name, (_, total) in lists.items() if len(shown[name]) < total]
    if cut:
        document["truncated"] = f"Only {', '.join(cut)} are shown; get_test_run pages through the cases (failedOnly)."
    return document


async def failed_cases(work: Work, run_id: int, *, without_defect: bool) -> list[Document]:
    """Return the failed cases of a run that have a defect, or those that have none; 200 at most."""
    rows = await work.connection.fetch(_SQL["failed_cases"], run_id, without_defect, _MOST_FAILED)
    return [row["document"] for row in rows]


async def count_without_defect(work: Work, run_id: int) -> int:
    """Return how many failed cases of a run have no defect."""
    totals = await work.connection.fetchrow(_SQL["run_totals"], run_id)
    assert totals is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    count: int = totals["without_defect"]
    return count


def _first(rows: Sequence[Document]) -> list[Document]:
    return list(rows[: fitting(rows, _ROOM)])
