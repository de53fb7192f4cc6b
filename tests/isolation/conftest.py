"""A server of its own for tests that change roles, which are the whole cluster's, or that watch what it is asked."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tenancy.embedded import embedded_server

STATEMENTS = {"shared_preload_libraries": "pg_stat_statements", "log_statement": "all", "log_min_messages": "debug1"}


@pytest.fixture(scope="package")
def watched_server():
    """It writes every statement with its arguments to its log, postgres.log beside its data, and counts them."""
    with (
        tempfile.TemporaryDirectory(prefix="to-watched-") as folder,
        embedded_server(Path(folder) / "data", durable=False, settings=STATEMENTS) as server,
    ):
        yield server
