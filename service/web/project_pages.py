"""The workspace's projects, and one project at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.configuration import status_looks
from service.domain.coverage import coverage_gaps
from service.domain.dashboard import project_figures, recent_activity, results_by_day
from service.domain.projects import get_project, list_projects
from service.domain.runs import list_runs
from service.web.charts import Day
from service.web.looks import looks_of
from service.web.visitors import TABS, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit

_DAYS = 30
_ENTRIES = 12
_OPEN_RUNS = 8

# What one must be allowed to see for an entry of the activity to be told, by the type of object. What administrators do
# is not told here.
_NEEDED = {
    "case": Permission.VIEW_TEST_CASES,
    "comment": Permission.VIEW_TEST_CASES,
    "folder": Permission.VIEW_TEST_CASES,
    "run": Permission.VIEW_TEST_RUNS,
    "result": Permission.VIEW_TEST_RUNS,
    "cycle": Permission.VIEW_CYCLES,
    "link": Permission.VIEW_EXTERNAL_REFERENCES,
}


@page("/")
async def projects(visit: Visit) -> Response:
    """Show the projects that the visitor may enter."""
    found = (await list_projects(visit.work, include_completed=True))["items"]
    figures = await project_figures(visit.work, [project["id"] for project in found])
    return await visit.render(
        "projects.html",
        active=[project for project in found if not project["completed"]],
        completed=[project for project in found if project["completed"]],
        figures=figures,
        starts={project["id"]: _start(project) for project in found},
    )


@page("/projects/<int:project_id>", needs=[Permission.VIEW_DASHBOARD])
async def dashboard(visit: Visit, project_id: int) -> Response:
    """Show the open runs, results over time and what was done last."""
    sees_runs = visit.may(Permission.VIEW_TEST_RUNS)
    days: list[Document] = []
    runs: Document = {"items": [], "total": 0}
    if sees_runs:
        runs = await list_runs(visit.work, project_id, closed=False, limit=_OPEN_RUNS)
        days = await results_by_day(visit.work, project_id, days=_DAYS)
    activity = [
        entry
        for entry in await recent_activity(visit.work, project_id, limit=_ENTRIES)
        if entry["objectType"] in _NEEDED and visit.may(_NEEDED[entry["objectType"]])
    ]
    return await visit.render(
        "dashboard.html",
        summary=(await get_project(visit.work, project_id)).get("summary"),
        figures=(await project_figures(visit.work, [project_id]))[project_id],
        runs=runs,
        days=[Day(day=day["day"], counts=day["counts"], pass_rate=_pass_rate([day])) for day in days],
        recorded=_together(days),
        most=max((sum(day["counts"].values()) for day in days), default=0),
        pass_rate=_pass_rate(days),
        looks=looks_of(await status_looks(visit.work)),
        activity=activity,
        key_ids={entry["apiKeyId"] for entry in activity if "apiKeyId" in entry},
        sees_coverage=_sees_coverage(visit),
    )


@page(
    "/projects/<int:project_id>/coverage",
    needs=[Permission.VIEW_DASHBOARD, Permission.VIEW_TEST_CASES, Permission.VIEW_EXTERNAL_REFERENCES],
)
async def coverage(visit: Visit, project_id: int) -> Response:
    """Show the figures of coverage: a part of the dashboard that is loaded after it, since it reads every case."""
    layout = "part.html" if visit.text("part") else "project.html"
    gaps = (await coverage_gaps(visit.work, project_id))["gaps"]
    return await visit.render("coverage.html", layout=layout, gaps=gaps)


def _start(project: Document) -> str | None:
    """Return the first page of a project that the visitor may see, None if there is none."""
    return next((path for path, _, needed in TABS if needed in project["permissions"]), None)


def _sees_coverage(visit: Visit) -> bool:
    return visit.may(Permission.VIEW_TEST_CASES) and visit.may(Permission.VIEW_EXTERNAL_REFERENCES)


def _together(days: Sequence[Document]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for day in days:
        for status, count in day["counts"].items():
            counts[status] = counts.get(status, 0) + count
    return counts


def _pass_rate(days: Sequence[Document]) -> float | None:
    completed = sum(day["completed"] for day in days)
    return sum(day["success"] for day in days) / completed if completed else None
