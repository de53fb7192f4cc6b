"""What commands share: words to a person on standard error, results on standard output, one line for a fault."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from service.cli.completion import complete_workspace
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Coroutine

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
