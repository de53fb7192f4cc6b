"""The table of clients in docs/clients.md: `python -m tests.clients.matrix` tries them all and writes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runs import MATRIX
from tests.conftest import TABLE

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "clients.md"
_PLACE = re.compile(r"(?<=: matrix -->\n).*(?=<!-- end of matrix -->)", re.DOTALL)


class Rows:
    """The rows of the matrix, as the tests report them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.rows += [row for name, row in report.user_properties if name == TABLE + MATRIX]


def kept() -> list[dict[str, str]]:
    """Return the rows of the table in the document."""
    lines = [_cells(line) for line in _PLACE.search(DOCUMENT.read_text(encoding="utf-8"))[0].split("\n")]
    headings, _, *rows = [line for line in lines if line]
    return [dict(zip(headings, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")] if line else []


def _write(rows: list[dict[str, Any]]) -> None:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(_PLACE.sub(lambda _: table, text), encoding="utf-8")


if __name__ == "__main__":
    found = Rows()
    if failed := pytest.main(["-q", str(Path(__file__).parent / "test_clients.py")], plugins=[found]):
        sys.exit(failed)
    _write(found.rows)
