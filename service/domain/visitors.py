"""Who looks at a page: a user of the workspace, and what they may do where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.sql import load

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """An active user. *project* and *permissions* are of the project that was asked about, and empty without one."""

    id: int
    email: str
    name: str
    access_level: str
    project: str | None
    permissions: frozenset[str]


async def find_visitor(
    connection: WorkspaceConnection, user_id: int, *, project_id: int | None = None
) -> Visitor | None:
    """Return the user if they are active, with what they may do in the project."""
    row = await connection.fetchrow(_SQL["visitor"], user_id, project_id)
    return Visitor(**{**row, "permissions": frozenset(row["permissions"])}) if row else None
