"""What the service does in a second, as ratios to references measured in the same run: `./dev bench`.

References: pgbench running the very SQL and round trips of a call, the limit; the servers that people would build on
otherwise, with a tool that does nothing and needs no database; a plain Quart route and a bare ASGI application on the
same web server, our floor. Rounds are interleaved and ratios taken within each, because machines are noisy; only ratios
say something. CPU times are of one request, in the service and in PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from tenancy.embedded import EmbeddedServer, embedded_server
from tenancy.roles import APP
from tests.bench import pgbench
from tests.bench.calls import CALLS, MIXED, messages
from tests.bench.contenders import FLOOR, PEERS, PYTHON_SDK, QUART
from tests.bench.processes import cores, memory_mib
from tests.bench.round_trips import counted
from tests.bench.rounds import Figures, interleaved, medians
from tests.bench.served import QUIET, WARMING, ask, load, serve
from tests.bench.terminal import results
from tests.bench.world import Place, make_world
from tests.clients.environments import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE, BULK = "read one case", "record a result", "record 100 results"
MODERN = f"{READ}, modern era"
CROWD = f"{READ}, 64 clients"
ALL_CORES = f"{READ}, a process per core"
TWIN = "pgbench, the read's SQL"
WRITING_TWIN = "pgbench, the result's SQL"
ALL_CORES_TWIN = f"{TWIN}, a thread per core"
#: As many as a process of the service has by default.
POOL = 10
_CROWD = 64


async def count_round_trips(server: EmbeddedServer, folder: Path, places: list[Place]) -> dict[str, int]:
    """Return by call the round trips that one takes, once the connection knows its queries.

    The one that ends a call which has only read is counted, although nobody waits for it.
    """
    found = {}
    async with counted(folder, server.socket_directory / ".s.PGSQL.5432") as traffic:
        url = server.dsn(user=APP).replace(quote(str(server.socket_directory), safe=""), quote(str(folder), safe=""))
        with contextlib.ExitStack() as stack:
            port, _ = await asyncio.to_thread(serve, stack, url, pool_size=1)
            for name in (*CALLS, "tools/list"):
                one = messages(name, port, places)[0]
                for _ in range(8):
                    before = await traffic.total()
                    await asyncio.to_thread(ask, port, one)
                    found[name] = await traffic.total() - before
            await asyncio.to_thread(stack.close)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of all contenders, and what they were."""
    noise = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="to-bench-") as name,
        embedded_server(Path(name) / "data", settings=QUIET) as server,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        places = asyncio.run(
            make_world(server.dsn(), workspaces=options.workspaces, keys=options.keys, cases=options.cases)
        )
        (folder / "counted").mkdir()
        trips = asyncio.run(count_round_trips(server, folder / "counted", places))
        urls = pgbench.Urls(admin=server.dsn(), service=server.dsn(user=APP))
        running = partial(load, connections=options.connections, seconds=options.seconds)
        contenders: dict[str, Callable[..., Figures]] = {}
        pids = {}
        # A service for each, as pgbench has connections for each of its: what one keeps does not push out another's.
        for call in (*CALLS, MIXED, MODERN, "tools/list"):
            port, pids[call] = serve(stack, urls.service, pool_size=POOL)
            watched = {"service": [pids[call]], "postgres": [server.pid]}
            sent = messages(READ, port, places, modern=True) if call == MODERN else messages(call, port, places)
            contenders[call] = partial(running, port, sent, watched=watched)
        contenders[CROWD] = partial(contenders[READ], connections=_CROWD)
        services = [serve(stack, urls.service, pool_size=POOL) for _ in range(cores())]
        contenders[ALL_CORES] = partial(
            running,
            [port for port, _ in services],
            messages(READ, services[0][0], places),
            watched={"service": [pid for _, pid in services], "postgres": [server.pid]},
            connections=options.connections * cores(),
        )
        ours = list(contenders)
        for warm in [] if options.smoke else contenders.values():
            warm(seconds=WARMING)
        reading = asyncio.run(pgbench.scripts(urls, folder, "get_test_case", places))
        writing = asyncio.run(pgbench.scripts(urls, folder, "record_test_result", places))
        for twin, files, processes in (
            (TWIN, reading, 1),
            (ALL_CORES_TWIN, reading, cores()),
            (WRITING_TWIN, writing, 1),
        ):
            standing = pgbench.Standing(stack, urls.service, files, clients=POOL * processes, jobs=processes)
            contenders[twin] = partial(standing.run, options.seconds)
            standing.run(options.seconds if options.smoke else WARMING)
        versions = {"Python": platform.python_version(), "PostgreSQL": pgbench.version()}
        missing = {}
        for one in (*PEERS, *FLOOR):
            try:
                at, process = one.start(stack)
            except NotInstalled as reason:
                missing[one.name] = str(reason)
                continue
            contenders[one.name] = partial(running, at, [one.request(at)], watched={"service": [process]})
            versions[one.name] = one.version()
        rounds = interleaved(contenders, options.rounds)
        memory = memory_mib(pids[MIXED])
    median = medians(rounds)
    setting = {name: getattr(options, name) for name in ("connections", "workspaces", "keys", "cases", "seconds")}
    return {
        "setting": {**setting, "cores": cores(), "load_average_before": noise},
        "versions": versions,
        "missing": missing,
        "ours": ours,
        "contenders": {name: {"median": median[name], "rounds": found} for name, found in rounds.items()},
        "round_trips": trips,
        "ratios": ratios(rounds),
        "memory_mib": memory,
    }


