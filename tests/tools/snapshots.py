"""What `tools/list` shows of each tool, kept in files: a change of the contract is seen in review, and never by chance.

`python -m tests.tools.snapshots` accepts the catalogue as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

from service.tools.catalog import TOOLS

FOLDER = Path(__file__).parent / "snapshots"


def current() -> dict[str, str]:
    """Return the text of each tool's snapshot as it should be, by file name."""
    return {f"{tool.name}.json": _text(tool.listing()) for tool in TOOLS}


def kept() -> dict[str, str]:
    """Return the text of each file that there is."""
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} if FOLDER.is_dir() else {}


def accept() -> None:
    """Make the files what they should be, without those of tools that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = current()
    for name in kept().keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _text(listing: object) -> str:
    return json.dumps(listing, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    accept()
