"""What many workspaces cost an operator: `.venv/bin/python -m tests.bench.fleet`, with `--smoke` in seconds.

One embedded server with fsync on: workspaces provisioned and migrated in a second, the latency of `get_test_case` among
few and many of them, backup and restore of a large one, memory of a pooled connection, restart after a crash. Elapsed
time on a shared machine says little; the seconds of CPU beside it say more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from migrations.trees import Tree, head
from service.cli.creation import Order, create_one
from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.archive import back_up, open_archive, restore
from tenancy.citus import Sharding
from tenancy.connection import admin_connection
from tenancy.crew import for_each
from tenancy.embedded import EmbeddedServer, embedded_server
from tenancy.migrate import migrate
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.roles import APP
from tenancy.session import Gateway, as_owner
from tenancy.usage import usage_of_all
from tests.bench.processes import cpu_seconds, private_mib
from tests.bench.terminal import notes, results
from tests.releases import next_release

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

FEW = 10
ADD_COLUMN = 'op.add_column("cases", sa.Column("shade", sa.Text(), nullable=False, server_default="plain"))'


@dataclass
class Bench:
    """The server, its workspaces' keys in the order of their making, and the rows of the table."""

    server: EmbeddedServer
    keys: list[tuple[str, str, int]] = field(default_factory=list)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def admin(self) -> Any:
        """Return what connects as the administrator."""
        return admin_connection(self.server.dsn())

    @contextlib.contextmanager
    def measured(self) -> Iterator[Measured]:
        """Measure elapsed time, and the CPU of this process and of the server's."""
        measured = Measured()
        elapsed, own, server = time.perf_counter(), time.process_time(), cpu_seconds(self.server.pid)
        yield measured
        measured.seconds = time.perf_counter() - elapsed
        measured.cpu = time.process_time() - own
        measured.server_cpu = cpu_seconds(self.server.pid) - server

    def add(self, what: str, figure: str, aim: str, measured: Measured | None = None) -> None:
        """Add a row to the table, and show it at once to who waits."""
        cpu = "" if measured is None else f"{measured.cpu:.1f} + {measured.server_cpu:.1f}"
        self.rows.append((what, figure, aim, cpu))
        notes.print(f"{what}: {figure}", soft_wrap=True)


@dataclass
class Measured:
    """How long something took, and its CPU: here, and in the server."""

    seconds: float = 0.0
    cpu: float = 0.0
    server_cpu: float = 0.0


async def provision(bench: Bench, numbers: range) -> None:
    """Make workspaces over two connections, as `workspace create --from` does."""

    async def make(admin: asyncpg.Connection, number: int) -> None:
        slug = f"fleet-{number:05d}"
        made, key = await create_one(
            admin, Order(slug, slug, f"ann@{slug}.example", "Ann"), logins=None, sharding=Sharding.OFF
        )
        bench.keys.append((made.schema_name, key, 0))

    await for_each(numbers, make, connecting=bench.admin, connections=2)


async def fill(bench: Bench, host: ToolHost) -> None:
    """Give every workspace that has none a project with a case."""
    async with bench.admin() as admin:
        for number, (schema, key, project) in enumerate(bench.keys):
            if project:
                continue
            async with as_owner(admin, schema) as connection:
                made = await connection.fetchval(
                    "INSERT INTO projects (name, default_access) VALUES ('Main', 'GLOBAL_ROLE') RETURNING id"
                )
            bench.keys[number] = (schema, key, made)
            identity = await host.authenticate(key)
            await host.call(identity, "create_test_case", {"project": made, "title": "A case"})


@contextlib.asynccontextmanager
async def serving(bench: Bench, *, size: int) -> Any:
    """A service's tools over a pool of *size*, and the pool's connections."""
    pool = Pool(bench.server.dsn(user=APP), size=size)
    try:
        yield ToolHost(Gateway(pool), TOOLS, release=this_release())
    finally:
        await pool.close()


