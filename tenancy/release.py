"""Which workspaces a release serves while they move to the next one's schema, one by one: expand, then contract.

Each revision of the workspace tree says of itself:

* `compatible_from`: the oldest release, named by its newest revision, that still serves a workspace at this revision;
* `serves_from`: the oldest revision of a workspace that a release with this one as its newest still serves.

The control schema mirrors the first for each workspace, so that a release learns it of revisions to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrations.trees import Tree, declared, head, known
from tenancy.errors import TenancyError

if TYPE_CHECKING:
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


async def require_control(connection: asyncpg.Connection) -> None:
    """Raise TenancyError unless the control schema has what this release asks of it; any login may ask."""
    # The login may not read the revision, so the newest of the functions that it calls has to speak for it.
    if not await connection.fetchval(
        "SELECT to_regprocedure('control.confirm_key(bigint,bigint,text,text,text)') IS NOT NULL"
    ):
        raise TenancyError(
            "The database is not at this release's schema (the control schema is older). Run: testorchestrator migrate"
        )
