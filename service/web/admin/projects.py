"""Projects as administrators see them: all of them, with their settings, and the rules of access to each."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from service.access import AccessMode, DefaultAccess
from service.domain.administration import Duty
from service.domain.groups import get_group, list_groups
from service.domain.project_rules import (
    Holder,
    RulePatch,
    find_rule,
    list_group_rules,
    list_user_rules,
    remove_group_rules,
    remove_user_rules,
    set_group_rules,
    set_user_rules,
)
from service.domain.project_settings import (
    ProjectPatch,
    change_project,
    create_project,
    get_project,
    list_all_projects,
)
from service.domain.roles import list_roles
from service.domain.users import get_user
from service.web.admin.forms import chosen, existing, telling, version_of
from service.web.admin.users import PAGE_SIZE
from service.web.visitors import page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart import Response

    from service.domain.named import Ref
    from service.domain.work import Document
    from service.web.visitors import Visit

_HOLDERS: dict[str, Holder] = {"users": "user", "groups": "group"}
_STATES = {"active": False, "completed": True}
_PLACES = {
    "name of a project": "name",
    "summary": "summary",
    "icon": "icon",
    "default access": "access",
    "role": "role",
}
_RULE_PLACES = {"user": "holder", "group": "holder", "access mode": "mode", "role": "role"}
_NEW = {"name": "", "summary": "", "icon": "", "access": DefaultAccess.GLOBAL_ROLE.value, "role": ""}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@page("/admin/projects", duty=Duty.MANAGE_PROJECTS)
async def administered_projects(visit: Visit) -> Response:
    """Show the projects, whoever may enter them."""
    state = visit.choice("state", _STATES)
    found = await list_all_projects(
        visit.work,
        completed=None if state is None else _STATES[state],
        search=(visit.text("search") or "").strip(),
        limit=PAGE_SIZE,
        cursor=visit.text("cursor"),
    )
    return await visit.render("admin/projects.html", found=found)


@page("/admin/projects/new", duty=Duty.MANAGE_PROJECTS)
async def show_new_project(visit: Visit) -> Response:
    """Show the form of a project."""
    return await _new(visit, {})


@page("/admin/projects/new", duty=Duty.MANAGE_PROJECTS, form=True)
async def make_project(visit: Visit) -> Response:
    """Create a project."""
    faults: dict[str, str] = {}
    made: Document = {}
    async with telling(visit, faults, _PLACES):
        made = await create_project(visit.work, **_settings(visit.form))
    if faults:
        return await _new(visit, faults)
    return visit.go_to(f"admin/projects/{made['id']}", said=f"The project {made['name']} is created.")


# The argument is not called project_id: administrators need not be let in by the project's own rules.
@page("/admin/projects/<int:subject_id>", duty=Duty.MANAGE_PROJECTS)
async def administered_project(visit: Visit, subject_id: int) -> Response:
    """Show a project's settings, and who may enter it."""
    return await _project(visit, subject_id, {})


@page("/admin/projects/<int:subject_id>", duty=Duty.MANAGE_PROJECTS, form=True)
async def save_project(visit: Visit, subject_id: int) -> Response:
    """Change a project."""
    await existing(get_project(visit.work, subject_id))
    faults: dict[str, str] = {}
    async with telling(visit, faults, _PLACES):
        patch = ProjectPatch(**_settings(visit.form))
        await change_project(visit.work, subject_id, patch, expected_version=version_of(visit.form))
    if faults:
        return await _project(visit, subject_id, faults)
    said = "The project is changed; who may enter it, from the next request on."
    return visit.go_to(f"admin/projects/{subject_id}", said=said)


@page("/admin/projects/<int:subject_id>/<any(complete,reopen):verb>", duty=Duty.MANAGE_PROJECTS, form=True)
async def complete_project(visit: Visit, subject_id: int, verb: str) -> Response:
    """Complete a project, or reopen it."""
    found = await existing(change_project(visit.work, subject_id, ProjectPatch(completed=verb == "complete")))
    said = "is completed, and out of the way of agents" if found["completed"] else "is active again"
    return visit.go_to(f"admin/projects/{subject_id}", said=f"The project {found['name']} {said}.")


@page("/admin/projects/<int:subject_id>/<any(users,groups):kind>/new", duty=Duty.MANAGE_PROJECTS)
async def show_new_rule(visit: Visit, subject_id: int, kind: str) -> Response:
    """Show the form of a rule."""
    return await _rule(visit, subject_id, kind)


@page("/admin/projects/<int:subject_id>/<any(users,groups):kind>/new", duty=Duty.MANAGE_PROJECTS, form=True)
async def make_rule(visit: Visit, subject_id: int, kind: str) -> Response:
    """Make a rule, or change the one that there is."""
    typed = visit.form.get("holder", "")
    holder = chosen(visit.form, "holder") if kind == "groups" else typed
    faults = {} if holder else {"holder": "Choose a group." if kind == "groups" else "Write an e-mail address."}
    return await _save_rule(visit, subject_id, kind, holder, faults=faults)


@page("/admin/projects/<int:subject_id>/<any(users,groups):kind>/<int:holder_id>", duty=Duty.MANAGE_PROJECTS)
async def rule(visit: Visit, subject_id: int, kind: str, holder_id: int) -> Response:
    """Show a rule's form."""
    holder = await _holder(visit, kind, holder_id)
    await existing(get_project(visit.work, subject_id))
    stored = await find_rule(visit.work, subject_id, _HOLDERS[kind], holder_id)
    return await _rule(visit, subject_id, kind, holder=holder, stored=stored or {})


