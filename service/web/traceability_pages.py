"""Traceability: what the tests say of each issue, and what is not tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.configuration import status_looks
from service.domain.coverage import KINDS, VERDICTS, coverage_gaps, list_issues, trace_issue
from service.web.looks import looks_of
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Visit

_NEEDS = [Permission.VIEW_TEST_CASES, Permission.VIEW_EXTERNAL_REFERENCES]


@page("/projects/<int:project_id>/traceability", needs=_NEEDS)
async def traceability(visit: Visit, project_id: int) -> Response:
    """Show the issues with the verdicts on them."""
    found = await list_issues(
        visit.work, project_id, verdict=visit.choice("verdict", VERDICTS), cursor=visit.text("cursor")
    )
    return await visit.render("traceability.html", found=found)


@page("/projects/<int:project_id>/traceability/gaps", needs=_NEEDS)
async def gaps(visit: Visit, project_id: int) -> Response:
    """Show how many gaps there are, and those of one kind."""
    kind = visit.choice("kind", KINDS) or KINDS[0]
    found = await coverage_gaps(visit.work, project_id, kind=kind, cursor=visit.text("cursor"))
    return await visit.render("gaps.html", found=found)


@page("/projects/<int:project_id>/traceability/issues/<int:issue_id>", needs=_NEEDS)
async def issue(visit: Visit, project_id: int, issue_id: int) -> Response:
    """Show an issue: the cases that cover it, where they were executed, the defects raised."""
    return await visit.render(
        "issue.html",
        issue=await trace_issue(visit.work, project_id, issue_id),
        looks=looks_of(await status_looks(visit.work)),
        sees_runs=visit.may(Permission.VIEW_TEST_RUNS),
        sees_cycles=visit.may(Permission.VIEW_CYCLES),
    )
