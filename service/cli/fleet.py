"""Commands for all workspaces at once: migrate, create many of them from a file, see how large they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import typer
from rich.table import Table

from service.cli.completion import complete_workspace
from service.cli.console import AsJson, database_url, notes, print_json, results, run, sharding, strict_logins
from service.cli.counting import counting
from tenancy.connection import admin_connection
from tenancy.migrate import migrate as migrate_all
from tenancy.migrate import plan
from tenancy.usage import usage_of_all

if TYPE_CHECKING:
    from tenancy.migrate import Plan
    from tenancy.rollout import Progress, Report
    from tenancy.usage import Usage

Connections = Annotated[int, typer.Option(min=1, max=64, help="Connections to the database, which work at a time.")]
_SHOWN = 10


def migrate(
    *,
    connections: Connections = 4,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORKSPACE",
            help="Move it first; repeat for more. Default: the oldest.",
            autocompletion=complete_workspace,
            show_default=False,
        ),
    ] = None,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Only those whose last try failed.")] = False,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for another migration to end.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and change nothing.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Show the statements too (with --dry-run).")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database of DATABASE_URL to this release's schema: roles, control schema, every workspace.

    One workspace first, the canary; if it cannot be moved, no other is touched. Then a few, then the rest. Each is
    moved in a transaction of its own: one that cannot be is reported and holds up no other, and what was interrupted
    goes on when the command is run again. Services of this release and of the one before serve on meanwhile: what the
    one before would not go on with is left while it is connected, and done by running the command once more.

    With SERVICE_DATABASE_URL set too, the service's login gets the password that is in it. With
    TESTORCHESTRATOR_STRICT_SECRET, the workspaces' roles can log in afterwards (strict mode).

    Example: testorchestrator migrate --dry-run

    Example: testorchestrator migrate --canary our-own --connections 8
    """
    if sql and not dry_run:
        raise typer.BadParameter("it goes with --dry-run", param_hint="--sql")
    if dry_run:
        _show_plan(_plan(canary or (), only_failed=only_failed), with_sql=sql, as_json=as_json)
        return
    service_url = urlsplit(os.environ.get("SERVICE_DATABASE_URL", ""))
    password = None if service_url.password is None else unquote(service_url.password)
    logins, placing = strict_logins(), sharding()
    url = database_url()

    async def work() -> Report:
        async with admin_connection(url) as admin:
            with counting("Migrating workspaces") as show:

                def tell(progress: Progress) -> None:
                    show(progress.stage, progress.done, progress.total)

                return await migrate_all(
                    admin,
                    app_password=password,
                    strict=logins,
                    sharding=placing,
                    connecting=lambda: admin_connection(url),
                    connections=connections,
                    canary=canary or (),
                    only_failed=only_failed,
                    wait_seconds=wait,
                    tell=tell,
                )

    report = run(work())
    if as_json:
        print_json(_report_document(report))
    else:
        _show_report(report)
    if report.failed:
        raise typer.Exit(1)


def stats(
    sort: Annotated[
        Literal["workspace", "size", "rows", "keys", "last-use"], typer.Option(help="The largest or latest first.")
    ] = "workspace",
    as_json: AsJson = False,
) -> None:
    """Show sizes, rows, keys and last use of all workspaces.

    Sizes and rows are what the server's statistics say, within some per cent for a workspace that is in use;
    `workspace show` has the exact size.

    Example: testorchestrator workspace stats --sort size
    """

    async def work() -> list[Usage]:
        async with admin_connection(database_url()) as admin:
            return await usage_of_all(admin)

    found = run(work())
    keys: dict[str, Any] = {
        "size": lambda one: -one.bytes,
        "rows": lambda one: -one.rows,
        "keys": lambda one: -one.keys,
        "last-use": lambda one: -one.last_used_at.timestamp() if one.last_used_at else 0.0,
    }
    if sort in keys:
        found.sort(key=keys[sort])
    if as_json:
        print_json([_usage_document(one) for one in found])
        return
    table = Table("workspace", "state", "revision", "size", "rows", "keys", "last use", header_style="dim")
    for one in found:
        used = "-" if one.last_used_at is None else f"{one.last_used_at:%Y-%m-%d %H:%M}"
        table.add_row(
            one.slug, one.state, one.schema_version, in_megabytes(one.bytes), f"{one.rows:,}", str(one.keys), used
        )
    results.print(table, markup=False)
    total = in_megabytes(sum(one.bytes for one in found))
    results.print(f"{len(found):,} workspaces, {total}, {sum(one.rows for one in found):,} rows.", soft_wrap=True)