@page("/admin/projects/<int:subject_id>/<any(users,groups):kind>/<int:holder_id>", duty=Duty.MANAGE_PROJECTS, form=True)
async def save_rule(visit: Visit, subject_id: int, kind: str, holder_id: int) -> Response:
    """Change a rule, or make it."""
    holder = await _holder(visit, kind, holder_id)
    return await _save_rule(visit, subject_id, kind, holder_id, holder=holder)


@page(
    "/admin/projects/<int:subject_id>/<any(users,groups):kind>/<int:holder_id>/remove",
    duty=Duty.MANAGE_PROJECTS,
    form=True,
)
async def remove_rule(visit: Visit, subject_id: int, kind: str, holder_id: int) -> Response:
    """Remove a rule: what comes after it decides."""
    await existing(get_project(visit.work, subject_id))
    holder = await _holder(visit, kind, holder_id)
    remove = remove_user_rules if kind == "users" else remove_group_rules
    await remove(visit.work, subject_id, [holder_id])
    said = f"The rule of {holder['name']} is removed."
    return visit.go_to(f"admin/projects/{subject_id}", said=said, anchor="rules")


def _settings(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that a form gives. A role that no default access needs is not meant."""
    access = form.get("access", "")
    return {
        "name": form.get("name", ""),
        "summary": form.get("summary", ""),
        "icon": form.get("icon", ""),
        "default_access": access,
        "default_role": chosen(form, "role") if access == DefaultAccess.ROLE else None,
    }


async def _new(visit: Visit, faults: dict[str, str]) -> Response:
    return await visit.render(
        "admin/project_new.html",
        status=422 if faults else 200,
        form=_NEW | dict(visit.form),
        faults=faults,
        roles=(await list_roles(visit.work))["items"],
        accesses=list(DefaultAccess),
    )


async def _project(visit: Visit, subject_id: int, faults: dict[str, str]) -> Response:
    found = await existing(get_project(visit.work, subject_id))
    roles = (await list_roles(visit.work))["items"]
    stored = {
        "name": found["name"],
        "summary": found["summary"],
        "icon": found.get("icon", ""),
        "access": found["defaultAccess"],
        "role": next((role["id"] for role in roles if role["name"] == found.get("defaultRole")), ""),
    }
    return await visit.render(
        "admin/project.html",
        status=422 if faults else 200,
        subject=found,
        form=stored | dict(visit.form),
        faults=faults,
        roles=roles,
        accesses=list(DefaultAccess),
        user_rules=await list_user_rules(visit.work, subject_id, limit=PAGE_SIZE, cursor=visit.text("cursor")),
        group_rules=(await list_group_rules(visit.work, subject_id))["items"],
        may_read_audit=visit.has_duty(Duty.READ_AUDIT_LOG),
    )


async def _save_rule(
    visit: Visit,
    subject_id: int,
    kind: str,
    ref: Ref | None,
    *,
    holder: Document | None = None,
    faults: Mapping[str, str] = _NOTHING,
) -> Response:
    faults = dict(faults)
    await existing(get_project(visit.work, subject_id))
    form, mode = visit.form, visit.form.get("mode", "")
    # A role that the mode does not force is not meant.
    role = chosen(form, "role") if mode == AccessMode.FORCE_ROLE else None
    if not faults and ref is not None:
        async with telling(visit, faults, _RULE_PLACES):
            if kind == "users":
                override = chosen(form, "override")
                patch = RulePatch(mode=mode, role=role, override="" if override is None else override)
                await set_user_rules(visit.work, subject_id, [ref], patch)
            else:
                await set_group_rules(visit.work, subject_id, [ref], RulePatch(mode=mode, role=role))
    if faults:
        return await _rule(visit, subject_id, kind, holder=holder, faults=faults)
    said = "The rule is stored; it holds from the next request on."
    return visit.go_to(f"admin/projects/{subject_id}", said=said, anchor="rules")


async def _rule(
    visit: Visit,
    subject_id: int,
    kind: str,
    *,
    holder: Document | None = None,
    stored: Mapping[str, Any] = _NOTHING,
    faults: Mapping[str, str] = _NOTHING,
) -> Response:
    """Return the form of a rule: of that *holder*, or of one that is still to be chosen."""
    found = await existing(get_project(visit.work, subject_id))
    roles = (await list_roles(visit.work))["items"]
    ids = {role["name"]: role["id"] for role in roles}
    form = {
        "mode": stored.get("mode", AccessMode.INHERIT.value),
        "role": ids.get(stored.get("role"), ""),
        "override": ids.get(stored.get("override"), ""),
        "holder": visit.text("holder") or "",
    }
    return await visit.render(
        "admin/rule.html",
        status=422 if faults else 200,
        subject=found,
        kind=kind,
        holder=holder,
        groups=(await list_groups(visit.work))["items"] if kind == "groups" and holder is None else [],
        roles=roles,
        modes=list(AccessMode),
        form=form | dict(visit.form),
        faults=faults,
    )


async def _holder(visit: Visit, kind: str, holder_id: int) -> Document:
    return await existing(get_user(visit.work, holder_id) if kind == "users" else get_group(visit.work, holder_id))
