"""What more workers bring on one machine: `.venv/bin/python -m tests.bench.workers`, with `--smoke` in seconds.

The same service with 1, 2 and 4 workers, side by side over one database; rounds are interleaved and their medians
compared, because machines are noisy: only ratios in one run say something. The load generator and PostgreSQL use the
same processors; `tools/list` asks the database for the key only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tenancy.embedded import embedded_server
from tenancy.roles import APP
from tests.bench.calls import messages
from tests.bench.processes import cores, memory_mib
from tests.bench.rounds import interleaved, medians
from tests.bench.served import QUIET, WARMING, load, serve
from tests.bench.terminal import results
from tests.bench.world import make_world

if TYPE_CHECKING:
    from tests.bench.rounds import Figures

WORKERS = (1, 2, 4)
CALLS = ("tools/list", "read one case", "record a result")
Key = tuple[str, int, int]


def measure(options: argparse.Namespace) -> tuple[dict[Key, list[Figures]], dict[int, float]]:
    """Return by call, connections and workers what the rounds showed, and the memory of each service after them."""
    with (
        tempfile.TemporaryDirectory(prefix="to-workers-") as name,
        embedded_server(Path(name) / "data", settings=QUIET) as server,
        contextlib.ExitStack() as stack,
    ):
        places = asyncio.run(
            make_world(server.dsn(), workspaces=options.workspaces, keys=options.keys, cases=options.cases)
        )
        services = {
            count: serve(stack, server.dsn(user=APP), workers=count, pool_size=options.pool) for count in WORKERS
        }
        contenders = {
            (call, connections, count): partial(
                load,
                port,
                messages(call, port, places),
                connections=connections,
                seconds=options.seconds,
                watched={"service": [pid], "postgres": [server.pid]},
            )
            for call, connections, (count, (port, pid)) in itertools.product(
                CALLS, options.connections, services.items()
            )
        }
        for (_, connections, count), run in contenders.items():
            if connections == options.connections[0] and not options.smoke:
                run(seconds=WARMING * count)
        rounds = interleaved(contenders, options.rounds)
        memory = {count: memory_mib(pid) for count, (_, pid) in services.items()}
    return rounds, memory


def main() -> None:
    """Measure, and print a table or, with --json, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender in each round")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--pool", type=int, default=8, help="connections to the database of each worker")
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--keys", type=int, default=20, help="of each workspace")
    parser.add_argument("--cases", type=int, default=500, help="of each workspace")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.workspaces, options.keys, options.cases = 0, 0.2, 2, 2, 50
    noise = os.getloadavg()[0]
    rounds, memory = measure(options)
    median = medians(rounds)
    if options.json:
        rows = [
            {"call": call, "clients": connections, "workers": count, **figures}
            for (call, connections, count), figures in median.items()
        ]
        figures = {"cores": cores(), "workspaces": options.workspaces, "load_average_before": noise}
        print(json.dumps({**figures, "rows": rows, "memory_mib": memory}, indent=1))  # noqa: T201
        return
    table = Table(title=f"{options.workspaces} workspaces, {cores()} processors")
    for heading in (
        "",
        "clients",
        "workers",
        "calls/s",
        "÷ 1",
        "rounds",
        "p50 ms",
        "p99 ms",
        "service µs",
        "postgres µs",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for (call, connections, count), figures in median.items():
        ratio = figures["per_second"] / median[call, connections, 1]["per_second"]
        table.add_row(
            call,
            str(connections),
            str(count),
            f"{figures['per_second']:,.0f}",
            f"{ratio:.2f}",
            " ".join(f"{one['per_second']:,.0f}" for one in rounds[call, connections, count]),
            *(f"{figures[name]:.1f}" for name in ("p50_ms", "p99_ms")),
            *(f"{figures[name]:,.0f}" for name in ("service_us", "postgres_us")),
        )
    results.print(table)
    for count, mib in memory.items():
        results.print(f"memory with {count} workers, their supervisor included: {mib:.0f} MiB")


if __name__ == "__main__":
    main()
