"""The commands, and what every one of them does with a fault: one line, exit code 1, no traceback.

A command's module is imported when it is the one that was asked for, since some bring half a second of imports.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from service.cli.console import fail
from service.cli.secret_files import read_secret_files
from service.errors import Refused, SettingsError
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def _up() -> Callable[..., None]:
    from service.cli.up import up

    return up


def _serve() -> Callable[..., None]:
    from service.cli.serve import serve

    return serve


def _migrate() -> Callable[..., None]:
    from service.cli.operate import migrate

    return migrate


def _doctor() -> Callable[..., None]:
    from service.cli.doctor import doctor

    return doctor


def _exporter() -> Callable[..., None]:
    from service.cli.exporter import exporter

    return exporter


def _workspace() -> typer.Typer:
    from service.cli import apply, archive, operate, placement

    archive.add_commands(operate.workspace)
    placement.add_commands(operate.workspace)
    apply.add_commands(operate.workspace)
    return operate.workspace


def _user() -> typer.Typer:
    from service.cli import links
    from service.cli.people import user

    links.add_commands(user)
    return user


def _group() -> typer.Typer:
    from service.cli.people import group

    return group


def _role() -> typer.Typer:
    from service.cli.roles import role

    return role


def _project() -> typer.Typer:
    from service.cli.projects import project

    return project


def _access() -> typer.Typer:
    from service.cli.access import access

    return access


def _key() -> typer.Typer:
    from service.cli.keys import key

    return key


def _configured(name: str) -> typer.Typer:
    from service.cli.configure import group

    return group(name)


class _Lazy(NamedTuple):
    """What the overview says of a command, and where it is."""

    summary: str
    load: Callable[[], Callable[..., None] | typer.Typer]


COMMANDS = {
    "up": _Lazy("Start everything: PostgreSQL, a demo workspace with a key, and POST /mcp.", _up),
    "serve": _Lazy("Serve POST /mcp over the database of SERVICE_DATABASE_URL.", _serve),
    "migrate": _Lazy("Bring the database of DATABASE_URL to this release's schema.", _migrate),
    "doctor": _Lazy("Show how the database isolates the workspaces, what is weak in it, and what mends that.", _doctor),
    "exporter": _Lazy("Tell Prometheus how many workspaces there are, by state and schema version.", _exporter),
    "workspace": _Lazy("Create, list, suspend and resume workspaces; back up, restore and clone one.", _workspace),
    "user": _Lazy("Create, invite, change, show, deactivate and activate users.", _user),
    "group": _Lazy("Access groups: users who get a rule on a project together.", _group),
    "role": _Lazy("Roles: what one may do in a project.", _role),
    "project": _Lazy("Projects, and who may enter them.", _project),
    "access": _Lazy("Who may do what, and why.", _access),
    "field": _Lazy("Fields that cases can have.", partial(_configured, "field")),
    "template": _Lazy("Templates: which fields a case has.", partial(_configured, "template")),
    "status": _Lazy("Statuses: what a result can say.", partial(_configured, "status")),
    "lifecycle": _Lazy("Lifecycle states: where cases and runs stand.", partial(_configured, "lifecycle")),
    "tag": _Lazy("Tags of cases and of runs.", partial(_configured, "tag")),
    "platform-group": _Lazy("Platform groups, such as Browser.", partial(_configured, "platform-group")),
    "environment": _Lazy("Environments: combinations of platforms.", partial(_configured, "environment")),
    "cycle-type": _Lazy("Cycle types, such as Sprint.", partial(_configured, "cycle-type")),
    "source": _Lazy("Sources: the issue trackers.", partial(_configured, "source")),
    "relation": _Lazy("Relations: what a link means.", partial(_configured, "relation")),
    "key": _Lazy("Create, list and revoke API keys.", _key),
}


class Commands(TyperGroup):
    """The overview; the command itself comes in its place as soon as it is meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that *args* name, with its module imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest


def load(name: str) -> Any:
    """Return the command or group of that name, whole."""
    found = COMMANDS[name].load()
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
        return typer.main.get_group(alone).commands[name]
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="testorchestrator",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 1 refused or failed (the reason is one line), 2 wrong usage, 130 interrupted. "
    "NAME_FILE gives the value of DATABASE_URL, SERVICE_DATABASE_URL or any TESTORCHESTRATOR_ setting in a file.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from service import __version__

        typer.echo(f"testorchestrator {__version__}")
        raise typer.Exit


@app.callback()
def start(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """TestOrchestrator: a QA system of record for AI agents, over one MCP endpoint."""
    read_secret_files()


def _not_loaded() -> NoReturn:
    raise AssertionError


for _name, _lazy in COMMANDS.items():
    app.command(_name, help=_lazy.summary)(_not_loaded)


def main() -> None:
    """Run the command line."""
    # A command that starts a server stops it on SIGTERM as on Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="testorchestrator")
    except (TenancyError, SettingsError, Refused) as error:
        sys.exit(fail(str(error)).exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
