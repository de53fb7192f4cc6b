"""A service of its own to measure, and what a load on it shows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.bench.processes import cpu_seconds, free_port, running

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence

    from tests.bench.rounds import Figures

HERE = Path(__file__).parent
#: Settings of PostgreSQL while something is measured. Whose turn it strikes is chance, and all plans of a table that it
#: has analysed are made anew.
QUIET = {"max_connections": "400", "autovacuum": "off"}
#: Seconds of load until every connection has met fifty workspaces a few times, and keeps their plans.
WARMING = 12.0
ROOT = HERE.parents[1]


def serve(stack: contextlib.ExitStack, database_url: str, **settings: object) -> tuple[int, int]:
    """Start a service with these settings until the stack ends; its port and process id."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment |= {"SERVICE_DATABASE_URL": database_url, "TESTORCHESTRATOR_CALLS_PER_SECOND": "0"}
    environment |= {f"TESTORCHESTRATOR_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", port]
    started = stack.enter_context(running(command, port=port, env=environment, cwd=ROOT))
    return port, started.pid


def load(
    ports: int | list[int],
    sent: list[str],
    *,
    connections: int,
    seconds: float,
    watched: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Figures:
    """Return what the load generator saw, and the CPU microseconds of one request in the processes that are watched."""
    order = {"ports": ports if isinstance(ports, list) else [ports], "messages": sent}
    before = {name: sum(map(cpu_seconds, pids)) for name, pids in watched.items()}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, HERE / "load.py"],
        input=json.dumps({**order, "connections": connections, "seconds": seconds}),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise SystemExit(f"the load generator failed: {done.stderr}")
    figures: Figures = json.loads(done.stdout)
    for name, pids in watched.items():
        figures[f"{name}_us"] = (sum(map(cpu_seconds, pids)) - before[name]) / figures["requests"] * 1e6
    return figures


def ask(port: int, request: str) -> bytes:
    """Send one request and return all that is answered."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))
        while part := connection.recv(65536):
            answer += part
    return answer
