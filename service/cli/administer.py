"""What the commands that administer one workspace share: entering it, and showing what is stored there."""

from __future__ import annotations

import re
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from service.cli.console import database_url, print_json, results, run
from service.domain.work import recorded
from tenancy import catalog
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.session import Actor, as_workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import asyncpg

    from service.domain.work import Document, Work

Result = TypeVar("Result")
# A table of some hundred rows takes Rich a second.
_MOST_ROWS = 200
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NewName = Annotated[str | None, typer.Option("--name", help="Another name.")]
Search = Annotated[str, typer.Option(help="Only those with this text in them.")]


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace in an administrator's transaction, which also reaches the control plane once *work* is done."""

    admin: asyncpg.Connection
    where: catalog.Workspace


@asynccontextmanager
async def opened(slug: str) -> AsyncIterator[Opened]:
    """Open a workspace for one transaction of an operator."""
    async with admin_connection(database_url()) as admin, admin.transaction():
        yield Opened(admin, await catalog.require_workspace(admin, slug))


@asynccontextmanager
async def working(at: Opened, command: str) -> AsyncIterator[Work]:
    """Work in the workspace as an operator; what changes is recorded as done by *command*."""
    async with (
        as_workspace(at.admin, at.where.schema_name, actor=Actor(tool=command)) as connection,
        recorded(connection) as work,
    ):
        yield work


def administer(slug: str, command: str, act: Callable[[Work], Awaitable[Result]]) -> Result:
    """Return what *act* does in the workspace, in one transaction, recorded as done by *command*."""

    async def work() -> Result:
        async with opened(slug) as at, working(at, command) as entered:
            return await act(entered)

    return run(work())


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone, unless *yes*; refuse where nobody is there to answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise TenancyError(f"{question} Nobody is there to ask: pass --yes.")
    typer.confirm(question, abort=True, err=True)


def print_object(document: Document, *, as_json: bool) -> None:
    """Print one object as it is stored."""
    if as_json:
        print_json(document)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in document.items():
        table.add_row(_words(name), _cell(value))
    results.print(table, markup=False)


def print_list(documents: Sequence[Document], columns: Sequence[str], *, as_json: bool) -> None:
    """Print objects as a table of *columns*, which are names in the documents, or as one JSON array.

    Long lists, which nobody reads as a whole, are lines with tabs.
    """
    if as_json:
        print_json(documents)
        return
    titles = [_words(name).lower() for name in columns]
    rows = [[_cell(document.get(name)) for name in columns] for document in documents]
    if len(rows) > _MOST_ROWS:
        sys.stdout.writelines("\t".join(row) + "\n" for row in [titles, *rows])
        return
    table = Table(*titles, header_style="dim")
    for row in rows:
        table.add_row(*row)
    results.print(table, markup=False)


def _cell(value: Any) -> str:
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _words(name: str) -> str:
    """Return a name such as accessLevel as people read it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
