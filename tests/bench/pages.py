"""Server time and weight of each page, in the demo and with 20,000 cases: `.venv/bin/python -m tests.bench.pages`.

The time is from sending the request to having the answer over loopback, one at a time: the median, and the best, which
says something where the machine is busy with other things. The weight is that of the page with its static files, as the
first visit of a browser fetches them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from service.logs import configure_logging
from tenancy.embedded import embedded_server
from tests.bench.terminal import results
from tests.web.showroom import showroom

if TYPE_CHECKING:
    from tests.web.showroom import Showroom
    from tests.web.visiting import Visitor

_STATIC = re.compile(r'(?:href|src)="(/static/[^"]+)"')


async def measure(room: Showroom, rounds: int) -> dict[str, tuple[float, float, int]]:
    """Return the median and the least milliseconds, and the bytes of each page."""
    figures = {}
    for name, path in room.paths.items():
        took = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            answer = room.visitor.get(path)
            took.append(1000 * (time.perf_counter() - start))
            assert answer.status == 200, (name, answer.status)
        # The first one warms up.
        figures[name] = statistics.median(took[1:]), min(took), weight(room.visitor, answer.body)
    return figures


def weight(visitor: Visitor, body: str) -> int:
    """Return the bytes of a page and its static files."""
    return len(body.encode()) + sum(len(visitor.static(path)) for path in set(_STATIC.findall(body)))


async def run(rounds: int) -> None:
    """Measure both workspaces, and print a table."""
    found = []
    for large in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="to-pages-") as name,
            embedded_server(Path(name) / "data", durable=False) as server,
        ):
            async with showroom(server, large=large) as room:
                found.append(await measure(room, rounds))
    table = Table(title=f"Pages, median of {rounds}")
    table.add_column("page")
    for workspace in ("demo", "20,000 cases"):
        for unit in ("ms", "best", "kB"):
            table.add_column(f"{workspace}\n{unit}", justify="right")
    for name in found[0]:
        figures = [result[name] for result in found]
        table.add_row(name, *(f"{n:.1f}" for median, best, size in figures for n in (median, best, size / 1000)))
    results.print(table)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    configure_logging(form="json", level="error")
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
