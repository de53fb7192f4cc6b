"""Commands for workspaces: create, list, show, rename, suspend, resume, delete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from service.cli.console import (
    AsJson,
    Slug,
    database_url,
    fail,
    notes,
    print_json,
    results,
    run,
    sharding,
    strict_logins,
)
from service.cli.creation import Order, create_many, create_one, keeper, read_orders
from service.cli.fleet import Connections, in_megabytes, stats
from service.domain.workspace_figures import Figures, count_what_is_there
from tenancy import catalog, lifecycle
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.session import as_workspace
from tenancy.usage import describe

if TYPE_CHECKING:
    from service.cli.creation import Outcome
    from tenancy.usage import Description

workspace = typer.Typer(
    help="Create, list, show, suspend and delete workspaces; back up and restore one. (DATABASE_URL: the "
    "administrator's.)",
    no_args_is_help=True,
)
workspace.command("stats")(stats)


@workspace.command("create")
def create(
    *,
    slug: Annotated[
        str | None,
        typer.Argument(help="3 to 63 lower-case letters, digits and hyphens, as in a sub-domain.", show_default=False),
    ] = None,
    admin_email: Annotated[
        str | None, typer.Option(help="E-mail of the workspace's first user, a Tenant Admin.", show_default=False)
    ] = None,
    admin_name: Annotated[str | None, typer.Option(help="Full name of that user.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Display name. Default: the slug.", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            dir_okay=False,
            help="Many at once: a CSV file, or a JSON list, with slug, admin_email, admin_name and, if you like, name.",
            show_default=False,
        ),
    ] = None,
    keys_to: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="With --from: add the keys to this file, which only you can read."),
    ] = None,
    connections: Connections = 2,
    as_json: AsJson = False,
) -> None:
    """Create a workspace with its first user, and print a key of that user: it is shown only here.

    With --from, a line of JSON for each workspace. Those that are there already are left as they are, so what was
    interrupted goes on when it is run again.

    Example: testorchestrator workspace create acme --admin-email ann@acme.example --admin-name "Ann Lee"

    Example: testorchestrator workspace create --from customers.csv --keys-to keys.jsonl --connections 4
    """
    if file is not None:
        if slug or admin_email or admin_name or name:
            raise typer.BadParameter("it stands alone: the file says which workspaces", param_hint="--from")
        _create_many(file, keys_to, connections)
        return
    for hint, value in (("WORKSPACE", slug), ("--admin-email", admin_email), ("--admin-name", admin_name)):
        if value is None:
            raise typer.BadParameter("it is missing (or give --from FILE)", param_hint=hint)
    logins, placing = strict_logins(), sharding()
    order = Order(slug or "", name or slug or "", admin_email or "", admin_name or "")

    async def work() -> tuple[catalog.Workspace, str]:
        async with admin_connection(database_url()) as admin:
            return await create_one(admin, order, logins=logins, sharding=placing)

    made, secret = run(work())
    if as_json:
        print_json({"workspace": made.slug, "schema": made.schema_name, "key": secret})
    else:
        results.print(
            f"Workspace {made.slug} is there. Key of {order.admin_email}, shown only now:\n{secret}", soft_wrap=True
        )


@workspace.command("list")
def list_all(
    state: Annotated[Literal["active", "suspended", "deleting"] | None, typer.Option(help="Only these.")] = None,
    version: Annotated[str | None, typer.Option(help="Only those at this schema revision.", metavar="REVISION")] = None,
    search: Annotated[str | None, typer.Option(help="Only those with this text in name or display name.")] = None,
    as_json: AsJson = False,
) -> None:
    """List workspaces.

    Example: testorchestrator workspace list --state suspended
    """

    async def work() -> list[catalog.Workspace]:
        async with admin_connection(database_url()) as admin:
            return await catalog.list_workspaces(admin, state=state, version=version, search=search)

    found = run(work())
    if as_json:
        print_json([_document(one) for one in found])
    for one in [] if as_json else found:
        results.print(f"{one.slug}\t{one.state}\t{one.schema_version}\t{one.schema_name}\t{one.name}", soft_wrap=True)


@workspace.command("show")
def show(slug: Slug, as_json: AsJson = False) -> None:
    """Show a workspace: state, schema revision, size, what is in it, keys, last use.

    Example: testorchestrator workspace show acme
    """

    async def work() -> tuple[Description, Figures | None]:
        async with admin_connection(database_url()) as admin:
            found = await describe(admin, slug)
            if found is None:
                raise TenancyError(f"There is no workspace {slug!r}: see testorchestrator workspace list.")
            if found.state == "deleting":
                return found, None
            async with as_workspace(admin, found.schema_name) as connection:
                return found, await count_what_is_there(connection)

    found, figures = run(work())
    document = _described(found, figures)
    if as_json:
        print_json(document)
        return
    table = Table(show_header=False, box=None)
    for heading, value in document.items():
        shown = in_megabytes(value) if heading == "bytes" else "-" if value is None else str(value)
        table.add_row(heading, shown)
    results.print(table, markup=False)


@workspace.command("rename")
def rename(
    slug: Slug,
    *,
    new_slug: Annotated[str | None, typer.Option("--to", metavar="SLUG", help="The new name.")] = None,
    name: Annotated[str | None, typer.Option(help="The new display name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a workspace another name, display name or both. Its keys work on; addresses with its name change.

    Example: testorchestrator workspace rename acme --to acme-europe --name "Acme Europe"
    """
    if not new_slug and not name:
        raise typer.BadParameter("say what to change: --to, --name or both")

    async def work() -> None:
        async with admin_connection(database_url()) as admin:
            await lifecycle.rename(admin, slug, new_slug=new_slug, name=name)

    run(work())
    if as_json:
        print_json({"workspace": new_slug or slug, "was": slug} | ({"name": name} if name else {}))
    else:
        results.print(f"Workspace {slug} is renamed.", soft_wrap=True)


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