async def get_case(host: ToolHost, key: str, project: int) -> None:
    """Make one call, from key to answer."""
    identity = await host.authenticate(key)
    result = await host.call(identity, "get_test_case", {"project": project, "caseId": "C-1"})
    if result.is_error:
        raise SystemExit(f"get_test_case failed: {result.structured}")


async def latency(bench: Bench, among: int, calls: int) -> float:
    """Return the median milliseconds of get_test_case, workspace after workspace, over one pool."""
    order = random.Random(among)  # noqa: S311 - the same load every time
    some = bench.keys[:among]
    async with serving(bench, size=10) as host:
        for _, key, project in some:
            await get_case(host, key, project)
        took = []
        for _ in range(calls):
            _, key, project = order.choice(some)
            started = time.perf_counter()
            await get_case(host, key, project)
            took.append(time.perf_counter() - started)
    return 1000 * statistics.median(took)


async def memory(bench: Bench, workspaces: int) -> tuple[float, float]:
    """Return the memory of a pool's one connection after one workspace, and the most it has while it serves many."""
    async with serving(bench, size=1) as host, bench.admin() as admin:
        seen = []
        for _, key, project in bench.keys[:workspaces]:
            await get_case(host, key, project)
            identity = await host.authenticate(key)
            await host.call(identity, "create_test_case", {"project": project, "title": "Another"})
            pid = await admin.fetchval("SELECT max(pid) FROM pg_stat_activity WHERE usename = $1", APP)
            seen.append(private_mib(pid))
    return seen[0], max(seen)


async def archive(bench: Bench, folder: Path, cases: int) -> None:
    """Back a workspace of many cases up, and restore it."""
    schema, _, project = bench.keys[0]
    async with bench.admin() as admin:
        slug = await admin.fetchval("SELECT slug FROM control.workspaces WHERE schema_name = $1", schema)
        async with as_owner(admin, schema) as connection:
            await connection.execute(
                """
                INSERT INTO cases (project_id, number, title, template_id, lifecycle_state_id, created_by, updated_by)
                SELECT $1, 1000 + n, 'Case ' || n || repeat(' and words', 5), c.template_id, c.lifecycle_state_id,
                    c.created_by, c.updated_by
                FROM generate_series(1, $2) n, cases c WHERE c.number = 1
                """,
                project,
                cases,
            )
            await connection.execute(
                """
                INSERT INTO case_steps (case_id, field_id, position, step, expected_result)
                SELECT c.id, f.id, n, 'Open the page ' || c.number || repeat(' and look', 9), repeat('It is there. ', 8)
                FROM cases c, fields f, generate_series(1, 4) n WHERE f.type = 'STEPS'
                """
            )
        with (folder / "archive.zip").open("w+b") as file:
            with bench.measured() as backing_up:
                manifest = await back_up(admin, slug, file)
            with bench.measured() as restoring, open_archive(file, most_bytes=manifest.size) as opened:
                await restore(admin, opened, slug="restored")
    size = manifest.size / 1e6
    for what, measured in (("backup", backing_up), ("restore", restoring)):
        bench.add(
            f"{what} of {cases:,} cases ({manifest.rows:,} rows, {size:.1f} MB)",
            f"{measured.seconds:.1f} s, {size / measured.seconds:.1f} MB/s",
            "",
            measured,
        )


