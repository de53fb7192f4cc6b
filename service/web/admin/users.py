"""Users: found, invited, changed, deactivated; their groups, keys and access on one page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from service.access import AccessLevel
from service.audit import Change
from service.domain.administration import Duty, require
from service.domain.effective_access import explain_access
from service.domain.groups import add_members, list_groups, remove_members
from service.domain.roles import list_roles
from service.domain.users import UserPatch, change_user, create_user, get_user, list_users
from service.errors import NotFoundOrDenied
from service.links import LIFETIMES, Link, Purpose
from service.web.admin.forms import FORM, chosen, existing, telling, version_of
from service.web.invitations import can_mail, letter, link_to_show
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit
    from tenancy.keys import ApiKey

PAGE_SIZE = 50
# The projects that a user's page tells the access to; the page that explains it tells all of them.
_PROJECTS = 50
_STATES = {"active": True, "deactivated": False}
_PLACES = {"e-mail address": "email", "name of a user": "name", "access level": "level", "role": "role"}


@page("/admin/users", duty=Duty.SEE_PEOPLE)
async def users(visit: Visit) -> Response:
    """Show the users that pass the filters."""
    state, level = visit.choice("state", _STATES), visit.choice("level", list(AccessLevel))
    found = await list_users(
        visit.work,
        active=None if state is None else _STATES[state],
        access_level=level,
        search=(visit.text("search") or "").strip(),
        limit=PAGE_SIZE,
        cursor=visit.text("cursor"),
    )
    accounts = await visit.web.accounts.look_at_users(visit.session, [user["id"] for user in found["items"]])
    return await visit.render("admin/users.html", found=found, accounts=accounts, levels=list(AccessLevel))


@page("/admin/users/new", duty=Duty.INVITE_USERS)
async def show_invite(visit: Visit) -> Response:
    """Show the form of an invitation."""
    return await _invitation(visit, {})


@page("/admin/users/new", duty=Duty.INVITE_USERS, form=True)
async def invite(visit: Visit) -> Response:
    """Create a user, and let them in by a link."""
    form, faults, user = visit.form, dict[str, str](), dict[str, object]()
    async with telling(visit, faults, _PLACES):
        user = await create_user(
            visit.work,
            email=form.get("email", ""),
            name=form.get("name", ""),
            access_level=form.get("level", ""),
            role=chosen(form, "role"),
        )
    if faults:
        return await _invitation(visit, faults)
    return await _let_in(visit, user, Purpose.INVITATION, by_mail=can_mail(visit))


@page("/admin/users/<int:user_id>", duty=Duty.SEE_PEOPLE)
async def user(visit: Visit, user_id: int) -> Response:
    """Show a user."""
    return await _user(visit, user_id, {})


@page("/admin/users/<int:user_id>", duty=Duty.MANAGE_USERS, form=True)
async def change(visit: Visit, user_id: int) -> Response:
    """Change a user."""
    await existing(get_user(visit.work, user_id))
    form, faults = visit.form, dict[str, str]()
    patch = UserPatch(
        email=form.get("email", ""),
        name=form.get("name", ""),
        # One's own cannot be changed, and is not asked for.
        access_level=form.get("level"),
        role=chosen(form, "role"),
    )
    async with telling(visit, faults, _PLACES):
        await change_user(visit.work, user_id, patch, expected_version=version_of(form))
    if faults:
        return await _user(visit, user_id, faults)
    return visit.go_to(f"admin/users/{user_id}", said="The user is changed; it holds from their next request on.")


@page("/admin/users/<int:user_id>/<any(activate,deactivate):verb>", duty=Duty.MANAGE_USERS)
async def confirm_state(visit: Visit, user_id: int, verb: str) -> Response:
    """Ask whether to deactivate or activate a user."""
    return await _confirmation(visit, user_id, verb, {})


@page("/admin/users/<int:user_id>/<any(activate,deactivate):verb>", duty=Duty.MANAGE_USERS, form=True)
async def set_state(visit: Visit, user_id: int, verb: str) -> Response:
    """Deactivate a user with their session and keys, or activate them with these."""
    active, faults = verb == "activate", dict[str, str]()
    user = await existing(get_user(visit.work, user_id))
    async with telling(visit, faults, {}):
        await change_user(visit.work, user_id, UserPatch(active=active))
    if faults:
        return await _confirmation(visit, user_id, verb, faults)
    # While the user's row is locked, so that of two who do opposite things both leave the account as the user is. If
    # the commit fails after this, whoever is deactivated in either place gets in nowhere, and doing it again mends it.
    if not await visit.web.accounts.set_user_active(visit.session, user_id, active=active):
        raise NotFoundOrDenied
    said = "is active again, and so are their keys" if active else "is deactivated: session and keys have ended"
    return visit.go_to(f"admin/users/{user_id}", said=f"{user['name']} {said}.")


@page("/admin/users/<int:user_id>/link", duty=Duty.MANAGE_USERS, form=True)
async def make_link(visit: Visit, user_id: int) -> Response:
    """Make the link by which a user sets their first or another password."""
    user = await existing(get_user(visit.work, user_id))
    if not user["active"]:
        raise NotFoundOrDenied
    accounts = await visit.web.accounts.look_at_users(visit.session, [user_id])
    purpose = Purpose.RESET if accounts[user_id].has_password else Purpose.INVITATION
    by_mail = visit.form.get("how") == "mail" and can_mail(visit)
    return await _let_in(visit, user, purpose, by_mail=by_mail)


@page("/admin/users/<int:user_id>/groups", duty=Duty.MANAGE_GROUPS, form=True)
async def change_groups(visit: Visit, user_id: int) -> Response:
    """Put a user into a group, or take them out of one."""
    await existing(get_user(visit.work, user_id))
    form, faults = visit.form, dict[str, str]()
    removed, added = chosen(form, "remove"), chosen(form, "add")
    async with telling(visit, faults, {"group": "add"}):
        if removed is not None:
            await remove_members(visit.work, removed, [user_id])
        elif added is not None:
            await add_members(visit.work, added, [user_id])
        else:
            faults["add"] = "Choose a group."
    if faults:
        return await _user(visit, user_id, faults)
    return visit.go_to(f"admin/users/{user_id}", said="The groups are changed.", anchor="groups")


@page("/admin/users/<int:user_id>/keys/<int:key_id>/revoke", duty=Duty.MANAGE_USERS)
async def confirm_revocation_for(visit: Visit, user_id: int, key_id: int) -> Response:
    """Ask whether to revoke a user's key."""
    user, key = await _key(visit, user_id, key_id)
    return await visit.render("admin/user_key.html", person=user, key=key)


