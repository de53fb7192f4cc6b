"""How long each reading call takes with ever more cases in the project: `.venv/bin/python -m tests.bench.scale`.

Each call goes to projects of all sizes in turn, one at a time, over HTTP to one service; what is told is the median in
milliseconds. Beside each project is one of 10,000 cases. With --data the workspaces stay, and are measured again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import track
from rich.table import Table

from service.domain.pages import Cursor
from service.logs import configure_logging
from tenancy.connection import connect
from tenancy.embedded import embedded_server
from tenancy.keys import create_key
from tenancy.migrate import migrate
from tenancy.roles import APP
from tenancy.session import as_workspace
from tests.bench.large import Large, find_large, make_large
from tests.bench.processes import cores, free_port, running
from tests.bench.terminal import notes, results
from tests.conftest import Client, ToolFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from tenancy.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
SIZES = [1_000, 100_000, 1_000_000]
#: A call is stopped after so many milliseconds in all: what is slow need not be repeated as often.
_ENOUGH_MS = 4_000
_OBJECTS = {
    "leaf": "SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.depth = 2 ORDER BY f.id LIMIT 1",
    "area": "SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.name = 'Area 1'",
    "rare": "SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.name = 'Rare'",
    "draft": "SELECT s.id FROM lifecycle_states s WHERE s.name = 'Draft' AND s.context = 'REPOSITORY'",
    "ready": "SELECT s.id FROM lifecycle_states s WHERE s.name = 'Ready' AND s.context = 'REPOSITORY'",
    "source": "SELECT i.source_id FROM issues i WHERE i.project_id = $1 LIMIT 1",
    "template": "SELECT t.id FROM templates t WHERE t.is_default",
    "run": "SELECT max(r.id) FROM runs r WHERE r.project_id = $1",
    "executed": "SELECT min(rc.case_id) FROM run_cases rc WHERE rc.run_id = (SELECT max(r.id) FROM runs r "
    "WHERE r.project_id = $1)",
    "number": "SELECT min(c.number) FROM run_cases rc JOIN cases c ON c.id = rc.case_id WHERE rc.run_id = ("
    "SELECT max(r.id) FROM runs r WHERE r.project_id = $1)",
    "cycle": "SELECT min(y.id) FROM cycles y WHERE y.project_id = $1",
    "middle": "SELECT c.id FROM cases c WHERE c.project_id = $1 ORDER BY c.number DESC OFFSET $2::bigint / 2 LIMIT 1",
}

Call = tuple[str, dict[str, Any]]


def calls(large: Large, ids: dict[str, int]) -> dict[str, Call]:
    """Return what is called, by a name for it."""
    deep = Cursor("list_test_cases", large.project, None, True, [], "number")
    lists: dict[str, dict[str, Any]] = {
        "first page": {},
        "a page in the middle": {"cursor": deep.write([large.cases // 2, ids["middle"]])},
        "by title": {"sort": "title"},
        "the latest changes": {"sort": "-updated"},
        "of a large folder": {"folderId": ids["area"]},
        "of a large folder, by title": {"folderId": ids["area"], "sort": "title"},
        "of a small folder": {"folderId": ids["rare"]},
        "at the root": {"folderId": 0, "includeSubfolders": False},
        "of a template": {"templateId": ids["template"]},
        "in the usual state": {"lifecycleStateId": ids["ready"]},
        "in a rare state": {"lifecycleStateId": ids["draft"]},
        "in a rare state, by title": {"lifecycleStateId": ids["draft"], "sort": "-title"},
        "with a common tag": {"tags": ["area-1"]},
        "with a rare tag": {"tags": ["rare"]},
        "with a common value": {"fields": {"priority": "High"}},
        "with a rare value": {"fields": {"preconditions": "A customer with an order of 77 lines is signed in"}},
        "of three filters": {"folderId": ids["area"], "tags": ["area-1"], "fields": {"priority": "High"}},
        "changed since an hour": {"updatedSince": (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat()},
    }
    searches = {
        "common word": "cart",
        "two common words": "cart price",
        "rare word": "zebra",
        "no such word": "quinquereme",
        "number": "C-77",
        "two letters": "ca",
    }
    found: dict[str, Call] = {f"list: {name}": ("list_test_cases", given) for name, given in lists.items()}
    found |= {f"search: {name}": ("search_test_cases", {"query": query}) for name, query in searches.items()}
    for kind in (None, "CASES_WITHOUT_ISSUE", "CASES_NEVER_RUN", "ISSUES_WITHOUT_CASE", "ISSUES_NOT_PASSING"):
        found[f"gaps: {kind or 'figures'}"] = ("get_coverage_gaps", {"kind": kind} if kind else {})
    return found | {
        "gaps: of a folder": ("get_coverage_gaps", {"folderId": ids["leaf"]}),
        "gaps: of a cycle": ("get_coverage_gaps", {"cycleId": ids["cycle"]}),
        "get_test_case": ("get_test_case", {"caseId": "C-77"}),
        "get_test_case, history": ("get_test_case", {"caseId": "C-77", "history": True, "results": True}),
        **{
            tool: (tool, {})
            for tool in (
                "get_fields",
                "get_users",
                "get_statuses",
                "get_lifecycles",
                "get_environments",
            )
        },
        "get_external_sources": ("get_external_sources", {}),
        "get_folders": ("get_folders", {}),
        "get_tags": ("get_tags", {}),
        "list_test_runs": ("list_test_runs", {}),
        "list_test_runs, mine": ("list_test_runs", {"assignedToMe": True}),
        "get_test_run": ("get_test_run", {"runId": ids["run"]}),
        "get_test_run, one case": ("get_test_run", {"runId": ids["run"], "caseId": ids["executed"]}),
        "get_test_run, one number": ("get_test_run", {"runId": ids["run"], "caseId": f"C-{ids['number']}"}),
        "get_test_run, statuses": ("get_test_run", {"runId": ids["run"], "statusIds": ["failed", "blocked"]}),
        "get_test_run, failed": ("get_test_run", {"runId": ids["run"], "failedOnly": True}),
        "get_test_run_summary": ("get_test_run_summary", {"runId": ids["run"]}),
        "get_cycles": ("get_cycles", {}),
        "get_comments": ("get_comments", {"caseId": "C-20"}),
        "get_reverse_traceability": ("get_reverse_traceability", {"issueKey": "SHOP-2"}),
    }


@contextlib.contextmanager
def serving(server: EmbeddedServer) -> Iterator[int]:
    """Serve the server's workspaces in a process of its own; the port."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment |= {"SERVICE_DATABASE_URL": server.dsn(user=APP), "TESTORCHESTRATOR_CALLS_PER_SECOND": "0"}
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", port]
    with running(command, port=port, env=environment, cwd=ROOT):
        yield port


