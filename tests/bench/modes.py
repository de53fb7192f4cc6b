"""What strict mode costs: entering a workspace and one query, against the usual mode in the same run.

`.venv/bin/python -m tests.bench.modes`. Rounds are interleaved and their medians compared: only ratios say something.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from pathlib import Path

from rich.table import Table

from tenancy.connection import connect
from tenancy.embedded import embedded_server
from tenancy.errors import DatabaseUnavailable
from tenancy.migrate import migrate
from tenancy.pool import Pool
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import Gateway
from tenancy.strict import StrictLogins, open_logins
from tests.bench.terminal import results

LOGINS = StrictLogins("only for measuring: thirty-two characters or more")
PASSWORD = "of-the-login"


async def load(gateway: Gateway, schemas: list[str], *, clients: int, seconds: float) -> tuple[float, float]:
    """Return requests a second and the median milliseconds of one, over workspaces in random order."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client(seed: int) -> None:
        order = random.Random(seed)  # noqa: S311 - the same load for every mode
        while (start := time.perf_counter()) < end:
            with contextlib.suppress(DatabaseUnavailable):
                async with gateway.workspace(order.choice(schemas), read_only=True) as connection:
                    await connection.fetchval("SELECT count(*) FROM roles")
                took.append(time.perf_counter() - start)

    await asyncio.gather(*(client(seed) for seed in range(clients)))
    return len(took) / seconds, 1000 * statistics.median(took)


async def measure(url: str, schemas: list[str], options: argparse.Namespace) -> None:
    """Print requests a second of both modes, for few and for many workspaces."""
    table = Table(title=f"{options.pool} connections, {options.clients} clients, {options.rounds} rounds")
    for heading in ("workspaces", "usual/s", "strict/s", "strict ÷ usual", "median ms usual", "median ms strict"):
        table.add_column(heading, justify="right")
    for count in (1, options.pool // 4, options.pool, 3 * options.pool):
        rows: dict[str, list[tuple[float, float]]] = {"usual": [], "strict": []}
        pools = {"usual": Pool(url, size=options.pool), "strict": Pool(url, size=options.pool, login_of=LOGINS.login)}
        gateways = {
            "usual": Gateway(pools["usual"]),
            "strict": Gateway(pools["usual"], workspaces=pools["strict"]),
        }
        for round_number in range(options.rounds + 1):
            for mode, gateway in gateways.items():
                figures = await load(gateway, schemas[:count], clients=options.clients, seconds=options.seconds)
                # The first round warms up.
                if round_number:
                    rows[mode].append(figures)
        for pool in pools.values():
            await pool.close()
        median = {mode: [statistics.median(column) for column in zip(*r, strict=True)] for mode, r in rows.items()}
        (usual, usual_ms), (strict, strict_ms) = median["usual"], median["strict"]
        table.add_row(
            str(count),
            f"{usual:,.0f}",
            f"{strict:,.0f}",
            f"{strict / usual:.2f}",
            f"{usual_ms:.1f}",
            f"{strict_ms:.1f}",
        )
    results.print(table)


def ask_for_passwords(folder: Path) -> None:
    """Let the server below *folder* trust its superuser alone."""
    [hba_file] = folder.rglob("pg_hba.conf")
    hba_file.write_text("local all postgres trust\nlocal all all scram-sha-256\n")


async def run(server_dsn: str, folder: Path, options: argparse.Namespace) -> None:
    """Make the workspaces, let the server ask for passwords, and measure."""
    admin = await connect(server_dsn, name="the server")
    await migrate(admin, app_password=PASSWORD)
    made = [await create_workspace(admin, slug=f"mode-{n}", name="Mode") for n in range(3 * options.pool)]
    schemas = [workspace.schema_name for workspace in made]
    await open_logins(admin, LOGINS, schemas)
    ask_for_passwords(folder)
    await admin.execute("SELECT pg_reload_conf()")
    await measure(server_dsn.replace("//postgres@", f"//{APP}:{PASSWORD}@"), schemas, options)
    await admin.close()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each mode in each round")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pool", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="to-modes-") as name:
        folder = Path(name)
        with embedded_server(folder / "data", durable=False) as server:
            asyncio.run(run(server.dsn(), folder, options))


if __name__ == "__main__":
    main()
