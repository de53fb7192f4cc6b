"""Named queries: SQL lives in files beside the module that runs it.

A file holds queries that each begin with `-- name: some_name`; parameters are `$1`, `$2` and so on. A test
prepares every one of them in a freshly migrated workspace.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(module_file: str) -> dict[str, str]:
    """Return the queries of the `.sql` file beside the Python file *module_file*, by name."""
    text = Path(module_file).with_suffix(".sql").read_text()
    _, *parts = _NAME.split(text)
    return {name: _without_comments(query) for name, query in zip(parts[::2], parts[1::2], strict=True)}


def _without_comments(query: str) -> str:
    lines = [line for line in query.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
