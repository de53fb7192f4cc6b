"""Commands for workspaces on several servers (Citus): `workspace where|distribute|undistribute|move`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.completion import complete_workspace
from service.cli.console import AsJson, Slug, database_url, fail, notes, print_json, results, run
from tenancy import placement as placing
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg

    from tenancy.placement import Placement

OneOrAll = Annotated[
    str | None,
    typer.Argument(
        metavar="WORKSPACE", help="The workspace's name.", show_default=False, autocompletion=complete_workspace
    ),
]
_COORDINATOR = "the coordinator"


def add_commands(group: typer.Typer) -> None:
    """Add the commands to *group*."""
    for command in (where, distribute, undistribute, move):
        group.command()(command)


def where(slug: OneOrAll = None, as_json: AsJson = False) -> None:
    """Show on which server a workspace is, or all of them are, in a database with Citus.

    Example: testorchestrator workspace where acme
    """

    async def work() -> Sequence[Placement]:
        async with admin_connection(database_url()) as admin:
            return await placing.placements(admin) if slug is None else [await placing.placement(admin, slug)]

    found = run(work())
    if as_json:
        print_json([_document(one) for one in found])
    for one in [] if as_json else found:
        results.print(f"{one.slug}\t{one.node or _COORDINATOR}", soft_wrap=True)


def distribute(
    slug: OneOrAll = None,
    every: Annotated[bool, typer.Option("--all", help="All workspaces that are on the coordinator.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let Citus put a workspace on one of its servers; who works in it waits about a second.

    Example: testorchestrator workspace distribute acme
    """
    _each(slug, every, placing.distribute, as_json=as_json)


def undistribute(
    slug: OneOrAll = None,
    every: Annotated[bool, typer.Option("--all", help="All workspaces that are on other servers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a workspace back to the coordinator; who works in it waits about a second.

    Example: testorchestrator workspace undistribute acme
    """
    _each(slug, every, placing.undistribute, as_json=as_json)


def move(
    slug: Slug,
    to: Annotated[str, typer.Option(metavar="NODE", help="The server, as host or host:port.")],
    block_writes: Annotated[
        bool, typer.Option("--block-writes", help="Let those who write wait: quicker, and less work.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move a workspace to another server while it is in use.

    Example: testorchestrator workspace move acme --to db-2.internal:5432
    """
    transfer = placing.Transfer.BLOCKING if block_writes else placing.Transfer.ONLINE

    async def work() -> tuple[Placement, Placement]:
        async with admin_connection(database_url()) as admin:
            with notes.status(f"Moving {slug}…"):
                return await placing.move(admin, slug, to, transfer=transfer)

    before, after = run(work())
    if as_json:
        print_json(_document(after) | {"was": str(before.node)})
    else:
        was = "already" if before.node == after.node else f"and was on {before.node}"
        results.print(f"Workspace {slug} is on {after.node} {was}.", soft_wrap=True)


def _each(
    slug: str | None,
    every: bool,
    change: Callable[[asyncpg.Connection, str], Awaitable[Placement]],
    *,
    as_json: bool,
) -> None:
    """Change one workspace, or all of them; one that fails holds up no other."""
    if (slug is None) is not every:
        raise typer.BadParameter("name one workspace, or give --all")
    done: list[Placement] = []
    failed: list[str] = []

    async def work() -> None:
        async with admin_connection(database_url()) as admin:
            slugs = [one.slug for one in await placing.placements(admin)] if slug is None else [slug]
            with _bar() as progress:
                for one in progress.track(slugs, description="Placing workspaces"):
                    try:
                        done.append(await change(admin, one))
                    except TenancyError as error:
                        failed.append(str(error))

    run(work())
    if as_json:
        print_json([_document(one) for one in done])
    for one in [] if as_json else done:
        results.print(f"{one.slug}\t{one.node or _COORDINATOR}", soft_wrap=True)
    for told in failed:
        error = fail(told)
    if failed:
        raise error


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=not notes.is_terminal,
    )


def _document(found: Placement) -> dict[str, str | None]:
    return {
        "workspace": found.slug,
        "schema": found.schema_name,
        "node": None if found.node is None else str(found.node),
    }
