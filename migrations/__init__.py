"""The tables and the two Alembic trees that move them: control and workspace."""
