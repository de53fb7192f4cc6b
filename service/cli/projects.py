"""Commands for projects, and for the access rules of users and groups on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.administer import NewName, Search, administer, print_list, print_object
from service.cli.console import AsJson, InWorkspace, print_json
from service.domain.project_rules import (
    RulePatch,
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
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

project = typer.Typer(
    help="Projects, and who may enter them (DATABASE_URL: the administrator's).", no_args_is_help=True
)

Project = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name, or id.")]
Summary = Annotated[str | None, typer.Option(help="What it is about.")]
Icon = Annotated[str | None, typer.Option(help="An icon, such as an emoji.")]
DefaultAccess = Annotated[
    str | None,
    typer.Option(metavar="NO_ACCESS|GLOBAL_ROLE|ROLE", help="What users have whom no rule names."),
]
DefaultRole = Annotated[str | None, typer.Option(help="The role that default access ROLE gives.")]
Users = Annotated[list[str] | None, typer.Option("--user", metavar="EMAIL", help="A user; repeat it for more.")]
Groups = Annotated[list[str] | None, typer.Option("--group", metavar="GROUP", help="A group; repeat it for more.")]

_COLUMNS = ("id", "name", "defaultAccess", "defaultRole", "completed", "members", "groups", "summary")


@project.command("list")
def list_all(
    slug: InWorkspace,
    completed: Annotated[bool | None, typer.Option("--completed/--active", help="Only such projects.")] = None,
    search: Search = "",
    as_json: AsJson = False,
) -> None:
    """List the projects of a workspace, with how many rules of users and of groups each has.

    Example: testorchestrator project list --workspace acme --active
    """

    async def act(work: Work) -> Document:
        return await list_all_projects(work, completed=completed, search=search)

    print_list(administer(slug, "project list", act)["items"], _COLUMNS, as_json=as_json)


@project.command("show")
def show(name: Project, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Show a project.

    Example: testorchestrator project show "Web Shop" --workspace acme
    """
    print_object(administer(slug, "project show", lambda work: get_project(work, name)), as_json=as_json)


@project.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="PROJECT", help="The new project's name.")],
    slug: InWorkspace,
    *,
    summary: Summary = None,
    icon: Icon = None,
    default_access: DefaultAccess = None,
    default_role: DefaultRole = None,
    as_json: AsJson = False,
) -> None:
    """Create a project. Everybody may enter it with their global role unless --default-access says otherwise.

    Example: testorchestrator project create "Web Shop" --workspace acme --default-access ROLE --default-role Viewer
    """

    async def act(work: Work) -> Document:
        return await create_project(
            work,
            name=name,
            summary=summary or "",
            icon=icon or "",
            default_access=default_access,
            default_role=default_role,
        )

    print_object(administer(slug, "project create", act), as_json=as_json)


@project.command("change")
def change(
    name: Project,
    slug: InWorkspace,
    *,
    new_name: NewName = None,
    summary: Summary = None,
    icon: Icon = None,
    default_access: DefaultAccess = None,
    default_role: DefaultRole = None,
    as_json: AsJson = False,
) -> None:
    """Change a project; who may enter it changes from the next request on.

    Example: testorchestrator project change "Web Shop" --workspace acme --default-access NO_ACCESS
    """
    patch = ProjectPatch(
        name=new_name, summary=summary, icon=icon, default_access=default_access, default_role=default_role
    )
    _change(slug, "project change", name, patch, as_json=as_json)


@project.command("complete")
def complete(name: Project, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Mark a project as completed: it leaves the usual lists, and stays whole.

    Example: testorchestrator project complete "Web Shop" --workspace acme
    """
    _change(slug, "project complete", name, ProjectPatch(completed=True), as_json=as_json)


@project.command("reopen")
def reopen(name: Project, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Make a completed project an active one again.

    Example: testorchestrator project reopen "Web Shop" --workspace acme
    """
    _change(slug, "project reopen", name, ProjectPatch(completed=False), as_json=as_json)


@project.command("rules")
def rules(name: Project, slug: InWorkspace, as_json: AsJson = False) -> None:
    """List the access rules of a project: those of single users, which come first, and those of groups.

    Example: testorchestrator project rules "Web Shop" --workspace acme
    """

    async def act(work: Work) -> Document:
        users, groups = await list_user_rules(work, name), await list_group_rules(work, name)
        return {"users": users["items"], "groups": groups["items"]}

    _print_rules(administer(slug, "project rules", act), as_json=as_json)


@project.command("set-rule")
def set_rule(
    name: Project,
    slug: InWorkspace,
    *,
    users: Users = None,
    groups: Groups = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="INHERIT|NO_ACCESS|FORCE_GLOBAL_ROLE|FORCE_ROLE",
            help="What it gives. Default of a new one: INHERIT.",
        ),
    ] = None,
    role: Annotated[str | None, typer.Option(help="The role that mode FORCE_ROLE gives.")] = None,
    override: Annotated[
        str | None, typer.Option(help="The role that INHERIT gives to these users in place of their global role.")
    ] = None,
    no_override: Annotated[bool, typer.Option("--no-override", help="Their global role again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make or change the rules of users and groups on a project; they hold from the next request on.

    A user's own rule beats those of groups. Of groups, one NO_ACCESS beats all, else what they give is united.

    Example: testorchestrator project set-rule Shop --workspace acme --group Guests --mode FORCE_ROLE --role Viewer
    """
    _require_holders(users, groups)
    if override is not None and no_override:
        raise TenancyError("--override and --no-override contradict each other: give one of them.")
    own = RulePatch(mode=mode, role=role, override="" if no_override else override)

    async def act(work: Work) -> Document:
        found = {"users": (await set_user_rules(work, name, users, own))["items"] if users else []}
        return found | {"groups": (await set_group_rules(work, name, groups, own))["items"] if groups else []}

    _print_rules(administer(slug, "project set-rule", act), as_json=as_json)


@project.command("remove-rule")
def remove_rule(
    name: Project, slug: InWorkspace, users: Users = None, groups: Groups = None, as_json: AsJson = False
) -> None:
    """Remove the rules of users and groups on a project, and print the rules that are left.

    Example: testorchestrator project remove-rule "Web Shop" --workspace acme --user bo@acme.example --group Contractors
    """
    _require_holders(users, groups)

    async def act(work: Work) -> Document:
        await remove_user_rules(work, name, users or [])
        await remove_group_rules(work, name, groups or [])
        left = await list_user_rules(work, name), await list_group_rules(work, name)
        return {"users": left[0]["items"], "groups": left[1]["items"]}

    _print_rules(administer(slug, "project remove-rule", act), as_json=as_json)


def _require_holders(users: Sequence[str] | None, groups: Sequence[str] | None) -> None:
    if not users and not groups:
        raise TenancyError("Say whose rule it is: --user EMAIL or --group GROUP.")


def _change(slug: str, command: str, name: str, patch: ProjectPatch, *, as_json: bool) -> None:
    print_object(administer(slug, command, lambda work: change_project(work, name, patch)), as_json=as_json)


def _print_rules(found: Document, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [{"kind": "user", "of": rule["user"]["email"], **rule} for rule in found["users"]]
    rows += [{"kind": "group", "of": rule["group"]["name"], **rule} for rule in found["groups"]]
    print_list(rows, ("kind", "of", "mode", "role", "override"), as_json=False)
