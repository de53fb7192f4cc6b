"""Commands for operators: migrate, and those for workspaces."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.progress import Progress

from migrations.trees import Tree, head
from service.cli.console import AsJson, Slug, database_url, notes, print_json, results, run, sharding, strict_logins
from service.cli.keys import new_key
from service.domain.users import add_user
from tenancy import catalog
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.migrate import migrate as migrate_all
from tenancy.provision import create_workspace
from tenancy.session import WorkspaceConnection
from tenancy.strict import open_logins

workspace = typer.Typer(
    help="Create, list, suspend and resume workspaces; back up, restore and clone one. (DATABASE_URL: the "
    "administrator's.)",
    no_args_is_help=True,
)


def migrate() -> None:
    """Bring the database of DATABASE_URL to this release's schema: roles, control schema, every workspace.

    With SERVICE_DATABASE_URL set too, the service's login gets the password that is in it. With
    TESTORCHESTRATOR_STRICT_SECRET, the workspaces' roles can log in afterwards (strict mode).

    Example: testorchestrator migrate
    """
    service_url = urlsplit(os.environ.get("SERVICE_DATABASE_URL", ""))
    password = None if service_url.password is None else unquote(service_url.password)
    logins = strict_logins()
    placing = sharding()

    async def work() -> int:
        async with admin_connection(database_url()) as admin:
            with Progress(console=notes, transient=True) as progress:
                task = progress.add_task("Migrating workspaces", total=None)
                return await migrate_all(
                    admin,
                    app_password=password,
                    strict=logins,
                    sharding=placing,
                    progress=lambda done, total: progress.update(task, completed=done, total=total),
                )

    moved = run(work())
    results.print(f"The database is at revision {head(Tree.WORKSPACE)}; {moved} workspaces were brought there.")


@workspace.command("create")
def create(
    slug: Annotated[str, typer.Argument(help="3 to 63 lower-case letters, digits and hyphens, as in a sub-domain.")],
    admin_email: Annotated[str, typer.Option(help="E-mail of the workspace's first user, a Tenant Admin.")],
    admin_name: Annotated[str, typer.Option(help="Full name of that user.")],
    name: Annotated[str | None, typer.Option(help="Display name. Default: the slug.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a workspace with its first user, and print a key of that user: it is shown only here.

    Example: testorchestrator workspace create acme --admin-email ann@acme.example --admin-name "Ann Lee"
    """
    logins = strict_logins()
    placing = sharding()

    async def work() -> tuple[catalog.Workspace, str]:
        async with admin_connection(database_url()) as admin, admin.transaction():

            async def populate(connection: WorkspaceConnection) -> None:
                await add_user(connection, email=admin_email, name=admin_name, access_level="TENANT_ADMIN", role="Lead")

            made = await create_workspace(admin, slug=slug, name=name or slug, sharding=placing, populate=populate)
            if logins is not None:
                await open_logins(admin, logins, [made.schema_name])
            return made, await new_key(admin, made, admin_email, label="First key")

    made, secret = run(work())
    if as_json:
        print_json({"workspace": made.slug, "schema": made.schema_name, "key": secret})
    else:
        results.print(
            f"Workspace {made.slug} is there. Key of {admin_email}, shown only now:\n{secret}", soft_wrap=True
        )


@workspace.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all workspaces.

    Example: testorchestrator workspace list --json
    """

    async def work() -> list[catalog.Workspace]:
        async with admin_connection(database_url()) as admin:
            return await catalog.list_workspaces(admin)

    found = run(work())
    if as_json:
        print_json([{"workspace": w.slug, "name": w.name, "state": w.state, "schema": w.schema_name} for w in found])
    for one in [] if as_json else found:
        results.print(f"{one.slug}\t{one.state}\t{one.schema_name}\t{one.name}", soft_wrap=True)


@workspace.command("suspend")
def suspend(slug: Slug, as_json: AsJson = False) -> None:
    """Refuse all keys of a workspace from their next request on; nothing is deleted.

    Example: testorchestrator workspace suspend acme
    """
    _set_state(slug, "suspended", as_json=as_json)


@workspace.command("resume")
def resume(slug: Slug, as_json: AsJson = False) -> None:
    """Let the keys of a suspended workspace work again.

    Example: testorchestrator workspace resume acme
    """
    _set_state(slug, "active", as_json=as_json)


def _set_state(slug: str, state: str, *, as_json: bool) -> None:
    async def work() -> bool:
        async with admin_connection(database_url()) as admin, admin.transaction():
            found = await catalog.require_workspace(admin, slug)
            if found.state == "deleting":
                raise TenancyError(f"Workspace {slug} is being deleted.")
            if found.state == state:
                return False
            await catalog.set_state(admin, slug, state)
            operation = "workspace.suspend" if state == "suspended" else "workspace.resume"
            await catalog.note_operation(admin, operation, workspace_id=found.id)
            return True

    changed = run(work())
    if as_json:
        print_json({"workspace": slug, "state": state, "changed": changed})
    else:
        results.print(f"Workspace {slug} is {state}{'' if changed else ' already'}.")