@page("/admin/users/<int:user_id>/keys/<int:key_id>/revoke", duty=Duty.MANAGE_USERS, form=True)
async def revoke_key_for(visit: Visit, user_id: int, key_id: int) -> Response:
    """Revoke a user's key for good."""
    await require(visit.work, Duty.MANAGE_USERS)
    _, key = await _key(visit, user_id, key_id)
    await visit.web.accounts.revoke_user_key(visit.session, user_id, key_id)
    said = f"The key “{key.label}” is revoked. Its next request is refused."
    return visit.go_to(f"admin/users/{user_id}", said=said, anchor="keys")


async def _invitation(visit: Visit, faults: dict[str, str]) -> Response:
    roles = (await list_roles(visit.work))["items"]
    default = next(role["id"] for role in roles if role["default"])
    return await visit.render(
        "admin/user_new.html",
        status=422 if faults else 200,
        faults=faults,
        form={"level": AccessLevel.REGULAR_USER, "role": default, **visit.form},
        roles=roles,
        levels=list(AccessLevel) if visit.has_duty(Duty.MANAGE_USERS) else [AccessLevel.REGULAR_USER],
        can_mail=can_mail(visit),
    )


async def _user(visit: Visit, user_id: int, faults: dict[str, str]) -> Response:
    """Return the page of a user; with *faults* its forms keep what was typed."""
    found = await existing(get_user(visit.work, user_id))
    roles = (await list_roles(visit.work))["items"]
    projects = (await explain_access(visit.work, user_id, limit=_PROJECTS + 1))["projects"]
    groups = (await list_groups(visit.work))["items"]
    stored = {
        "email": found["email"],
        "name": found["name"],
        "level": found["accessLevel"],
        "role": next(role["id"] for role in roles if role["name"] == found["role"]),
    }
    accounts = visit.web.accounts
    may_manage = visit.has_duty(Duty.MANAGE_USERS)
    return await visit.render(
        "admin/user.html",
        status=422 if faults else 200,
        person=found,
        is_self=user_id == visit.user.id,
        account=(await accounts.look_at_users(visit.session, [user_id])).get(user_id),
        keys=await accounts.list_user_keys(visit.session, user_id) if may_manage else [],
        faults=faults,
        form=stored | dict(visit.form),
        roles=roles,
        levels=list(AccessLevel),
        groups=[group for group in groups if group["name"] in found["groups"]],
        other_groups=[group for group in groups if group["name"] not in found["groups"]],
        projects=projects[:_PROJECTS],
        has_more_projects=len(projects) > _PROJECTS,
        can_mail=can_mail(visit),
        may_manage=may_manage,
        may_manage_groups=visit.has_duty(Duty.MANAGE_GROUPS),
        may_read_audit=visit.has_duty(Duty.READ_AUDIT_LOG),
    )


async def _confirmation(visit: Visit, user_id: int, verb: str, faults: dict[str, str]) -> Response:
    found = await existing(get_user(visit.work, user_id))
    account = (await visit.web.accounts.look_at_users(visit.session, [user_id])).get(user_id)
    return await visit.render(
        "admin/user_state.html",
        status=422 if faults else 200,
        person=found,
        verb=verb,
        account=account,
        fault=faults.get(FORM, ""),
    )


async def _let_in(visit: Visit, user: Document, purpose: Purpose, *, by_mail: bool) -> Response:
    """Mail the link, or show it: it is in no other page, and works once."""
    workspace_id = visit.place.workspace_id
    secret = await visit.web.accounts.issue_link(workspace_id, user["id"], purpose)
    link = Link(workspace_id, user["id"], secret)
    details = {"link": purpose.name.lower(), "mailed": by_mail}
    visit.work.changes.append(Change(action="update", object_type="user", object_id=user["id"], details=details))
    if by_mail:
        subject, text = letter(visit, purpose, link, by=visit.user.name)
        visit.do_later(partial(visit.web.mailer.send, user["email"], subject, text))
        return visit.go_to(f"admin/users/{user['id']}", said=f"A link is on its way to {user['email']}.")
    return await visit.render(
        "admin/user_link.html",
        person=user,
        link=link_to_show(visit, purpose, link),
        is_new=purpose is Purpose.INVITATION,
        lasts=LIFETIMES[purpose],
    )


async def _key(visit: Visit, user_id: int, key_id: int) -> tuple[Document, ApiKey]:
    """Return the user and their key, which can still be revoked."""
    user = await existing(get_user(visit.work, user_id))
    for key in await visit.web.accounts.list_user_keys(visit.session, user_id):
        if key.id == key_id and key.state != "revoked":
            return user, key
    raise NotFoundOrDenied
