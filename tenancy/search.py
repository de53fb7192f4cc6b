"""Words in titles by an index: where the server has the extension pg_trgm, each workspace has one of three letters.

The service's queries are the same without it, and then read the titles of the project. The extension's functions are
in a schema that only the owner of the tables can use, to make the index; a query that PostgreSQL answers by it needs
none of them, so no workspace's role can name or call them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tenancy.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = "testorchestrator_search"
INDEX = "cases_title_words_idx"
_ON_TITLES = f"USING gin (title {SCHEMA}.gin_trgm_ops) WHERE deleted_at IS NULL"
# Citus would have to make it on every server that a workspace can be on.
_IS_THERE = """
    EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')
    AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
"""
_WITHOUT = """
    SELECT w.schema_name FROM control.workspaces w
    WHERE to_regclass(w.schema_name || '.cases') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indexrelid = to_regclass(format('%s.%s', w.schema_name, $1::text)) AND i.indisvalid)
    ORDER BY w.id
"""
#: A workspace that is in use for so long gets its index from the next migration.
_LOCK_TIMEOUT = "5s"


async def prepare_search(admin: asyncpg.Connection) -> None:
    """Make the extension where the server has it, in a schema of its own; one that is there already moves there."""
    found = await admin.fetchrow(
        """
        SELECT n.nspname AS schema_name
        FROM pg_available_extensions a
        LEFT JOIN pg_extension e ON e.extname = a.name
        LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE a.name = 'pg_trgm'
        """
    )
    if found is None or found["schema_name"] == SCHEMA:
        return
    await admin.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {OWNER}")
    if found["schema_name"] is None:
        await admin.execute(f"CREATE EXTENSION pg_trgm SCHEMA {SCHEMA}")
    else:
        await admin.execute(f"ALTER EXTENSION pg_trgm SET SCHEMA {SCHEMA}")


async def add_search_index(admin: asyncpg.Connection) -> None:
    """Index the titles of the workspace whose schema is the search_path, as its owner, where the extension is there."""
    if await admin.fetchval(f"SELECT {_IS_THERE}"):
        await admin.execute(f"CREATE INDEX {INDEX} ON cases {_ON_TITLES}")


async def add_search_indexes(admin: asyncpg.Connection) -> None:
    """Index the titles of all workspaces that have no index yet, while they are in use."""
    if not await admin.fetchval(f"SELECT {_IS_THERE}"):
        return
    await admin.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
    try:
        for schema in await workspaces_without_index(admin):
            # One whose making was interrupted is there, but not valid.
            await admin.execute(f"DROP INDEX IF EXISTS {schema}.{INDEX}")
            await admin.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {schema}.cases {_ON_TITLES}")
    except asyncpg.LockNotAvailableError:
        # Nothing is wrong without it, and the next migration goes on here.
        pass
    finally:
        await admin.execute("RESET lock_timeout")


async def workspaces_without_index(admin: asyncpg.Connection) -> Sequence[str]:
    """Return the schemas of the workspaces whose titles are not indexed."""
    return [row["schema_name"] for row in await admin.fetch(_WITHOUT, INDEX)]


async def describe_search(admin: asyncpg.Connection) -> str:
    """Tell how words are searched for, and what an operator can do where that is slow."""
    if not await admin.fetchval(f"SELECT {_IS_THERE}"):
        return "reads all titles: install PostgreSQL's contrib modules (pg_trgm) and run migrate"
    missing = len(await workspaces_without_index(admin))
    return f"by index but in {missing} workspaces: run migrate" if missing else "by index"
