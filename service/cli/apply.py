"""`workspace apply` and `workspace config`: a workspace's configuration as a file, compared, applied, and written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.text import Text

from service.cli.administer import Yes, confirm, opened, working
from service.cli.console import AsJson, Slug, notes, print_json, results, run
from service.domain.setup.apply import Difference, apply, stored_configuration
from service.domain.setup.reading import read_configuration
from service.errors import Refused
from tenancy import keys
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.domain.setup.document import Configuration
    from service.domain.work import Work

DIFFERENCES = 3
# What need not be said of an element of a list.
_USUAL = {"enabled": True, "required": False}
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the differences, and store nothing.")]


class _Undone(Exception):  # noqa: N818 - a dry run is no error
    """Rolls the transaction back after everything was tried."""


async def apply_to(
    slug: str,
    command: str,
    configuration: Configuration,
    *,
    dry_run: bool,
    check: Callable[[Work], Awaitable[None]] | None = None,
) -> list[Difference]:
    """Apply the document in one transaction, which a dry run undoes: what the rules refuse is found either way.

    *check* is done first, in the same transaction.
    """
    differences: list[Difference] = []
    try:
        async with opened(slug) as at:
            async with working(at, command) as work:
                if check is not None:
                    await check(work)
                differences += await apply(work, configuration)
            _stop_if(dry_run=dry_run)
            for one in differences:
                if one.section == "users" and "active" in one.values:
                    active = bool(one.values["active"][1])
                    await keys.set_owner_active(
                        at.admin, workspace_id=at.where.id, user_id=one.object_id, active=active
                    )
    except _Undone:
        pass
    return differences


def _stop_if(*, dry_run: bool) -> None:
    if dry_run:
        raise _Undone


def apply_file(
    slug: Slug,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The document in YAML; - for standard input.")],
    *,
    dry_run: DryRun = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"With --dry-run: exit code {DIFFERENCES} if there are differences.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring a workspace's configuration to what a document says: all of it, or nothing.

    What the document does not mention stays. The differences are shown first, and you are asked.

    Example: testorchestrator workspace apply acme config.yaml --dry-run
    """
    try:
        configuration = read_configuration(_read(file))
        differences = run(apply_to(slug, "workspace apply", configuration, dry_run=True))
        if not as_json:
            show(differences)
        if differences and not dry_run:
            confirm(f"Apply to workspace {slug}?", yes=yes)
            differences = run(apply_to(slug, "workspace apply", configuration, dry_run=False))
    except Refused as refused:
        raise told(refused) from refused
    if as_json:
        changes = [one.document() for one in differences]
        print_json({"workspace": slug, "dryRun": dry_run, "differences": changes})
    elif differences and not dry_run:
        results.print(f"Applied to {slug}: {_count(differences)}.")
    if dry_run and exit_code and differences:
        raise typer.Exit(DIFFERENCES)


def config(slug: Slug, as_json: AsJson = False) -> None:
    """Print a workspace's configuration as a document that workspace apply takes, to be kept in a file.

    Example: testorchestrator workspace config acme
    """

    async def read() -> dict[str, Any]:
        async with opened(slug) as at, working(at, "workspace config") as work:
            return await stored_configuration(work)

    document = run(read())
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def told(refused: Refused) -> TenancyError:
    """Show each fault of a refused document on a line of its own; return the error that ends the command."""
    errors = refused.details.get("errors", [str(refused)])
    for one in errors[:-1] if len(errors) > 1 else []:
        notes.print(Text(f"  {one}"), soft_wrap=True)
    return TenancyError(errors[-1] if errors else str(refused))


def show(differences: list[Difference]) -> None:
    """Print differences: + what is new, ~ what changes, with old and new values."""
    if not differences:
        results.print("There are no differences.")
    for one in differences:
        sign, style = ("+", "green") if one.created else ("~", "yellow")
        results.print(Text(f"{sign} {one.noun} {one.name}", style=style), soft_wrap=True)
        for name, (old, new) in one.values.items():
            words = _words(new) if one.created else _changed(old, new)
            results.print(Text(f"    {name.replace('_', ' ')}: {words}"), soft_wrap=True)
    if differences:
        results.print(f"{_count(differences)}.")


def _changed(old: Any, new: Any) -> str:
    """Return what changed; of lists only what came and what went, unless it is their order."""
    if isinstance(old, list) and isinstance(new, list):
        went, came = ([one for one in a if one not in b] for a, b in ((old, new), (new, old)))
        if went or came:
            return ", ".join([*(f"+ {_words(one)}" for one in came), *(f"- {_words(one)}" for one in went)])
    return f"{_words(old)} → {_words(new)}"


def _count(differences: list[Difference]) -> str:
    new = sum(one.created for one in differences)
    return f"{new} new, {len(differences) - new} changed"


def _words(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case list() | dict() if not value:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_words(one) for one in value)
        case dict():
            first, *rest = value.items()
            more = [
                f"{name}: {_words(one)}"
                for name, one in rest
                if one not in (None, first[1]) and one != _USUAL.get(name)
            ]
            return f"{_words(first[1])} ({', '.join(more)})" if more else _words(first[1])
        case _:
            return str(value)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise TenancyError(f"Cannot read {file}: {reason}.") from error


def add_commands(workspace: typer.Typer) -> None:
    """Add the commands to those for workspaces."""
    workspace.command("apply")(apply_file)
    workspace.command("config")(config)
