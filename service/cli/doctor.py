"""`doctor`: the isolation of a live database as tables, what is weak in it, and what mends that."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import typer
from rich.markup import escape
from rich.table import Table

from service.cli.console import AsJson, database_url, fail, print_json, results, run, strict_logins
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError, first_line
from tenancy.posture import Finding, Posture, look
from tenancy.release import service_connection

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN_WORKSPACES = 3
_WEAK, _BLIND = 1, 2


def doctor(as_json: AsJson = False) -> None:
    """Show how the database isolates the workspaces, what is weak in it, and what mends that.

    It looks at the database of DATABASE_URL and changes nothing. With SERVICE_DATABASE_URL set too, it looks through
    the service's own login as well; with TESTORCHESTRATOR_STRICT_SECRET, at the passwords of the workspaces' roles.
    Exit code 0: sound; 1: something is weak; 2: it could not look.

    Example: testorchestrator doctor
    """
    try:
        posture = run(_look())
    except TenancyError as error:
        fail(str(error))
        raise typer.Exit(_BLIND) from None
    except asyncpg.PostgresError as error:
        fail(f"The server did not let us look: {first_line(error)}.")
        raise typer.Exit(_BLIND) from None
    if as_json:
        print_json(_document(posture))
    else:
        _show(posture)
    if not posture.is_sound:
        raise typer.Exit(_WEAK)


async def _look() -> Posture:
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(admin_connection(database_url()))
        service = None
        if url := os.environ.get("SERVICE_DATABASE_URL"):
            service = await stack.enter_async_context(service_connection(url))
        return await look(admin, service=service, strict=strict_logins())


def _document(posture: Posture) -> dict[str, Any]:
    return {
        "sound": posture.is_sound,
        "database": posture.database,
        "settings": posture.settings,
        "roles": posture.roles,
        "memberships": posture.memberships,
        "everybody": posture.everybody,
        "functions": posture.functions,
        "superusers": posture.superusers,
        "workspaces": {"total": posture.workspaces, "sound": posture.sound_workspaces},
        "refusals": posture.refusals,
        "findings": [
            {"what": one.what, "mend": list(one.mend), "workspaces": list(one.workspaces)} for one in posture.findings
        ],
    }


def _show(posture: Posture) -> None:
    for title, rows in (
        (f"Database {posture.database}", [{"setting": k, "value": v} for k, v in posture.settings.items()]),
        ("Roles", [_attributes(row) for row in posture.roles]),
        ("Who may become whom", posture.memberships),
        ("Superusers", posture.superusers),
        ("What everybody may do", posture.everybody),
        ("Functions that are withheld, and who may call them", posture.functions),
    ):
        results.print(_table(title, rows))
    count = posture.workspaces
    if posture.sound_workspaces == count:
        results.print(f"{count} workspaces, each reached by its own role only.")
    else:
        results.print(f"{count} workspaces, of which {posture.sound_workspaces} are as they should be.")
    if posture.refusals:
        results.print("\n[bold red]The service refuses to start on this:[/]")
        for refusal in posture.refusals:
            results.print(f"  {refusal}", markup=False, soft_wrap=True)
    if posture.findings:
        results.print("\n[bold red]To be mended:[/]")
        for finding in posture.findings:
            results.print(f"  {finding.what}{_where(finding)}", markup=False, soft_wrap=True)
            results.print(f"    [green]{escape(finding.mend[0])}[/]{_further(finding)}", soft_wrap=True)
    if posture.is_sound:
        results.print("[bold green]Sound.[/]")


def _table(title: str, rows: Iterable[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    cells = [[_cell(value) for value in row.values()] for row in rows]
    for name in next(iter(rows), {"none": ""}):
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _attributes(role: dict[str, Any]) -> dict[str, Any]:
    held = [name for name, value in role.items() if value is True]
    return {"role": role["role"], "count": role["count"], "attributes": ", ".join(held) or "-"}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return escape(str(value))


def _where(finding: Finding) -> str:
    if not finding.workspaces:
        return ""
    shown = ", ".join(finding.workspaces[:_SHOWN_WORKSPACES])
    more = len(finding.workspaces) - _SHOWN_WORKSPACES
    return f" (workspace {shown}{f' and {more} more' if more > 0 else ''})"


def _further(finding: Finding) -> str:
    more = len(finding.mend) - 1
    return f"   and {more} more of the kind: --json has them all" if more else ""
