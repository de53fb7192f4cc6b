"""The commands, and what every one of them does with a fault: one line, exit code 1, no traceback."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from service.cli import archive, keys, links, operate, people, projects, roles, up
from service.cli.access import access
from service.cli.console import fail
from service.cli.doctor import doctor
from service.errors import Refused
from service.settings import SettingsError
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from types import FrameType

app = typer.Typer(
    name="testorchestrator",
    help="TestOrchestrator: a QA system of record for AI agents, over one MCP endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(up.up)
app.command()(operate.serve)
app.command()(operate.migrate)
app.command()(doctor)
archive.add_commands(operate.workspace)
app.add_typer(operate.workspace, name="workspace")
links.add_commands(people.user)
app.add_typer(people.user, name="user")
app.add_typer(people.group, name="group")
app.add_typer(roles.role, name="role")
app.add_typer(projects.project, name="project")
app.add_typer(access, name="access")
app.add_typer(keys.key, name="key")


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