def ratios(rounds: dict[str, list[Figures]]) -> dict[str, dict[str, Any]]:
    """Return the ratios with their aims: the median of what each round has, since noise concerns all of a round."""

    def of(name: str, figure: str, other: str, other_figure: str = "") -> list[float]:
        pairs = zip(rounds[name], rounds[other], strict=True)
        return [one[figure] / two[other_figure or figure] for one, two in pairs]

    rate = "per_second"
    speed = {one.name: medians(rounds)[one.name][rate] for one in PEERS if one.name in rounds}
    fastest = max(speed, key=lambda name: speed[name])
    wanted = [
        *(
            (f"read ÷ Python SDK's no-op, {era}", of(ours, rate, PYTHON_SDK[era].name), "≥", 4.0)
            for era, ours in (("handshake era", READ), ("modern era", MODERN))
        ),
        (f"read ÷ the fastest peer, {fastest}", of(MODERN, rate, fastest), "≥", 2.0),
        ("read ÷ pgbench with its SQL, all cores", of(ALL_CORES, rate, ALL_CORES_TWIN), "≥", 0.5),
        ("read ÷ pgbench with its SQL, one process", of(READ, rate, TWIN), "", None),
        ("result ÷ pgbench with its SQL, one process", of(WRITE, rate, WRITING_TWIN), "", None),
        ("plain Quart route's CPU ÷ the service's for a read", of(QUART.name, "service_us", READ), "≥", 0.8),
        ("p99 ÷ median of a read, 64 clients", of(CROWD, "p99_ms", CROWD, "p50_ms"), "≤", 4.0),
        ("100 results in one call ÷ one result", of(BULK, "p50_ms", WRITE), "≤", 6.0),
    ]
    found = {}
    for what, each, sign, aim in wanted:
        ratio = statistics.median(each)
        met = aim is None or (ratio >= aim if sign == "≥" else ratio <= aim)
        found[what] = {"ratio": ratio, "rounds": each, "aim": f"{sign} {aim:g}" if aim else "", "met": met}
    return found


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table, and the ratios."""
    setting = figures["setting"]
    table = Table(title="{connections} connections, {workspaces} workspaces, {cores} cores".format_map(setting))
    for heading in ("", "calls/s", "rounds", "p50 ms", "p99 ms", "service µs", "postgres µs", "round trips"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures["contenders"].items():
        median = found["median"]
        cells = [f"{name} {figures['versions'].get(name, '')}", f"{median['per_second']:,.0f}"]
        cells.append(" ".join(f"{one['per_second']:,.0f}" for one in found["rounds"]))
        cells += [f"{median[key]:.1f}" if key in median else "" for key in ("p50_ms", "p99_ms")]
        cells += [f"{median[key]:,.0f}" if key in median else "" for key in ("service_us", "postgres_us")]
        cells.append(str(figures["round_trips"].get(name, "")))
        table.add_row(*cells)
    results.print(table)
    for name, reason in figures["missing"].items():
        results.print(f"{name}: not here, {reason}")
    for what, found in figures["ratios"].items():
        aim = f" (aim: {found['aim']}{'' if found['met'] else ', not met'})" if found["aim"] else ""
        results.print(f"{what}: {found['ratio']:.2f}{aim}")
    results.print(f"memory of the service: {figures['memory_mib']:.0f} MiB")


def main() -> None:
    """Measure, and print tables or, with --json, the figures."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contender in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--keys", type=int, default=20, help="of each workspace")
    parser.add_argument("--cases", type=int, default=2_000, help="of each workspace")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 0, 0.2
        options.workspaces, options.keys, options.cases = 2, 2, 100
    figures = measure(options)
    if options.json:
        print(json.dumps(figures, indent=1))  # noqa: T201
    else:
        show(figures)


if __name__ == "__main__":
    main()
