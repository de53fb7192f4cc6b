"""The test runs of a project, and one run: how far it is, its cases, its failures and whether it can be closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.configuration import list_environments, status_looks
from service.domain.cycles import cycle_names
from service.domain.run_summaries import count_without_defect, failed_cases
from service.domain.runs import get_run, list_runs, run_document
from service.web.looks import looks_of
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit

_CLOSED = {"open": False, "closed": True}
_FAILURES = 50


@page("/projects/<int:project_id>/runs", needs=[Permission.VIEW_TEST_RUNS])
async def runs(visit: Visit, project_id: int) -> Response:
    """Show the runs that pass the filters, the newest first."""
    shown = visit.choice("show", tuple(_CLOSED))
    found = await list_runs(
        visit.work,
        project_id,
        closed=None if shown is None else _CLOSED[shown],
        cycle_id=visit.number("cycle"),
        environment_id=visit.number("environment"),
        cursor=visit.text("cursor"),
    )
    return await visit.render(
        "runs.html",
        found=found,
        looks=looks_of(await status_looks(visit.work)),
        cycles=await cycle_names(visit.work, project_id),
        environments=(await list_environments(visit.work, project_id, context="RUNS"))["items"],
    )


@page("/projects/<int:project_id>/runs/<int:run_id>", needs=[Permission.VIEW_TEST_RUNS])
async def run(visit: Visit, project_id: int, run_id: int) -> Response:
    """Show a run: its progress, which the browser keeps up to date, its failures, and a page of its cases."""
    status = visit.number("status")
    found = await get_run(
        visit.work,
        project_id,
        run_id,
        status_ids=[] if status is None else [status],
        assignee_id=visit.number("assignee"),
        cursor=visit.text("cursor"),
    )
    statuses = await status_looks(visit.work)
    return await visit.render(
        "run.html",
        run=found,
        statuses=[known for known in statuses if known["name"] in found["counts"]],
        failures=(await failed_cases(visit.work, run_id, without_defect=False))[:_FAILURES],
        **await _progress(visit, found, statuses),
    )


@page("/projects/<int:project_id>/runs/<int:run_id>/progress", needs=[Permission.VIEW_TEST_RUNS])
async def progress(visit: Visit, project_id: int, run_id: int) -> Response:
    """Show the part of a run's page that changes while agents work."""
    found = await run_document(visit.work, project_id, run_id)
    statuses = await status_looks(visit.work)
    return await visit.render_part("run_progress.html", run=found, **await _progress(visit, found, statuses))


async def _progress(visit: Visit, found: Document, statuses: list[Document]) -> Document:
    failed = {status["name"] for status in statuses if status["failure"]} & set(found["counts"])
    without = await count_without_defect(visit.work, found["id"]) if failed else 0
    return {
        "looks": looks_of(statuses),
        "failed": sum(found["counts"][name] for name in failed),
        "without_defect": without,
        "guarded": (await failed_cases(visit.work, found["id"], without_defect=True))[:_FAILURES] if without else [],
    }
