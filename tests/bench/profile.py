"""Where the time of a call goes: `.venv/bin/python -m tests.bench.profile "read one case"`, with `--smoke` in seconds.

Under load over many workspaces, what each statement of the call costs PostgreSQL to plan and to execute
(pg_stat_statements), and in which packages and functions the service is (py-spy). Both cost something themselves, so
these figures are shares of a call, not its speed. With `--plans` also how each statement of one call was executed,
those within functions and triggers too (auto_explain).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tenancy.connection import admin_connection
from tenancy.embedded import embedded_server
from tenancy.roles import APP
from tests.bench.calls import CALLS, messages
from tests.bench.served import QUIET, ask, load, serve
from tests.bench.terminal import notes, results
from tests.bench.world import make_world

if TYPE_CHECKING:
    import asyncpg

    from tenancy.embedded import EmbeddedServer

_SETTINGS = QUIET | {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": "on",
    "pg_stat_statements.max": "50000",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_parameter_max_length": "0",
}
_STATEMENTS = """
    SELECT query, calls, total_plan_time AS planning, plans, total_exec_time AS executing
    FROM statistics.pg_stat_statements
    WHERE userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
"""
_EXTENSION = "CREATE SCHEMA statistics; CREATE EXTENSION pg_stat_statements SCHEMA statistics"
_SCHEMA = re.compile(r"\bw_[a-z0-9]{4,40}\b")
#: Of a path, what is not said.
_ROOTS = re.compile(r".*/site-packages/|.*/lib/python3\.\d+/|" + re.escape(f"{Path(__file__).parents[2]}/"))
#: What auto_explain writes of one statement: its text and its plan, each line behind a tab.
_EXPLAINED = re.compile(r"duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")
#: Until every connection has heard of another setting.
_RELOAD_SECONDS = 0.5
_SPY_SECONDS = 30
#: Of all samples; what is in more of them has started the rest.
_MOST = 0.8
#: Statements that a call sends more rarely than this are not its own.
_OFTEN = 0.1


def statements(rows: list[asyncpg.Record], calls: float) -> Table:
    """Return what each statement costs a call, those of all workspaces together."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        text = " ".join(_SCHEMA.sub("w_…", row["query"]).split())
        found.setdefault(text, Counter()).update({key: row[key] for key in ("calls", "plans", "planning", "executing")})
    table = Table(title="PostgreSQL, µs of a call")
    for heading in ("statement", "a call", "plans", "planning", "executing"):
        table.add_column(heading, justify="left" if heading == "statement" else "right")
    for text, sums in sorted(found.items(), key=lambda one: -(one[1]["planning"] + one[1]["executing"])):
        if sums["calls"] < _OFTEN * calls:
            continue
        often = (f"{sums[key] / calls:.2f}" for key in ("calls", "plans"))
        cost = (f"{sums[key] * 1000 / calls:,.0f}" for key in ("planning", "executing"))
        table.add_row(text[:80], *often, *cost)
    return table


def plans(log: str) -> list[str]:
    """Return how each statement in PostgreSQL's log was executed."""
    return [
        f"{milliseconds} ms\n{_SCHEMA.sub('w_…', textwrap.dedent(plan))}"
        for milliseconds, plan in _EXPLAINED.findall(log)
    ]


def functions(sampled: str) -> list[Table]:
    """Return in which packages and functions the samples are, themselves and with all that they call."""
    packages: Counter[str] = Counter()
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in sampled.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = [_frame(frame) for frame in stack.split(";")]
        packages[frames[-1].rpartition("(")[2].rstrip(")").partition("/")[0]] += int(number)
        own[frames[-1]] += int(number)
        within.update(dict.fromkeys(frames, int(number)))
    total = packages.total()
    called = Counter({name: number for name, number in within.items() if number < _MOST * total})
    tables = []
    for title, counted, most in (
        ("by package", packages, 12),
        ("by function, itself", own, 25),
        ("by function, with what it calls", called, 45),
    ):
        table = Table("", title=f"The service's time, {title}")
        table.add_column("%", justify="right")
        for name, number in counted.most_common(most):
            table.add_row(name, f"{100 * number / total:.1f}")
        tables.append(table)
    return tables


