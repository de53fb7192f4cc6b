"""What the catalogue shows is what was accepted: tool by tool for clients, and as a whole for people."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import MEANINGS, Code
from service.tools.catalog import TOOLS
from service.tools.reference import document
from tests.tools import snapshots
from tests.tools.conftest import each_tool

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent
ACCEPT = "If this is meant, accept it with: .venv/bin/python -m tests.tools.snapshots"
RENEW = "Renew it with: .venv/bin/python -m service.tools.reference > TOOLS.md"


def difference(kept, current, name):
    lines = difflib.unified_diff(kept.splitlines(), current.splitlines(), f"{name}, accepted", f"{name}, now", n=2)
    return "\n".join(lines)


@each_tool()
def test_a_tool_is_shown_as_it_was_accepted(tool):
    name = f"{tool.name}.json"
    kept, current = snapshots.kept().get(name, ""), snapshots.current()[name]
    if kept != current:
        pytest.fail(f"{difference(kept, current, name)}\n\n{ACCEPT}", pytrace=False)


def test_no_snapshot_is_of_a_tool_that_is_gone():
    assert snapshots.kept().keys() <= snapshots.current().keys(), ACCEPT


def test_accepting_keeps_what_is_and_leaves_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "FOLDER", tmp_path / "snapshots")
    assert snapshots.kept() == {}
    snapshots.accept()
    (snapshots.FOLDER / "gone.json").write_text("{}")
    (snapshots.FOLDER / "get_projects.json").write_text("{}")
    assert snapshots.kept() != snapshots.current()
    snapshots.accept()
    assert snapshots.kept() == snapshots.current()


def test_the_reference_for_people_is_current():
    kept, current = (ROOT / "TOOLS.md").read_text(encoding="utf-8"), document()
    if kept != current:
        pytest.fail(f"{difference(kept, current, 'TOOLS.md')}\n\n{RENEW}", pytrace=False)


@each_tool()
def test_the_reference_tells_every_argument_and_all_that_is_returned(tool):
    section = document().partition(f"\n### {tool.name}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    for argument in tool.arguments:
        [row] = [row for row in rows if row.startswith(f"| `{argument.name}` |") and row.count(" |") == 5]
        assert argument.kind.schema.get("description", "") in row.replace("\\|", "|")
        assert ("| yes |" in row) == argument.required
    for name in tool.returns["properties"]:
        assert [row for row in rows if row.startswith(f"| `{name}` |") and row.count(" |") == 3]
    assert all(f"`{permission}`" in section for permission in tool.permissions)


def test_every_code_of_errors_is_explained_and_in_the_reference():
    assert list(MEANINGS) == list(Code)
    text = document()
    for code, meaning in MEANINGS.items():
        assert f"| `{code}` | {meaning} |" in text


def test_the_reference_has_no_dead_link_within_itself():
    text = document()
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    links = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert {tool.name for tool in TOOLS} <= links <= headings


def test_the_service_itself_never_imports_the_reference():
    program = "import sys, service.cli.main, service.app; print('service.tools.reference' in sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
