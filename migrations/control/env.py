"""Alembic's entry into the control tree."""

from migrations.control.tables import metadata
from migrations.trees import run_environment

run_environment(metadata, version_table_schema="control")
