"""Roles: all of them side by side with their permissions; made, changed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.administration import Duty
from service.domain.roles import RolePatch, change_role, create_role, delete_role, get_role, list_roles
from service.web.admin.forms import FORM, existing, telling
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit

_PLACES = {"name of a role": "name", "description": "description"}
# What the permissions are about, and how their names end that are about it.
_ENDS = {
    "Test cases": "_TEST_CASES",
    "Test runs": "_TEST_RUNS",
    "Folders": "_FOLDERS",
    "Cycles": "_CYCLES",
    "External references": "_EXTERNAL_REFERENCES",
    "Comments": "_COMMENTS",
}
#: The permissions as people read them: by what they are about, each with the rest of its name.
AREAS = {
    area: {one: one.removesuffix(end).replace("_", " ").capitalize() for one in Permission if one.endswith(end)}
    for area, end in _ENDS.items()
} | {
    "Results": {Permission.EXECUTE_TESTS: "Record", Permission.REVIEW_RESULTS: "Review"},
    "Reports": {Permission.VIEW_DASHBOARD: "Dashboard", Permission.VIEW_ADVANCED_REPORTS: "Advanced"},
}


@page("/admin/roles", duty=Duty.SEE_PEOPLE)
async def roles(visit: Visit) -> Response:
    """Show which role permits what."""
    found = (await list_roles(visit.work))["items"]
    return await visit.render(
        "admin/roles.html", roles=found, areas=AREAS, may_manage=visit.has_duty(Duty.MANAGE_ROLES)
    )


@page("/admin/roles/new", duty=Duty.MANAGE_ROLES)
async def show_new_role(visit: Visit) -> Response:
    """Show the form of a role."""
    return await _form(visit, None, {})


@page("/admin/roles/new", duty=Duty.MANAGE_ROLES, form=True)
async def make_role(visit: Visit) -> Response:
    """Create a role."""
    form, faults = visit.form, dict[str, str]()
    async with telling(visit, faults, _PLACES):
        await create_role(
            visit.work,
            name=form.get("name", ""),
            description=form.get("description", ""),
            permissions=_ticked(visit),
            default="default" in form,
        )
    if faults:
        return await _form(visit, None, faults)
    return visit.go_to("admin/roles", said=f"The role {form['name'].strip()} is created.")


@page("/admin/roles/<int:role_id>", duty=Duty.MANAGE_ROLES)
async def role(visit: Visit, role_id: int) -> Response:
    """Show a role's form."""
    return await _form(visit, await existing(get_role(visit.work, role_id)), {})


@page("/admin/roles/<int:role_id>", duty=Duty.MANAGE_ROLES, form=True)
async def save_role(visit: Visit, role_id: int) -> Response:
    """Change a role."""
    found = await existing(get_role(visit.work, role_id))
    form, faults = visit.form, dict[str, str]()
    patch = RolePatch(
        name=form.get("name", ""),
        description=form.get("description", ""),
        permissions=_ticked(visit),
        default="default" in form or None,
    )
    async with telling(visit, faults, _PLACES):
        await change_role(visit.work, role_id, patch)
    if faults:
        return await _form(visit, found, faults)
    return visit.go_to("admin/roles", said="The role is changed; it holds from the next request of everybody on.")


@page("/admin/roles/<int:role_id>/delete", duty=Duty.MANAGE_ROLES)
async def confirm_deletion(visit: Visit, role_id: int) -> Response:
    """Ask whether to delete a role."""
    found = await existing(get_role(visit.work, role_id))
    return await visit.render("admin/role_delete.html", role=found, fault="")


@page("/admin/roles/<int:role_id>/delete", duty=Duty.MANAGE_ROLES, form=True)
async def remove_role(visit: Visit, role_id: int) -> Response:
    """Delete a role that is not in use."""
    found = await existing(get_role(visit.work, role_id))
    faults: dict[str, str] = {}
    async with telling(visit, faults, {}):
        await delete_role(visit.work, role_id)
    if faults:
        return await visit.render("admin/role_delete.html", status=422, role=found, fault=faults[FORM])
    return visit.go_to("admin/roles", said=f"The role {found['name']} is deleted.")


def _ticked(visit: Visit) -> list[str]:
    return [permission for permission in Permission if permission in visit.form]


async def _form(visit: Visit, found: Document | None, faults: dict[str, str]) -> Response:
    stored = {"name": "", "description": ""} if found is None else dict(found)
    held = _ticked(visit) if visit.form else stored.get("permissions", [])
    return await visit.render(
        "admin/role.html",
        status=422 if faults else 200,
        role=found,
        form=stored | dict(visit.form),
        held=held,
        makes_default="default" in visit.form,
        areas=AREAS,
        faults=faults,
    )
