"""Access groups: made, changed, enabled and disabled; their members."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.domain.administration import Duty
from service.domain.groups import (
    GroupPatch,
    add_members,
    change_group,
    create_group,
    get_group,
    list_groups,
    remove_members,
)
from service.domain.users import list_users
from service.web.admin.forms import chosen, existing, telling
from service.web.admin.users import PAGE_SIZE
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Visit

_PLACES = {"name of a group": "name", "description": "description", "user": "members"}


@page("/admin/groups", duty=Duty.SEE_PEOPLE)
async def groups(visit: Visit) -> Response:
    """Show the groups."""
    found = (await list_groups(visit.work))["items"]
    return await visit.render("admin/groups.html", groups=found, may_manage=visit.has_duty(Duty.MANAGE_GROUPS))


@page("/admin/groups/new", duty=Duty.MANAGE_GROUPS)
async def show_new_group(visit: Visit) -> Response:
    """Show the form of a group."""
    return await visit.render("admin/group_new.html", form={}, faults={})


@page("/admin/groups/new", duty=Duty.MANAGE_GROUPS, form=True)
async def make_group(visit: Visit) -> Response:
    """Create a group with its first members."""
    form, faults, made = visit.form, dict[str, str](), dict[str, object]()
    async with telling(visit, faults, _PLACES):
        made = await create_group(
            visit.work, name=form.get("name", ""), description=form.get("description", ""), members=_emails(visit)
        )
    if faults:
        return await visit.render("admin/group_new.html", status=422, form=form, faults=faults)
    return visit.go_to(f"admin/groups/{made['id']}", said=f"The group {made['name']} is created.")


@page("/admin/groups/<int:group_id>", duty=Duty.SEE_PEOPLE)
async def group(visit: Visit, group_id: int) -> Response:
    """Show a group with its members."""
    return await _group(visit, group_id, {})


@page("/admin/groups/<int:group_id>", duty=Duty.MANAGE_GROUPS, form=True)
async def save_group(visit: Visit, group_id: int) -> Response:
    """Change a group, or enable or disable it."""
    await existing(get_group(visit.work, group_id))
    form, faults = visit.form, dict[str, str]()
    enabled = {"on": True, "off": False}.get(form.get("enabled", ""))
    patch = GroupPatch(name=form.get("name"), description=form.get("description"), enabled=enabled)
    async with telling(visit, faults, _PLACES):
        await change_group(visit.work, group_id, patch)
    if faults:
        return await _group(visit, group_id, faults)
    return visit.go_to(f"admin/groups/{group_id}", said="The group is changed; it holds from the next request on.")


@page("/admin/groups/<int:group_id>/members", duty=Duty.MANAGE_GROUPS, form=True)
async def change_members(visit: Visit, group_id: int) -> Response:
    """Put users into a group, or take one out."""
    await existing(get_group(visit.work, group_id))
    faults: dict[str, str] = {}
    removed, added = chosen(visit.form, "remove"), _emails(visit)
    async with telling(visit, faults, _PLACES):
        if removed is not None:
            await remove_members(visit.work, group_id, [removed])
        elif added:
            await add_members(visit.work, group_id, added)
        else:
            faults["members"] = "Write at least one e-mail address."
    if faults:
        return await _group(visit, group_id, faults)
    said = "The members are changed; it holds from their next request on."
    return visit.go_to(f"admin/groups/{group_id}", said=said, anchor="members-title")


async def _group(visit: Visit, group_id: int, faults: dict[str, str]) -> Response:
    found = await existing(get_group(visit.work, group_id))
    members = await list_users(visit.work, group=group_id, limit=PAGE_SIZE, cursor=visit.text("cursor"))
    return await visit.render(
        "admin/group.html",
        status=422 if faults else 200,
        group=found,
        members=members,
        form=found | {"members": ""} | dict(visit.form),
        faults=faults,
        may_manage=visit.has_duty(Duty.MANAGE_GROUPS),
    )


def _emails(visit: Visit) -> list[str]:
    return [one for one in re.split(r"[\s,;]+", visit.form.get("members", "")) if one]