def measure(clients: dict[int, Client], wanted: dict[int, dict[str, Call]], rounds: int) -> dict[str, dict[int, float]]:
    """Return the median milliseconds of each call by the size of the project."""
    figures: dict[str, dict[int, float]] = {}
    for name in track(next(iter(wanted.values())), "Measuring", console=notes, transient=True):
        took: dict[int, list[float]] = {size: [] for size in clients}
        for number in range(rounds + 1):
            for size, client in clients.items():
                if sum(took[size]) < _ENOUGH_MS:
                    tool, arguments = wanted[size][name]
                    start = time.perf_counter()
                    try:
                        client.call(tool, **arguments)
                    except ToolFailed as failed:
                        if failed.code != "TIMEOUT":
                            raise
                    # The first round warms up.
                    if number or (not took[size] and time.perf_counter() - start > _ENOUGH_MS / 1000):
                        took[size].append(1000 * (time.perf_counter() - start))
        figures[name] = {size: statistics.median(found) for size, found in took.items()}
    return figures


async def object_ids(admin: asyncpg.Connection, large: Large) -> dict[str, int]:
    """Return the ids of what is asked for, by a name for it."""
    async with as_workspace(admin, large.workspace.schema_name) as connection:
        return {
            name: await connection.fetchval(
                query, *([large.project] * ("$1" in query)), *([large.cases] * ("$2" in query))
            )
            for name, query in _OBJECTS.items()
        }


async def prepare(admin: asyncpg.Connection, size: int) -> tuple[str, Large, dict[str, Call]]:
    """Return a key for a workspace of that size, which is made unless it is there, and what to call in it."""
    slug = f"scale-{size}"
    large = await find_large(admin, slug=slug) or await make_large(admin, cases=size, slug=slug)
    key = await create_key(admin, workspace_id=large.workspace.id, user_id=large.user, label="scale")
    ids = await object_ids(admin, large)
    wanted = {name: (tool, {"project": large.project, **given}) for name, (tool, given) in calls(large, ids).items()}
    return key, large, wanted


async def run(server: EmbeddedServer, options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Make what is missing, and measure."""
    admin = await connect(server.dsn(), name="the server")
    await migrate(admin)
    prepared = {size: await prepare(admin, size) for size in track(options.sizes, "Making workspaces", console=notes)}
    await admin.close()
    with serving(server) as port:
        clients = {size: Client("127.0.0.1", port, key) for size, (key, _, _) in prepared.items()}
        wanted = {
            size: {name: call for name, call in found.items() if options.only in name}
            for size, (_, _, found) in prepared.items()
        }
        return await asyncio.to_thread(measure, clients, wanted, options.rounds)


def main() -> None:
    """Measure, and print a table or, with --json, the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="cases of the projects")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--data", type=Path, help="keep the database in this folder")
    parser.add_argument("--only", default="", help="calls with this in their name")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.sizes, options.rounds = [200, 1_000], 1
    noise = os.getloadavg()[0]
    configure_logging(form="json", level="error")
    with tempfile.TemporaryDirectory(prefix="to-scale-") as name:
        folder = options.data or Path(name) / "data"
        with embedded_server(folder, durable=False) as server:
            figures = asyncio.run(run(server, options))
    if options.json:
        print(json.dumps({"cores": cores(), "load_average_before": noise, "ms": figures}, indent=1))  # noqa: T201
        return
    table = Table(title=f"ms, median of {options.rounds}; {cores()} cores")
    table.add_column("")
    for size in options.sizes:
        table.add_column(f"{size:,} cases", justify="right")
    for name, found in figures.items():
        table.add_row(name, *(f"{found[size]:.1f}" for size in options.sizes))
    results.print(table)


if __name__ == "__main__":
    main()
