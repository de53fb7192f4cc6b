"""What more workspaces do to latency: `.venv/bin/python -m tests.bench.workspaces`, with `--smoke` in seconds.

A database gets ever more workspaces; beside it stands one that has ten for good. In each round both are asked, so that
what the machine does meanwhile concerns both: what is told is the ratio. The ten that were first are asked, two hundred
in random order, and all in random order; each with a service of its own, so that what one keeps does not push out
another's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tenancy.connection import admin_connection
from tenancy.embedded import embedded_server
from tenancy.roles import APP
from tests.bench.calls import messages
from tests.bench.processes import cores
from tests.bench.rounds import interleaved, medians
from tests.bench.served import QUIET, WARMING, load, serve
from tests.bench.terminal import notes, results
from tests.bench.world import make_world

if TYPE_CHECKING:
    from tests.bench.world import Place

FEW = 10
BUSY = 200
CALLS = ("read one case", "record a result")
CONTROL, FIRST, SOME, ALL = "beside", "the first ten", "two hundred", "all"
_CASES = 20


async def megabytes(admin_url: str) -> float:
    """Return the size of the database, once all of it is on the disk: writing it must not disturb what follows."""
    async with admin_connection(admin_url) as admin:
        await admin.execute("CHECKPOINT")
        size: int = await admin.fetchval("SELECT pg_database_size(current_database())")
        return size / 1e6


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return for each number of workspaces how fast they were made, and how fast they answer."""
    noise = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="to-workspaces-") as name, contextlib.ExitStack() as stack:
        beside, growing = (
            stack.enter_context(embedded_server(Path(name) / one, settings=QUIET)) for one in ("beside", "growing")
        )
        making = partial(make_world, keys=2, cases=_CASES, vacuumed=False)
        control = asyncio.run(making(beside.dsn(), workspaces=FEW))
        places: list[Place] = []
        for size in options.sizes:
            more = size - len(places)
            start = time.perf_counter()
            places += asyncio.run(making(growing.dsn(), workspaces=more, there=len(places)))
            rate = more / (time.perf_counter() - start)
            made.append(
                {"to": size, "made": more, "per_second": rate, "mb": asyncio.run(megabytes(growing.dsn())) / size}
            )
            notes.print(made[-1])
            with contextlib.ExitStack() as services:
                asked = {CONTROL: (beside, control), FIRST: (growing, places[:FEW])}
                if size > BUSY:
                    asked[SOME] = (growing, places[-BUSY:])
                asked[ALL] = (growing, places)
                contenders = {}
                for which, (server, some) in asked.items():
                    port, _ = serve(services, server.dsn(user=APP))
                    for call in CALLS:
                        sent = messages(call, port, some, variety=max(1_000, 2 * len(some)))
                        contenders[call, which] = partial(load, port, sent, connections=options.clients)
                for one in contenders.values() if options.rounds else ():
                    one(seconds=WARMING)
                runs = {name: partial(one, seconds=options.seconds) for name, one in contenders.items()}
                rounds = interleaved(runs, options.rounds)
            for (call, which), median in medians(rounds).items():
                pairs = zip(rounds[call, which], rounds[call, CONTROL], strict=True)
                ratio = statistics.median(one["p50_ms"] / other["p50_ms"] for one, other in pairs)
                rows.append({"workspaces": size, "call": call, "asked": which, **median, "to_few": ratio})
    return {"cores": cores(), "clients": options.clients, "load_average_before": noise, "made": made, "rows": rows}


def main() -> None:
    """Measure, and print tables or, with --json, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1_000, 5_000], help="numbers of workspaces")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contender in each round")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.sizes, options.rounds, options.seconds = [FEW, FEW + 2], 0, 0.1
    figures = measure(options)
    if options.json:
        print(json.dumps(figures, indent=1))  # noqa: T201
        return
    table = Table(title=f"{options.clients} clients, {cores()} cores")
    for heading in ("", "asked", "workspaces", "calls/s", "p50 ms", "p99 ms", "p50 ÷ that of ten"):
        table.add_column(heading, justify="right" if heading not in {"", "asked"} else "left")
    for row in figures["rows"]:
        cells = (f"{row['workspaces']:,}", f"{row['per_second']:,.0f}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}")
        table.add_row(row["call"], row["asked"], *cells, f"{row['to_few']:.2f}")
    results.print(table)
    for one in figures["made"]:
        made = "{made:,} workspaces made, {to:,} in all: {per_second:.1f}/s, {mb:.1f} MB each"
        results.print(made.format_map(one))


if __name__ == "__main__":
    main()