def _frame(frame: str) -> str:
    name, _, path = frame.partition(" (")
    return f"{name} ({_ROOTS.sub('', path.partition(':')[0].rstrip(')'))})"


async def _execute(admin_url: str, statement: str) -> None:
    async with admin_connection(admin_url) as admin:
        await admin.execute(statement)


async def _rows(admin_url: str) -> list[asyncpg.Record]:
    async with admin_connection(admin_url) as admin:
        return await admin.fetch(_STATEMENTS)


def _explain(server: EmbeddedServer, port: int, message: str) -> list[str]:
    """Return the plans of one call, which is made in a workspace that its connection knows."""
    log = server.data.with_name("postgres.log")
    since = log.stat().st_size
    asyncio.run(_execute(server.dsn(), "ALTER SYSTEM SET auto_explain.log_min_duration = 0"))
    try:
        asyncio.run(_execute(server.dsn(), "SELECT pg_reload_conf()"))
        time.sleep(_RELOAD_SECONDS)
        ask(port, message)
    finally:
        asyncio.run(_execute(server.dsn(), "ALTER SYSTEM RESET auto_explain.log_min_duration"))
        asyncio.run(_execute(server.dsn(), "SELECT pg_reload_conf()"))
    return plans(log.read_bytes()[since:].decode())


def measure(options: argparse.Namespace) -> list[Table | str]:
    """Return the tables, and the plans where they are asked for."""
    with (
        tempfile.TemporaryDirectory(prefix="to-profile-") as name,
        embedded_server(Path(name) / "data", settings=_SETTINGS) as server,
        contextlib.ExitStack() as stack,
    ):
        places = asyncio.run(make_world(server.dsn(), workspaces=options.workspaces, keys=4, cases=options.cases))
        asyncio.run(_execute(server.dsn(), _EXTENSION))
        port, pid = serve(stack, server.dsn(user=APP))
        sent = messages(options.call, port, places)
        loaded = partial(load, port, sent, connections=options.connections)
        loaded(seconds=options.warm)
        asyncio.run(_execute(server.dsn(), "SELECT statistics.pg_stat_statements_reset()"))
        figures = loaded(seconds=options.seconds, watched={"service": [pid], "postgres": [server.pid]})
        found: list[Table | str] = [statements(asyncio.run(_rows(server.dsn())), figures["requests"])]
        if options.plans:
            found += _explain(server, port, sent[0])
        sampled = Path(name) / "sampled"
        command = ["record", "--pid", str(pid), "--duration", str(round(options.seconds)), "--rate", "500"]
        with subprocess.Popen(  # noqa: S603 - a tool of ours
            [Path(sys.executable).with_name("py-spy"), *command, "--format", "raw", "--output", sampled],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as spy:
            loaded(seconds=options.seconds + 1)
            _, said = spy.communicate(timeout=_SPY_SECONDS)
        if sampled.exists():
            found += functions(sampled.read_text())
        else:
            notes.print(f"py-spy found nothing, it may need to be root: {said.strip()}")
    notes.print({key: round(value, 1) for key, value in figures.items()})
    return found


def main() -> None:
    """Profile a call, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("call", choices=[*CALLS, "tools/list"], nargs="?", default="read one case")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, for each of the two")
    parser.add_argument("--warm", type=float, default=10.0, help="seconds of load before")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--cases", type=int, default=2_000, help="of each workspace")
    parser.add_argument("--plans", action="store_true", help="print how each statement of one call was executed")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.workspaces, options.cases, options.seconds, options.warm = 2, 20, 1, 0.2
    for one in measure(options):
        results.print(one, markup=False, highlight=False, soft_wrap=isinstance(one, str))


if __name__ == "__main__":
    main()