@workspace.command("delete")
def delete(
    slug: Slug,
    *,
    confirm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name again, in place of typing it when asked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete a suspended workspace for good, with all that is in it. There is no way back but an archive.

    Example: testorchestrator workspace delete acme --confirm acme
    """
    if confirm is None and sys.stdin.isatty():
        notes.print(f"Workspace {slug} and all that is in it will be gone. Back it up first if in doubt.")
        confirm = typer.prompt("Type its name to delete it", err=True)
    if confirm != slug:
        raise fail(f"Nothing is deleted: confirm it with --confirm {slug}.")

    async def work() -> None:
        async with admin_connection(database_url()) as admin:
            await lifecycle.delete(admin, slug)

    run(work())
    if as_json:
        print_json({"workspace": slug, "state": "deleted"})
    else:
        results.print(f"Workspace {slug} is deleted.", soft_wrap=True)


def _create_many(file: Path, keys_to: Path | None, connections: int) -> None:
    orders = read_orders(file)
    logins, placing = strict_logins(), sharding()
    url = database_url()

    async def work() -> Outcome:
        with keeper(keys_to) as keep:
            return await create_many(orders, url, connections=connections, logins=logins, sharding=placing, keep=keep)

    outcome = run(work())
    notes.print(f"{outcome.created:,} workspaces were created.", soft_wrap=True)
    if outcome.existing:
        notes.print(f"There already, and left as they are: {', '.join(outcome.existing)}.", soft_wrap=True)
    for slug, reason in outcome.failed.items():
        notes.print(f"[bold red]failed[/] {slug}: ", end="")
        notes.print(reason, markup=False, soft_wrap=True)
    if outcome.failed:
        raise typer.Exit(1)


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


def _document(one: catalog.Workspace) -> dict[str, Any]:
    return {
        "workspace": one.slug,
        "name": one.name,
        "state": one.state,
        "schema": one.schema_name,
        "schemaVersion": one.schema_version,
    }


def _described(found: Description, figures: Figures | None) -> dict[str, Any]:
    document = {
        "workspace": found.slug,
        "name": found.name,
        "state": found.state,
        "schema": found.schema_name,
        "schemaVersion": found.schema_version,
        "compatibleFrom": found.compatible_from,
        "migrationError": found.migration_error,
        "createdAt": found.created_at,
        "bytes": found.bytes,
    }
    if figures is not None:
        document |= {
            "users": figures.users,
            "activeUsers": figures.active_users,
            "projects": figures.projects,
            "cases": figures.cases,
            "runs": figures.runs,
            "results": figures.results,
        }
    return document | {"keys": found.keys, "lastUsedAt": found.last_used_at}