async def run(bench: Bench, folder: Path, options: argparse.Namespace) -> None:
    """Measure everything but the crash."""
    async with bench.admin() as admin:
        await migrate(admin)
    await provision(bench, range(FEW))
    async with serving(bench, size=2) as host:
        await fill(bench, host)
    among_few = await latency(bench, FEW, options.calls)
    tenth = max(1, (options.workspaces - FEW) // 10)
    parts = {
        "the first": range(FEW, FEW + tenth),
        "more": range(FEW + tenth, options.workspaces - tenth),
        "the last": range(options.workspaces - tenth, options.workspaces),
    }
    for what, numbers in parts.items():
        with bench.measured() as provisioning:
            await provision(bench, numbers)
        cpu = 1000 * (provisioning.cpu + provisioning.server_cpu) / len(numbers)
        bench.add(
            f"{what} {len(numbers):,} workspaces provisioned, 2 connections",
            f"{len(numbers) / provisioning.seconds:.1f}/s, {cpu:.0f} ms CPU each",
            "15/s, flat",
            provisioning,
        )
    async with serving(bench, size=2) as host:
        await fill(bench, host)
    among_many = await latency(bench, FEW, options.calls)
    bench.add(
        f"get_test_case, median with {options.workspaces:,} ÷ with {FEW} workspaces",
        f"{among_many / among_few:.2f} ({among_many:.2f} ÷ {among_few:.2f} ms)",
        "1.2",
    )
    over_all = await latency(bench, options.workspaces, options.calls)
    bench.add(f"the same call over all {options.workspaces:,} in random order", f"{over_all:.2f} ms", "")
    served = min(500, options.workspaces)
    one, most = await memory(bench, served)
    bench.add(f"memory of a pooled connection, most while it serves {served}", f"{most:.0f} MiB (one: {one:.0f})", "")
    await archive(bench, folder, options.cases)
    async with bench.admin() as admin:
        with bench.measured() as counting:
            await usage_of_all(admin)
        bench.add(f"workspace stats, {options.workspaces:,} workspaces", f"{counting.seconds:.2f} s", "", counting)
        with next_release(folder, ADD_COLUMN, compatible_from=head(Tree.WORKSPACE)), bench.measured() as migrating:
            report = await migrate(admin, connecting=bench.admin, connections=4)
    report.check()
    bench.add(
        f"{report.done:,} workspaces migrated by one ADD COLUMN, 4 connections",
        f"{report.per_second:,.0f}/s, {1000 * (migrating.cpu + migrating.server_cpu) / report.done:.2f} ms CPU each",
        "1,000/s",
        migrating,
    )


async def work_on(bench: Bench) -> None:
    """Write after a checkpoint, as on any day: what a recovery has to do is what was done since the last one."""
    async with bench.admin() as admin:
        await admin.execute("CHECKPOINT")
    async with serving(bench, size=2) as host:
        for _, key, project in bench.keys[:50]:
            identity = await host.authenticate(key)
            await host.call(identity, "create_test_case", {"project": project, "title": "One more"})
    count = len(bench.keys)
    await provision(bench, range(count, count + FEW))


def start_after_crash(data: Path, bench: Bench) -> None:
    """Start the killed server again, and add how long that took until it answered."""

    async def ask(server: EmbeddedServer) -> int:
        async with admin_connection(server.dsn()) as admin:
            found: int = await admin.fetchval("SELECT count(*) FROM control.workspaces")
            return found

    started = time.perf_counter()
    with embedded_server(data) as server:
        count = asyncio.run(ask(server))
        seconds = time.perf_counter() - started
    bench.add(f"restart after a crash, {count:,} workspaces", f"{seconds:.1f} s", "5 s")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspaces", type=int, default=1000)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=2000, help="for a median")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.workspaces, options.cases, options.calls = 2 * FEW, 200, 50
    with tempfile.TemporaryDirectory(prefix="to-fleet-") as name:
        folder = Path(name)
        data = folder / "data"
        with embedded_server(data) as server:
            bench = Bench(server)
            asyncio.run(run(bench, folder, options))
            asyncio.run(work_on(bench))
            os.kill(server.pid, signal.SIGKILL)
        start_after_crash(data, bench)
    table = Table(title="A fleet of workspaces")
    for heading in ("what", "figure", "aim", "s CPU: client + server"):
        table.add_column(heading)
    for row in bench.rows:
        table.add_row(*row)
    results.print(table)


if __name__ == "__main__":
    main()
