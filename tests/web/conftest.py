"""What the tests of the pages work with besides the world."""

from tests.tools.conftest import connection, sql

__all__ = ["connection", "sql"]
