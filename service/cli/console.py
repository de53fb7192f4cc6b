"""What commands share: words to a person on standard error, results on standard output, one line for a fault."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.cli.completion import complete_workspace
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rich.progress import Task

    from tenancy.citus import Sharding
    from tenancy.strict import StrictLogins

Result = TypeVar("Result")
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")]
Slug = Annotated[
    str, typer.Argument(metavar="WORKSPACE", help="The workspace's name.", autocompletion=complete_workspace)
]
InWorkspace = Annotated[
    str,
    typer.Option("--workspace", metavar="WORKSPACE", help="The workspace's name.", autocompletion=complete_workspace),
]

#: For people: progress and notes. Standard output holds results only.
notes = Console(stderr=True, highlight=False)
results = Console(highlight=False)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run *work* on a fast event loop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class _Rate(ProgressColumn):
    """How many there are in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


@contextmanager
def counting(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar to a person while *what* is done; yield what to tell a step's name, how many are done, of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def show(step: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what} ({step})" if step else what, completed=done, total=total)

        yield show


def print_json(document: object) -> None:
    """Print *document* as one line of JSON on standard output."""
    import orjson

    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def database_url() -> str:
    """Return the administrator's DATABASE_DIRECT_URL, else DATABASE_URL; raise TenancyError where both are missing."""
    if url := os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL"):
        return url
    raise TenancyError(
        "DATABASE_URL is not set: give the administrator's URL, such as postgresql://postgres:password@host:5432/database."
    )


def strict_logins() -> StrictLogins | None:
    """Return the logins of strict mode, None where TESTORCHESTRATOR_STRICT_SECRET is not set."""
    from service.settings import strict_secret
    from tenancy.strict import StrictLogins

    secret = strict_secret()
    return None if secret is None else StrictLogins(secret)


def sharding() -> Sharding:
    """Return what TESTORCHESTRATOR_CITUS says of new workspaces."""
    from service.settings import citus
    from tenancy.citus import Sharding

    return Sharding(citus())


def fail(message: str) -> typer.Exit:
    """Print *message* as the one line that says what is wrong, and return what ends the command with code 1."""
    notes.print("[bold red]error:[/]", escape(message), soft_wrap=True)
    return typer.Exit(1)
