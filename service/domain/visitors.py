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


async def active_user(connection: WorkspaceConnection, email: str) -> int | None:
    """Return the id of the active user with that e-mail."""
    user_id: int | None = await connection.fetchval(_SQL["active_user"], email.strip())
    return user_id


async def rename_self(connection: WorkspaceConnection, user_id: int, name: str) -> None:
    """Let the user be called *name*, if they are active."""
    await connection.execute(_SQL["rename_self"], user_id, name)
