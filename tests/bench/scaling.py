"""How calls take longer with more clients and more workspaces: `.venv/bin/python -m tests.bench.scaling`.

First the workspaces, of which there are more and more in one database, with a key each and everything spread over all
of them; then the clients, over those of the largest number. Each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import track
from rich.table import Table

from tenancy.embedded import embedded_server
from tenancy.roles import APP
from tests.bench.__main__ import READ, Figures, measure, medians, service
from tests.bench.calls import messages
from tests.bench.processes import cores
from tests.bench.terminal import notes, results
from tests.bench.world import make_world

if TYPE_CHECKING:
    from tenancy.embedded import EmbeddedServer
    from tests.bench.world import Place

WRITE = "record a result"


def main() -> None:
    """Measure, and print tables or, with --json, the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--workspaces", type=_numbers, default=[10, 100, 1000], help="such as 10,1000,5000")
    parser.add_argument("--clients", type=_numbers, default=[1, 4, 16, 64, 256])
    parser.add_argument("--cases", type=int, default=50, help="of each workspace")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.connections = 16
    with tempfile.TemporaryDirectory(prefix="to-bench-") as name, embedded_server(Path(name) / "data") as server:
        found: dict[str, dict[int, dict[str, Figures]]] = {"workspaces": {}, "clients": {}}
        places: list[Place] = []
        for number in options.workspaces:
            added = make_world(
                server.dsn(), workspaces=number - len(places), keys=1, cases=options.cases, there=len(places)
            )
            places += asyncio.run(added)
            found["workspaces"][number] = _measured(server, places, options, f"{number} workspaces")
        few = places[: min(options.workspaces)]
        for number in options.clients:
            options.connections = number
            found["clients"][number] = _measured(server, few, options, f"{number} clients")
    if options.json:
        print(json.dumps({"cores": cores(), **found}))  # noqa: T201
        return
    for what, figures in found.items():
        results.print(_table(what, figures))


def _measured(
    server: EmbeddedServer, places: list[Place], options: argparse.Namespace, what: str
) -> dict[str, Figures]:
    with contextlib.ExitStack() as stack:
        port, pid = service(stack, server.dsn(user=APP))
        rounds: dict[str, list[Figures]] = {READ: [], WRITE: []}
        sent = {call: messages(call, port, places) for call in rounds}
        # The first round warms up.
        for number in track(range(options.rounds + 1), what, console=notes, transient=True):
            for call, figures in rounds.items():
                one = measure(port, sent[call], watched={"service": pid, "postgres": server.pid}, options=options)
                if number:
                    figures.append(one)
        return {call: medians(figures) for call, figures in rounds.items()}


def _table(what: str, figures: dict[int, dict[str, Figures]]) -> Table:
    table = Table(title=f"by {what}, {cores()} cores")
    columns: tuple[tuple[str, str, str], ...] = (
        ("calls/s", "per_second", ",.0f"),
        ("p50 ms", "p50_ms", ".1f"),
        ("p99 ms", "p99_ms", ".1f"),
        ("service µs", "service_us", ",.0f"),
        ("postgres µs", "postgres_us", ",.0f"),
    )
    for heading in (what, "", *(heading for heading, _, _ in columns), "p99 / p50"):
        table.add_column(heading, justify="right" if heading else "left")
    for number, calls in figures.items():
        for call, one in calls.items():
            cells = [format(one[key], form) for _, key, form in columns]
            table.add_row(f"{number:,}", call, *cells, f"{one['p99_ms'] / one['p50_ms']:.1f}")
    return table


def _numbers(text: str) -> list[Any]:
    return sorted(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
