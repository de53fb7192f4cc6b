"""Explain access: what a user may do in a project, and why, rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.administration import Duty
from service.domain.effective_access import explain_access
from service.web.admin.forms import FORM, telling
from service.web.admin.roles import AREAS
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit


@page("/admin/access", duty=Duty.SEE_PEOPLE)
async def access(visit: Visit) -> Response:
    """Show the verdict on a user in one project with every rule, or in all of them."""
    user, project = visit.text("user"), visit.text("project")
    faults: dict[str, str] = {}
    found: Document | None = None
    if user is not None:
        async with telling(visit, faults, {"user": "user", "project": "project"}):
            found = await explain_access(visit.work, user, project=project)
    elif project is not None:
        faults["user"] = "Write an e-mail address."
    form = {"user": user or "", "project": project or ""}
    if found is not None:
        form["user"] = found["user"]["email"]
        form["project"] = found["projects"][0]["project"]["name"] if project else ""
    return await visit.render(
        "admin/access.html",
        status=422 if faults else 200,
        found=found,
        one=found["projects"][0] if found and project else None,
        areas=AREAS,
        form=form,
        faults=faults,
        fault=faults.get(FORM, ""),
    )
