"""Which workspaces a release serves while they move to the next one's schema, one by one: expand, then contract.

Each revision of the workspace tree says of itself:

* `compatible_from`: the oldest release, named by its newest revision, that still serves a workspace at this revision;
* `serves_from`: the oldest revision of a workspace that a release with this one as its newest still serves.

The control schema mirrors the first for each workspace, so that a release learns it of revisions to come.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrations.trees import Tree, declared, head, known, ordered
from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.roles import APP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    import asyncpg


@dataclass(frozen=True, slots=True)
class Release:
    """What a release knows of workspaces' revisions: *known* are all of them, *served* those that it works on."""

    known: frozenset[str]
    served: frozenset[str]

    def serves(self, schema_version: str, compatible_from: str) -> bool:
        """Return whether the release may work on a workspace that is at *schema_version*."""
        if schema_version in self.known:
            return schema_version in self.served
        # It is newer. What is compatible with an older release than this one is so with this one.
        return compatible_from in self.known


def this_release() -> Release:
    """Return what this release knows and serves."""
    newest = head(Tree.WORKSPACE)
    oldest = declared(newest, "serves_from")
    return Release(known=known(Tree.WORKSPACE), served=known(Tree.WORKSPACE, since=oldest))


def compatible_from(revision: str) -> str:
    """Return the oldest release that serves a workspace at *revision*."""
    return declared(revision, "compatible_from")


#: The first release, which all others go on with.
FIRST = "0001"
#: What stands before the name of its release in the application_name of each of its connections.
APPLICATION = "testorchestrator "


@functools.cache
def application_name() -> str:
    """Return the application_name of this release's connections: a migration sees by it which releases serve."""
    return APPLICATION + head(Tree.WORKSPACE)


def newest_for(tree: Tree, releases: Collection[str | None]) -> str:
    """Return the newest revision of *tree* that goes on with all *releases*, None being one that does not say which.

    Every release goes on with what is of before its time: only what it does not know can keep it out.
    """
    newest = ""
    for revision in ordered(tree):
        oldest = declared(revision, "compatible_from", tree)
        cut_off = known(Tree.WORKSPACE) - known(Tree.WORKSPACE, since=oldest)
        if any(release in cut_off or (release is None and oldest != FIRST) for release in releases):
            break
        newest = revision
    return newest


async def serving_releases(admin: asyncpg.Connection) -> set[str | None]:
    """Return which releases are connected to this database as the service; None is one that does not say which."""
    rows = await admin.fetch(
        """
        SELECT DISTINCT CASE WHEN starts_with(application_name, $2) THEN substr(application_name, length($2) + 1) END
        FROM pg_stat_activity
        WHERE datname = current_database() AND (usename = $1 OR usename ~ '^w_[a-z0-9]+$')
        """,
        APP,
        APPLICATION,
    )
    return {row[0] for row in rows}


@asynccontextmanager
async def service_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect as the service outside of its pools, to look whether it can serve; a migration sees of which release."""
    connection = await connect(url, name="SERVICE_DATABASE_URL", statement_cache_size=0, application=application_name())
    try:
        yield connection
    finally:
        await connection.close()


async def require_control(connection: asyncpg.Connection) -> None:
    """Raise TenancyError unless the control schema has what this release asks of it; any login may ask."""
    # The login may not read the revision, so the newest of the functions that it calls has to speak for it.
    if not await connection.fetchval(
        "SELECT to_regprocedure('control.use_link(bigint,bigint,text,bytea,text,text)') IS NOT NULL"
    ):
        raise TenancyError(
            "The database is not at this release's schema (the control schema is older). Run: testorchestrator migrate"
        )
