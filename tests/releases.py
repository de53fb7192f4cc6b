"""A release to come: one more revision of the workspace tree, from a folder of its own.

As a program it is that release's command line: `python -m tests.releases UPGRADE COMMAND…`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrations import trees
from migrations.trees import Tree
from service.cli.main import main
from tenancy import release

_REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", "{head}", None, None
compatible_from, serves_from = "{compatible_from}", "{serves_from}"


def upgrade():
{upgrade}
"""
_CACHES = (trees.head, trees.known, trees.ordered, trees.declared, trees.statements, release.application_name)


@contextmanager
def next_release(folder: Path, upgrade: str, *, compatible_from: str = "next", serves_from: str = "next"):
    """Within it, this process is of a release whose newest revision is `next` and does what *upgrade* says."""
    text = _REVISION.format(
        head=trees.head(Tree.WORKSPACE),
        upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
        compatible_from=compatible_from,
        serves_from=serves_from,
    )
    (folder / "next.py").write_text(text)
    plain = trees.configuration

    def configuration(tree):
        config = plain(tree)
        if tree is Tree.WORKSPACE:
            own = trees._HERE / tree / "versions"
            config.set_main_option("version_locations", os.pathsep.join(map(str, (own, folder))))
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "configuration", configuration)
        _forget()
        try:
            yield
        finally:
            patch.undo()
            _forget()


def _forget():
    for cache in _CACHES:
        cache.cache_clear()


if __name__ == "__main__":
    _, told, *arguments = sys.argv
    with tempfile.TemporaryDirectory() as name, next_release(Path(name), told):
        sys.argv[1:] = arguments
        main()
