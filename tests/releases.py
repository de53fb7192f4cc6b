"""A release to come: one more revision of the workspace tree, from a folder of its own."""

from __future__ import annotations

import os
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from migrations import trees
from migrations.trees import Tree

if TYPE_CHECKING:
    from pathlib import Path

_REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", "{head}", None, None
compatible_from, serves_from = "{compatible_from}", "{serves_from}"


def upgrade():
{upgrade}
"""
_CACHES = (trees.head, trees.known, trees.declared, trees.statements)


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
        yield
    _forget()


def _forget():
    for cache in _CACHES:
        cache.cache_clear()
