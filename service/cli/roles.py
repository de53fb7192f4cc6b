"""Commands for roles: named sets of what one may do in a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.administer import NewName, Yes, administer, confirm, print_list, print_object
from service.cli.console import AsJson, InWorkspace
from service.domain.roles import RolePatch, change_role, create_role, delete_role, get_role, list_roles

if TYPE_CHECKING:
    from service.domain.work import Document, Work

role = typer.Typer(
    help="Roles: what one may do in a project (DATABASE_URL: the administrator's).", no_args_is_help=True
)

Role = Annotated[str, typer.Argument(metavar="ROLE", help="The role's name, or id.")]
Description = Annotated[str | None, typer.Option(help="What the role is for.")]
Permissions = Annotated[
    list[str] | None,
    typer.Option("--permission", metavar="PERMISSION", help="One that the role has, and no others; repeat for more."),
]
Default = Annotated[bool, typer.Option("--default", help="New users have it unless another is given.")]


@role.command("list")
def list_all(slug: InWorkspace, as_json: AsJson = False) -> None:
    """List the roles of a workspace, with how many users have each and how many projects give it.

    Example: testorchestrator role list --workspace acme
    """
    found = administer(slug, "role list", list_roles)["items"]
    print_list(found, ("id", "name", "default", "users", "projects", "permissions"), as_json=as_json)


@role.command("show")
def show(name: Role, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Show a role with its permissions.

    Example: testorchestrator role show Tester --workspace acme
    """
    print_object(administer(slug, "role show", lambda work: get_role(work, name)), as_json=as_json)


@role.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="ROLE", help="The new role's name.")],
    slug: InWorkspace,
    *,
    description: Description = None,
    permissions: Permissions = None,
    default: Default = False,
    as_json: AsJson = False,
) -> None:
    """Create a role. role show Lead shows all permissions that there are.

    Example: testorchestrator role create Recorder --workspace acme --permission EXECUTE_TESTS
    """

    async def act(work: Work) -> Document:
        return await create_role(
            work, name=name, description=description or "", permissions=permissions or [], default=default
        )

    print_object(administer(slug, "role create", act), as_json=as_json)


@role.command("change")
def change(
    name: Role,
    slug: InWorkspace,
    *,
    new_name: NewName = None,
    description: Description = None,
    permissions: Permissions = None,
    grant: Annotated[list[str] | None, typer.Option(metavar="PERMISSION", help="One more; repeat for more.")] = None,
    revoke: Annotated[list[str] | None, typer.Option(metavar="PERMISSION", help="One less; repeat for more.")] = None,
    default: Default = False,
    as_json: AsJson = False,
) -> None:
    """Change a role; what its holders may do changes from their next request on.

    Example: testorchestrator role change Tester --workspace acme --grant DELETE_TEST_CASES --revoke MANAGE_CYCLES
    """
    patch = RolePatch(
        name=new_name,
        description=description,
        permissions=permissions,
        grant=grant or [],
        revoke=revoke or [],
        default=default or None,
    )
    print_object(administer(slug, "role change", lambda work: change_role(work, name, patch)), as_json=as_json)


@role.command("delete")
def delete(name: Role, slug: InWorkspace, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a role that nobody has and no project gives.

    Example: testorchestrator role delete Recorder --workspace acme --yes
    """
    confirm(f"Delete the role {name} of workspace {slug}?", yes=yes)
    print_object(administer(slug, "role delete", lambda work: delete_role(work, name)), as_json=as_json)
