"""How much there is in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service.sql import load

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


class Figures(NamedTuple):
    """How many of each there are in a workspace; deleted cases do not count."""

    users: int
    active_users: int
    projects: int
    cases: int
    runs: int
    results: int


async def count_what_is_there(connection: WorkspaceConnection) -> Figures:
    """Return how much there is in the workspace."""
    [row] = await connection.fetch(_SQL["count_what_is_there"])
    return Figures(*row)
