"""Commands for people: users, and the access groups that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.access import print_access
from service.cli.administer import NewName, Search, administer, opened, print_list, print_object, working
from service.cli.console import AsJson, InWorkspace, print_json, results, run
from service.domain.effective_access import explain_access
from service.domain.groups import (
    GroupPatch,
    add_members,
    change_group,
    create_group,
    get_group,
    list_groups,
    remove_members,
)
from service.domain.users import UserPatch, change_user, create_user, get_user, list_users
from tenancy import catalog, keys

if TYPE_CHECKING:
    from service.domain.work import Document, Work

user = typer.Typer(
    help="Create, invite, change, show, deactivate and activate users (DATABASE_URL: the administrator's).",
    no_args_is_help=True,
)
group = typer.Typer(
    help="Access groups: users who get a rule on a project together (DATABASE_URL: the administrator's).",
    no_args_is_help=True,
)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail, or id.")]
Emails = Annotated[list[str], typer.Argument(metavar="EMAIL...", help="The users' e-mails, or ids.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name, or id.")]
Level = Annotated[
    str | None,
    typer.Option("--level", metavar="REGULAR_USER|PROJECT_ADMIN|TENANT_ADMIN", help="Access level in the workspace."),
]
Role = Annotated[str | None, typer.Option(help="Global role. Default of a new user: the default role.")]
Description = Annotated[str | None, typer.Option(help="What the group is for.")]

_USER_COLUMNS = ("id", "email", "name", "accessLevel", "role", "active", "groups")


@user.command("list")
def list_all_users(
    slug: InWorkspace,
    *,
    active: Annotated[bool | None, typer.Option("--active/--deactivated", help="Only such users.")] = None,
    level: Level = None,
    role: Annotated[str | None, typer.Option(help="Only those with this global role.")] = None,
    in_group: Annotated[str | None, typer.Option("--group", help="Only the members of this group.")] = None,
    search: Search = "",
    as_json: AsJson = False,
) -> None:
    """List the users of a workspace by name.

    Example: testorchestrator user list --workspace acme --level TENANT_ADMIN --active
    """

    async def act(work: Work) -> Document:
        return await list_users(work, active=active, access_level=level, role=role, group=in_group, search=search)

    print_list(administer(slug, "user list", act)["items"], _USER_COLUMNS, as_json=as_json)


@user.command("create")
def create_one(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The new user's e-mail.")],
    slug: InWorkspace,
    *,
    name: Annotated[str, typer.Option(help="Full name.")],
    level: Level = None,
    role: Role = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="A group to be in; repeat it for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a user; key create then gives them a key.

    Example: testorchestrator user create bo@acme.example --workspace acme --name "Bo Berg" --role Viewer
    """

    async def act(work: Work) -> Document:
        made = await create_user(work, email=email, name=name, access_level=level or "REGULAR_USER", role=role)
        for one in groups or []:
            await add_members(work, one, [made["id"]])
        return await get_user(work, made["id"])

    print_object(administer(slug, "user create", act), as_json=as_json)


