"""The control plane's tables and their Alembic revisions."""
