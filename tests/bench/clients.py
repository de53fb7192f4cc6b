"""What more clients at once do to a call: `.venv/bin/python -m tests.bench.clients`, with `--smoke` in seconds.

One process of the service; each client sends its next call as soon as the last is answered. Rounds are interleaved and
their medians compared: only ratios say something.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tenancy.embedded import embedded_server
from tenancy.roles import APP
from tests.bench.calls import messages
from tests.bench.processes import cores
from tests.bench.rounds import interleaved, medians
from tests.bench.served import QUIET, WARMING, load, serve
from tests.bench.terminal import results
from tests.bench.world import make_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.rounds import Figures

CLIENTS = (1, 4, 16, 64, 256)
CALLS = ("read one case", "record a result")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return by call and clients the medians, and the ratio of p99 to the median."""
    noise = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="to-clients-") as name,
        embedded_server(Path(name) / "data", settings=QUIET) as server,
        contextlib.ExitStack() as stack,
    ):
        places = asyncio.run(
            make_world(server.dsn(), workspaces=options.workspaces, keys=options.keys, cases=options.cases)
        )
        port, pid = serve(stack, server.dsn(user=APP))
        watched = {"service": [pid], "postgres": [server.pid]}
        contenders: dict[tuple[str, int], Callable[[], Figures]] = {}
        for call in CALLS:
            sent = messages(call, port, places)
            if not options.smoke:
                load(port, sent, connections=16, seconds=WARMING)
            for clients in CLIENTS:
                run = partial(load, port, sent, connections=clients, seconds=options.seconds, watched=watched)
                contenders[call, clients] = run
        rounds = interleaved(contenders, options.rounds)
    rows = [
        {"call": call, "clients": clients, **median, "p99_to_median": median["p99_ms"] / median["p50_ms"]}
        for (call, clients), median in medians(rounds).items()
    ]
    return {"cores": cores(), "workspaces": options.workspaces, "load_average_before": noise, "rows": rows}


def main() -> None:
    """Measure, and print a table or, with --json, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each number of clients in each round")
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--keys", type=int, default=20, help="of each workspace")
    parser.add_argument("--cases", type=int, default=200, help="of each workspace")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 0, 0.1
        options.workspaces, options.keys, options.cases = 2, 2, 20
    figures = measure(options)
    if options.json:
        print(json.dumps(figures, indent=1))  # noqa: T201
        return
    table = Table(title=f"{options.workspaces} workspaces, {cores()} cores")
    for heading in ("", "clients", "calls/s", "p50 ms", "p99 ms", "p99 ÷ p50", "service µs", "postgres µs"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in figures["rows"]:
        table.add_row(
            row["call"],
            str(row["clients"]),
            f"{row['per_second']:,.0f}",
            *(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms", "p99_to_median")),
            *(f"{row[key]:,.0f}" for key in ("service_us", "postgres_us")),
        )
    results.print(table)


if __name__ == "__main__":
    main()