@user.command("change")
def change_one(
    email: Email,
    slug: InWorkspace,
    *,
    new_email: Annotated[str | None, typer.Option("--email", help="Another e-mail.")] = None,
    name: NewName = None,
    level: Level = None,
    role: Annotated[str | None, typer.Option(help="Another global role.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a user; what they may do changes from their next request on.

    Example: testorchestrator user change bo@acme.example --workspace acme --role Lead --level PROJECT_ADMIN
    """
    patch = UserPatch(email=new_email, name=name, access_level=level, role=role)
    print_object(administer(slug, "user change", lambda work: change_user(work, email, patch)), as_json=as_json)


@user.command("show")
def show_one(email: Email, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Show a user, their groups, and what they may do in which project and why.

    Example: testorchestrator user show bo@acme.example --workspace acme
    """

    async def act(work: Work) -> Document:
        found = await get_user(work, email)
        projects = (await explain_access(work, found["id"]))["projects"]
        named = ("project", "allowed", "role", "permissions", "reason")
        return {**found, "projects": [{name: one[name] for name in named if name in one} for one in projects]}

    found = administer(slug, "user show", act)
    if as_json:
        print_json(found)
        return
    projects = found.pop("projects")
    print_object(found, as_json=False)
    print_access(projects)


@user.command("deactivate")
def deactivate(email: Email, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Refuse all keys of a user from their next request on; nothing is deleted.

    Example: testorchestrator user deactivate bo@acme.example --workspace acme
    """
    _set_active(slug, email, active=False, as_json=as_json)


@user.command("activate")
def activate(email: Email, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Let the keys of a deactivated user work again, but for those that are revoked or expired.

    Example: testorchestrator user activate bo@acme.example --workspace acme
    """
    _set_active(slug, email, active=True, as_json=as_json)


def _set_active(slug: str, email: str, *, active: bool, as_json: bool) -> None:
    command = "user activate" if active else "user deactivate"

    async def work() -> tuple[Document, bool]:
        async with opened(slug) as at:
            async with working(at, command) as entered:
                owner = await change_user(entered, email, UserPatch(active=active))
            changed = bool(entered.changes)
            # Even where the user was so already: whatever set their keys otherwise is put right.
            await keys.set_owner_active(at.admin, workspace_id=at.where.id, user_id=owner["id"], active=active)
            if changed:
                operation = command.replace(" ", ".")
                await catalog.note_operation(at.admin, operation, workspace_id=at.where.id, user_id=owner["id"])
            return owner, changed

    owner, changed = run(work())
    if as_json:
        print_json({"workspace": slug, "user": owner["email"], "active": active, "changed": changed})
    else:
        state = "active" if active else "deactivated"
        results.print(f"{owner['email']} is {state}{'' if changed else ' already'}.", markup=False)


@group.command("list")
def list_all_groups(slug: InWorkspace, as_json: AsJson = False) -> None:
    """List the groups of a workspace.

    Example: testorchestrator group list --workspace acme
    """
    found = administer(slug, "group list", list_groups)["items"]
    print_list(found, ("id", "name", "enabled", "members", "projects", "description"), as_json=as_json)


@group.command("create")
def create_one_group(
    name: Annotated[str, typer.Argument(metavar="GROUP", help="The new group's name.")],
    slug: InWorkspace,
    description: Description = None,
    members: Annotated[list[str] | None, typer.Option("--member", help="E-mail of a member; repeat for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a group.

    Example: testorchestrator group create Contractors --workspace acme --member bo@acme.example
    """

    async def act(work: Work) -> Document:
        return await create_group(work, name=name, description=description or "", members=members or [])

    print_object(administer(slug, "group create", act), as_json=as_json)


@group.command("change")
def change_one_group(
    name: Group, slug: InWorkspace, new_name: NewName = None, description: Description = None, as_json: AsJson = False
) -> None:
    """Change a group's name or description.

    Example: testorchestrator group change Contractors --workspace acme --name Partners
    """
    _change_group(slug, "group change", name, GroupPatch(name=new_name, description=description), as_json=as_json)


@group.command("enable")
def enable_group(name: Group, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Let the rules of a disabled group hold again.

    Example: testorchestrator group enable Contractors --workspace acme
    """
    _change_group(slug, "group enable", name, GroupPatch(enabled=True), as_json=as_json)


@group.command("disable")
def disable_group(name: Group, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Let the rules of a group hold for nobody from the next request on; members and rules stay.

    Example: testorchestrator group disable Contractors --workspace acme
    """
    _change_group(slug, "group disable", name, GroupPatch(enabled=False), as_json=as_json)


@group.command("show")
def show_group(name: Group, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Show a group and its members.

    Example: testorchestrator group show Contractors --workspace acme
    """

    async def act(work: Work) -> Document:
        found = await get_group(work, name)
        members = (await list_users(work, group=found["id"]))["items"]
        return {**found, "members": [{key: one[key] for key in ("id", "email", "name", "active")} for one in members]}

    found = administer(slug, "group show", act)
    if as_json:
        print_json(found)
        return
    members = found.pop("members")
    print_object(found, as_json=False)
    print_list(members, ("id", "email", "name", "active"), as_json=False)


@group.command("add")
def add_to_group(name: Group, emails: Emails, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Put users into a group.

    Example: testorchestrator group add Contractors bo@acme.example eve@acme.example --workspace acme
    """
    done = administer(slug, "group add", lambda work: add_members(work, name, emails))
    print_object(done, as_json=as_json)


@group.command("remove")
def remove_from_group(name: Group, emails: Emails, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Take users out of a group.

    Example: testorchestrator group remove Contractors eve@acme.example --workspace acme
    """
    done = administer(slug, "group remove", lambda work: remove_members(work, name, emails))
    print_object(done, as_json=as_json)


def _change_group(slug: str, command: str, name: str, patch: GroupPatch, *, as_json: bool) -> None:
    print_object(administer(slug, command, lambda work: change_group(work, name, patch)), as_json=as_json)
