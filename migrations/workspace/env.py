"""Alembic's entry into the workspace tree; the search_path of the session decides which workspace."""

from migrations.trees import run_environment
from migrations.workspace.tables import metadata

run_environment(metadata)
