"""A script for pgbench does what a call does, in as many round trips."""

from __future__ import annotations

import asyncio
import re
import subprocess
from urllib.parse import quote

import pytest

from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.roles import APP
from tenancy.session import Gateway
from tests.bench import pgbench
from tests.bench.round_trips import counted
from tests.bench.world import make_world
from tests.conftest import new_database

TRANSACTIONS = 40


@pytest.mark.parametrize("tool", ["get_test_case", "record_test_result"])
async def test_a_script_does_what_a_call_does(tool, postgres, tmp_path):
    async with new_database(postgres) as (name, admin):
        urls = pgbench.Urls(admin=postgres.dsn(database=name), service=postgres.dsn(user=APP, database=name))
        [place] = await make_world(urls.admin, workspaces=1, keys=3, cases=20)
        [script] = await pgbench.scripts(urls, tmp_path, tool, [place])
        run = await admin.fetchval(f"SELECT max(id) FROM {place.schema_name}.runs")
        results = f"{place.schema_name}.results"
        before = await admin.fetchval(f"SELECT max(id) FROM {results}")
        done = await asyncio.to_thread(_pgbench, urls.service, script)
        recorded = await admin.fetch(f"SELECT case_id FROM {results} WHERE id > $1", before)

        arguments = {"project": place.project, "caseId": "C-3", "runId": run, "statusId": "Passed"}
        wanted = arguments if tool == "record_test_result" else dict(list(arguments.items())[:2])
        calls = await _round_trips_of_a_call(
            postgres, urls.service, tmp_path, key=place.keys[0], tool=tool, arguments=wanted
        )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    is_write = tool == "record_test_result"
    assert len(recorded) == TRANSACTIONS * is_write
    assert (len({row["case_id"] for row in recorded}) > 1) == is_write
    assert _round_trips(script.read_text()) == calls


def _pgbench(url: str, script):
    command = [pgbench.BIN / "pgbench", "--no-vacuum", "--protocol=prepared", f"--transactions={TRANSACTIONS}"]
    return subprocess.run([*command, *pgbench.options([script]), url], capture_output=True, text=True, check=False)  # noqa: S603


def _round_trips(script: str) -> int:
    """Return how often pgbench waits for the server in a transaction of *script*, but for the first."""
    script = re.sub(r"\\if.*?\\endif", "", script, flags=re.DOTALL)
    sent_together = re.sub(r"\\startpipeline.*?\\endpipeline", ";", script, flags=re.DOTALL)
    return len(re.findall(r"^(?:;|\\gset)$", sent_together, flags=re.MULTILINE))


async def _round_trips_of_a_call(server, url: str, folder, *, key: str, tool: str, arguments: dict) -> int:
    async with counted(folder, server.socket_directory / ".s.PGSQL.5432") as traffic:
        pool = Pool(url.replace(quote(str(server.socket_directory), safe=""), quote(str(folder), safe="")), size=1)
        host = ToolHost(Gateway(pool), TOOLS, release=this_release())
        await host.authenticate(key)
        # Only the third finds all its statements prepared.
        for _ in range(3):
            before = await traffic.total()
            result = await host.call(host.recall(key), tool, arguments)
        taken = await traffic.total() - before
        await pool.close()
    assert not result.is_error
    return taken
