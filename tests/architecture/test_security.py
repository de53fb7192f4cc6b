"""SECURITY.md is true as far as a test can tell: each claim names tests that hold it, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
# A file below tests/, or a test in it.
NAMED = re.compile(r"`([a-z]+/test_\w+)(?:::(test_\w+))?`")
CLAIMED = ("What we defend against", "What the database enforces", "What the service adds", "Passwords and sessions")


def claims() -> dict[str, str]:
    """Each item of a list and each fault of the table, by its beginning."""
    found = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title in CLAIMED:
            for item in re.findall(r"^- .*(?:\n  .*)*", body, flags=re.MULTILINE):
                found[" ".join(item.split())[:60]] = item
            faults = body.partition("| A fault of |")[2]
            for row in re.findall(r"^\| (?!A fault|---).*", faults, flags=re.MULTILINE):
                found[row[:60]] = row
    return found


@pytest.mark.unit
@pytest.mark.parametrize("claim", claims())
def test_each_claim_names_a_test(claim):
    assert NAMED.search(claims()[claim]), "no test is named"


@pytest.mark.unit
@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(TEXT))))
def test_each_test_that_is_named_is_there(file, name):
    path = ROOT / "tests" / f"{file}.py"
    assert path.exists()
    assert not name or re.search(rf"def {name}\(", path.read_text())


@pytest.mark.unit
def test_there_are_claims():
    assert len(claims()) > 20
