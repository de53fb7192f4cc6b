"""The two Alembic trees as plain SQL: Alembic orders and renders the revisions, tenancy replays the text.

Alembic in process costs 7-11 ms for each workspace even when there is nothing to do, and needs a synchronous
driver; replaying rendered statements costs 1 ms and needs none.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_HERE = Path(__file__).parent


class Tree(StrEnum):
    """An Alembic tree: the tables of the control plane, or those of a workspace."""

    CONTROL = "control"
    WORKSPACE = "workspace"


class _Statements:
    """What Alembic writes its SQL to in offline mode: one call for each statement."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def write(self, chunk: str) -> None:
        lines = [line for line in chunk.splitlines() if not line.startswith("--")]
        if statement := "\n".join(lines).strip().removesuffix(";"):
            self.all.append(statement)

    def flush(self) -> None:
        pass


def configuration(tree: Tree) -> Config:
    """Return Alembic's configuration of *tree*; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(_HERE / tree))
    config.set_main_option("path_separator", "os")
    return config


@functools.cache
def head(tree: Tree) -> str:
    """Return the revision that this release brings *tree* to."""
    revision = ScriptDirectory.from_config(configuration(tree)).get_current_head()
    if revision is None:
        raise RuntimeError(f"the {tree} tree has no revision")
    return revision


@functools.cache
def known(tree: Tree, since: str = "base") -> frozenset[str]:
    """Return every revision of *tree* that this release knows, from *since* on."""
    scripts = ScriptDirectory.from_config(configuration(tree)).walk_revisions(since)
    return frozenset(script.revision for script in scripts)


@functools.cache
def ordered(tree: Tree) -> tuple[str, ...]:
    """Return every revision of *tree* that this release knows, the first one first."""
    scripts = ScriptDirectory.from_config(configuration(tree)).walk_revisions()
    return tuple(script.revision for script in scripts)[::-1]


@functools.cache
def declared(revision: str, name: str, tree: Tree = Tree.WORKSPACE) -> str:
    """Return what a *revision* of *tree* declares as *name*: a revision of the workspace tree."""
    module = ScriptDirectory.from_config(configuration(tree)).get_revision(revision).module
    value = getattr(module, name, None)
    if value not in known(Tree.WORKSPACE):
        raise RuntimeError(f"revision {revision} declares no {name} that is a revision of the workspace tree")
    return str(value)


@functools.cache
def statements(tree: Tree, since: str | None = None, until: str = "head") -> tuple[str, ...]:
    """Return the SQL that brings *tree* from revision *since* (None: nothing) to *until*, version row included."""
    config = configuration(tree)
    written = _Statements()
    config.attributes["output"] = written
    command.upgrade(config, f"{since or 'base'}:{until}", sql=True)
    return tuple(written.all)


def run_environment(metadata: MetaData, *, version_table_schema: str | None = None) -> None:
    """Run Alembic for *metadata*: render SQL, or work on the connection of the configuration's attributes."""
    attributes = context.config.attributes
    if context.is_offline_mode():
        context.configure(
            dialect_name="postgresql",
            target_metadata=metadata,
            literal_binds=True,
            dialect_opts={"paramstyle": "named"},
            transactional_ddl=False,
            output_buffer=attributes["output"],
            version_table_schema=version_table_schema,
        )
    else:
        context.configure(
            connection=attributes["connection"],
            target_metadata=metadata,
            include_schemas=version_table_schema is not None,
            include_name=lambda name, kind, _parents: kind != "schema" or name == version_table_schema,
            version_table_schema=version_table_schema,
        )
    with context.begin_transaction():
        context.run_migrations()
