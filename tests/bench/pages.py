"""Server time and weight of each page, in the demo and with 20,000 cases: `.venv/bin/python -m tests.bench.pages`.

The time is from sending the request to having the answer over loopback, one at a time; the weight is that of the page
with its static files, as the first visit of a browser fetches them.
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

from rich.console import Console
from rich.table import Table

from service.logs import configure_logging
from tenancy.embedded import embedded_server
from tests.web.showroom import showroom

if TYPE_CHECKING:
    from tests.web.showroom import Showroom
    from tests.web.visiting import Visitor

_STATIC = re.compile(r'(?:href|src)="(/static/[^"]+)"')


async def measure(room: Showroom, rounds: int) -> dict[str, tuple[float, int]]:
    """Return the median milliseconds and the bytes of each page."""
    figures = {}
    for name, path in room.paths.items():
        took = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            answer = room.visitor.get(path)
            took.append(1000 * (time.perf_counter() - start))
            assert answer.status == 200, (name, answer.status)
        # The first one warms up.
        figures[name] = statistics.median(took[1:]), weight(room.visitor, answer.body)
    return figures


def weight(visitor: Visitor, body: str) -> int:
    """Return the bytes of a page and its static files."""
    return len(body.encode()) + sum(len(visitor.static(path)) for path in set(_STATIC.findall(body)))


async def run(rounds: int) -> None:
    """Measure both workspaces, and print a table."""
    results = []
    for large in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="to-pages-") as name,
            embedded_server(Path(name) / "data", durable=False) as server,
        ):
            async with showroom(server, large=large) as room:
                results.append(await measure(room, rounds))
    table = Table(title=f"Pages, median of {rounds}")
    for heading in ("page", "demo ms", "20,000 cases ms", "demo kB", "20,000 cases kB"):
        table.add_column(heading, justify="left" if heading == "page" else "right")
    for name, (milliseconds, size) in results[0].items():
        large_milliseconds, large_size = results[1][name]
        table.add_row(
            name, f"{milliseconds:.1f}", f"{large_milliseconds:.1f}", f"{size / 1000:.1f}", f"{large_size / 1000:.1f}"
        )
    Console().print(table)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    configure_logging(form="json", level="error")
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
