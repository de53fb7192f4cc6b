"""A workspace's tables, their Alembic revisions, and the seeds of a new workspace."""
