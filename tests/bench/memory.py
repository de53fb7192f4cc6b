"""What memory grows with: `.venv/bin/python -m tests.bench.memory`, with `--smoke` in seconds.

Of the service's process and of PostgreSQL's, one for each pooled connection: with the workspaces that are touched, with
and without renewing connections; with prepared statements kept or not; with the number of workers; and over many
requests, where nothing may grow for ever. Memory is that which a process has for itself, unless it says otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tenancy.connection import admin_connection
from tenancy.embedded import EmbeddedServer, embedded_server
from tenancy.roles import APP
from tests.bench.calls import CALLS, messages
from tests.bench.processes import memory_mib, private_mib
from tests.bench.served import load, serve
from tests.bench.terminal import notes, results
from tests.bench.world import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import Place

TOUCHING = ("read one case", "record a result")
NEVER = 1_000_000
_LOOK_SECONDS = 0.2


@dataclass
class Bench:
    """The server, its workspaces, and the rows of the table."""

    server: EmbeddedServer
    places: list[Place]
    connections: int
    rows: list[dict[str, object]]

    def add(self, what: str, **figures: float) -> None:
        """Add a row, and show it at once to who waits."""
        self.rows.append({"what": what, **{name: round(figure, 1) for name, figure in figures.items()}})
        notes.print(what, figures)

    def service(self, stack: contextlib.ExitStack, **settings: object) -> tuple[int, int]:
        """Start a service; its port and process id."""
        pool = {"pool_size": self.connections, "log_level": "warning"}
        return serve(stack, self.server.dsn(user=APP), **(pool | settings))


async def backends(server: EmbeddedServer) -> list[int]:
    """Return the process ids of the service's connections that have been in use."""
    async with admin_connection(server.dsn()) as admin:
        rows = await admin.fetch("SELECT pid FROM pg_stat_activity WHERE usename = $1", APP)
    return [row["pid"] for row in rows]


@contextlib.contextmanager
def watched(server: EmbeddedServer) -> Iterator[list[list[float]]]:
    """Look at the memory of all connections again and again while the block runs."""
    seen: list[list[float]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_LOOK_SECONDS):
            found = []
            for pid in asyncio.run(backends(server)):
                # One may be gone already, or be on its way and have none yet.
                with contextlib.suppress(OSError, ValueError):
                    found.append(private_mib(pid))
            if found:
                seen.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def touched(bench: Bench, count: int, *, renew_after: int, seconds: float) -> None:
    """Measure with that many workspaces, each read and written in random order."""
    with contextlib.ExitStack() as stack:
        port, pid = bench.service(stack, pool_renew_after_workspaces=renew_after, pool_renew_after=NEVER)
        before = private_mib(pid)
        places = bench.places[:count]
        sent = [message for call in TOUCHING for message in messages(call, port, places, variety=4 * count)]
        with watched(bench.server) as seen:
            load(port, sent, connections=2 * bench.connections, seconds=seconds)
        renewed = "never" if renew_after == NEVER else f"after {renew_after}"
        bench.add(
            f"{count:,} workspaces, connections renewed {renewed}",
            service_mib=private_mib(pid),
            service_grew_mib=private_mib(pid) - before,
            connection_mean_mib=statistics.mean(seen[-1]),
            connection_most_mib=max(max(one) for one in seen),
            all_connections_most_mib=max(sum(one) for one in seen),
        )


def statements(bench: Bench, size: int, *, seconds: float) -> None:
    """Measure with so many prepared statements kept by each connection, after every kind of call."""
    with contextlib.ExitStack() as stack:
        port, pid = bench.service(stack, statement_cache_size=size)
        sent = [message for call in CALLS for message in messages(call, port, bench.places[:10], variety=100)]
        with watched(bench.server) as seen:
            load(port, sent, connections=2 * bench.connections, seconds=seconds)
        bench.add(
            f"{size} prepared statements kept, all kinds of calls, 10 workspaces",
            service_mib=private_mib(pid),
            connection_mean_mib=statistics.mean(seen[-1]),
        )


def workers(bench: Bench, count: int, *, seconds: float) -> None:
    """Measure that many workers after a load; what they share is counted once."""
    with contextlib.ExitStack() as stack:
        port, pid = bench.service(stack, workers=count)
        load(port, messages("read one case", port, bench.places[:10]), connections=32, seconds=seconds)
        bench.add(f"{count} workers and their supervisor", all_mib=memory_mib(pid))


def requests(bench: Bench, count: int, *, seconds: float) -> None:
    """Measure at a quarter, a half and the end of so many requests, on few workspaces, where they are quickest."""
    kinds = ("tools/list", "read one case", "list 50 cases", "record a result", "search")
    with contextlib.ExitStack() as stack:
        port, pid = bench.service(stack)
        sent = [message for call in kinds for message in messages(call, port, bench.places[:4], variety=1_000)]
        random.Random(0).shuffle(sent)  # noqa: S311 - a load, not a secret
        done, marks = 0, [count // 20, count // 4, count // 2, count]
        figures: dict[str, float] = {}
        for mark in marks:
            while done < mark:
                done += int(load(port, sent, connections=16, seconds=seconds)["requests"])
            figures[f"after_{mark}_mib"] = private_mib(pid)
        bench.add("the service's process over many requests", **figures)


def main() -> None:
    """Measure, and print a table or, with --json, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspaces", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--connections", type=int, default=4, help="to the database")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--requests", type=int, default=200_000, help="over which nothing may grow; 0: leave that out")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.workspaces, options.seconds, options.requests = [10], 0.3, 20
    with (
        tempfile.TemporaryDirectory(prefix="to-memory-") as name,
        embedded_server(Path(name) / "data", durable=False) as server,
    ):
        places = asyncio.run(make_world(server.dsn(), workspaces=max(options.workspaces), keys=1, cases=60))
        bench = Bench(server, places, options.connections, [])
        for count in options.workspaces:
            for renew_after in (100, NEVER):
                touched(bench, count, renew_after=renew_after, seconds=options.seconds)
        for size in (0, 600):
            statements(bench, size, seconds=options.seconds)
        for count in (1, 2, 4):
            workers(bench, count, seconds=options.seconds)
        if options.requests:
            requests(bench, options.requests, seconds=options.seconds / 2)
    if options.json:
        print(json.dumps(bench.rows, indent=1))  # noqa: T201
        return
    table = Table("what", "MiB", title="Memory")
    for row in bench.rows:
        figures = (f"{name.removesuffix('_mib').replace('_', ' ')} {row[name]}" for name in row if name != "what")
        table.add_row(str(row["what"]), "\n".join(figures))
    results.print(table)


if __name__ == "__main__":
    main()