def in_megabytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"


def _plan(canary: list[str] | tuple[str, ...], *, only_failed: bool) -> Plan:
    async def work() -> Plan:
        async with admin_connection(database_url()) as admin:
            return await plan(admin, canary=canary, only_failed=only_failed)

    return run(work())


def _show_plan(found: Plan, *, with_sql: bool, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {
            "revision": found.revision,
            "held": found.is_held,
            "controlStatements": len(found.control),
            "stages": [
                {"stage": stage.name, "workspaces": [one.slug for one in stage.workspaces]} for stage in found.stages
            ],
            "skipped": found.skipped,
        }
        print_json(document | ({"sql": {"control": found.control, **found.since}} if with_sql else {}))
        return
    results.print(f"The control schema: {len(found.control)} statements.")
    for stage in found.stages:
        slugs = [one.slug for one in stage.workspaces]
        more = f" and {len(slugs) - _SHOWN:,} more" if len(slugs) > _SHOWN else ""
        results.print(
            f"Stage {stage.name}: {len(slugs):,} workspaces: {', '.join(slugs[:_SHOWN])}{more}", soft_wrap=True
        )
    if not found.stages:
        results.print(f"No workspace has to move: all are at revision {found.revision}.")
    _show_skipped(found.skipped)
    _show_held(is_held=found.is_held)
    for departure, statements in ({"control": found.control} | found.since).items() if with_sql else ():
        results.print(f"-- {departure}", markup=False)
        for statement in statements:
            results.print(f"{statement};", markup=False, soft_wrap=True)


def _show_report(report: Report) -> None:
    results.print(
        f"The database is at revision {report.revision}; {report.done:,} workspaces were brought there"
        + (f" in {report.seconds:,.1f} s ({report.per_second:,.0f}/s)." if report.done else "."),
        soft_wrap=True,
    )
    if report.done > 1:
        slowest = ", ".join(f"{slug} {seconds:.2f} s" for seconds, slug in report.slowest)
        results.print(f"The slowest: {slowest}.", soft_wrap=True)
    _show_skipped(report.skipped)
    _show_held(is_held=report.is_held)
    for slug, reason in report.failed.items():
        notes.print(f"[bold red]failed[/] {slug}: ", end="")
        notes.print(reason, markup=False, soft_wrap=True)
    if report.stopped:
        notes.print(
            f"Stopped after the stage {report.stopped}. When the reason is gone: testorchestrator migrate",
            soft_wrap=True,
        )
    elif report.failed:
        notes.print("When the reasons are gone: testorchestrator migrate --only-failed", soft_wrap=True)


def _show_skipped(skipped: dict[str, str]) -> None:
    by_reason: dict[str, list[str]] = {}
    for slug, reason in skipped.items():
        by_reason.setdefault(reason, []).append(slug)
    for reason, slugs in by_reason.items():
        more = f" and {len(slugs) - _SHOWN:,} more" if len(slugs) > _SHOWN else ""
        results.print(f"Skipped, {reason}: {', '.join(slugs[:_SHOWN])}{more}", markup=False, soft_wrap=True)


def _show_held(*, is_held: bool) -> None:
    if is_held:
        notes.print(
            "[bold yellow]held[/] Processes of an older release are connected, and would not go on with what is left "
            "to do. When they have stopped: testorchestrator migrate",
            soft_wrap=True,
        )


def _report_document(report: Report) -> dict[str, Any]:
    return {
        "revision": report.revision,
        "held": report.is_held,
        "done": report.done,
        "failed": report.failed,
        "skipped": report.skipped,
        "slowest": [{"workspace": slug, "seconds": round(seconds, 3)} for seconds, slug in report.slowest],
        "seconds": round(report.seconds, 3),
        "perSecond": round(report.per_second, 1),
        "stoppedAfter": report.stopped,
    }


def _usage_document(one: Usage) -> dict[str, Any]:
    return {
        "workspace": one.slug,
        "state": one.state,
        "schemaVersion": one.schema_version,
        "bytes": one.bytes,
        "rows": one.rows,
        "keys": one.keys,
        "lastUsedAt": one.last_used_at,
    }
