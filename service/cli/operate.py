"""Commands for operators: serve, migrate, and the first ones for workspaces and keys."""

from __future__ import annotations

import datetime as dt
import os
from typing import Annotated
from urllib.parse import unquote, urlsplit

import asyncpg
import structlog
import typer
from rich.progress import Progress

from migrations.trees import Tree, head
from service.cli.console import database_url, notes, print_json, results, run
from service.domain.users import add_user, find_user
from service.logs import configure_logging
from service.server import listen
from service.server import serve as serve_until_stopped
from service.settings import read_settings
from tenancy import catalog, keys
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.migrate import migrate as migrate_all
from tenancy.provision import create_workspace
from tenancy.session import WorkspaceConnection, as_workspace

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")]

workspace = typer.Typer(help="Create and list workspaces (DATABASE_URL: the administrator's).", no_args_is_help=True)
key = typer.Typer(help="Create API keys for users (DATABASE_URL: the administrator's).", no_args_is_help=True)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one. Default: 8520.")] = None,
) -> None:
    """Serve POST /mcp over the database of SERVICE_DATABASE_URL (the login testorchestrator_app)."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings(**given)
    configure_logging(form=settings.log_format, level=settings.log_level)
    listening = listen(settings.host, settings.port)
    host, port, *_ = listening.getsockname()

    def ready() -> None:
        structlog.get_logger().info("serving", host=host, port=port)

    run(serve_until_stopped(settings, listening, on_ready=ready))


def migrate() -> None:
    """Bring the database of DATABASE_URL to this release's schema: roles, control schema, every workspace.

    With SERVICE_DATABASE_URL set too, the service's login gets the password that is in it.
    """
    service_url = urlsplit(os.environ.get("SERVICE_DATABASE_URL", ""))
    password = None if service_url.password is None else unquote(service_url.password)

    async def work() -> int:
        async with admin_connection(database_url()) as admin:
            with Progress(console=notes, transient=True) as progress:
                task = progress.add_task("Migrating workspaces", total=None)
                return await migrate_all(
                    admin,
                    app_password=password,
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
    """Create a workspace with its first user, and print a key of that user: it is shown only here."""

    async def work() -> tuple[catalog.Workspace, str]:
        async with admin_connection(database_url()) as admin, admin.transaction():

            async def populate(connection: WorkspaceConnection) -> None:
                await add_user(connection, email=admin_email, name=admin_name, access_level="TENANT_ADMIN", role="Lead")

            made = await create_workspace(admin, slug=slug, name=name or slug, populate=populate)
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
    """List all workspaces."""

    async def work() -> list[catalog.Workspace]:
        async with admin_connection(database_url()) as admin:
            return await catalog.list_workspaces(admin)

    found = run(work())
    if as_json:
        print_json([{"workspace": w.slug, "name": w.name, "state": w.state, "schema": w.schema_name} for w in found])
    for one in [] if as_json else found:
        results.print(f"{one.slug}\t{one.state}\t{one.schema_name}\t{one.name}", soft_wrap=True)


@key.command("create")
def create_key(
    slug: Annotated[str, typer.Argument(metavar="WORKSPACE", help="The workspace's name.")],
    email: Annotated[str, typer.Option(help="The user whom the key acts as.")],
    label: Annotated[str, typer.Option(help="What the key is for.")] = "Command line",
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Default: it does not expire.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key for a user and print it: it is shown only here."""

    async def work() -> str:
        async with admin_connection(database_url()) as admin, admin.transaction():
            found = await catalog.find_workspace(admin, slug)
            if found is None:
                raise TenancyError(f"There is no workspace {slug!r}: see testorchestrator workspace list.")
            return await new_key(admin, found, email, label=label, expires_in_days=expires_in_days)

    secret = run(work())
    if as_json:
        print_json({"key": secret})
    else:
        results.print(secret, soft_wrap=True)


async def new_key(
    admin: asyncpg.Connection, where: catalog.Workspace, email: str, *, label: str, expires_in_days: int | None = None
) -> str:
    """Return a new key of the workspace's user with that e-mail, within the transaction that is open."""
    async with as_workspace(admin, where.schema_name) as connection:
        user_id = await find_user(connection, email)
    if user_id is None:
        raise TenancyError(f"Workspace {where.slug} has no user with the e-mail {email}.")
    expires_at = None if expires_in_days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days)
    return await keys.create_key(admin, workspace_id=where.id, user_id=user_id, label=label, expires_at=expires_at)
