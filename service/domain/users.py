"""The people of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.sql import load

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


async def add_user(connection: WorkspaceConnection, *, email: str, name: str, access_level: str, role: str) -> int:
    """Add a user with a global role, and return the new id."""
    user_id: int = await connection.fetchval(_SQL["insert_user"], email, name, access_level, role)
    return user_id


async def find_user(connection: WorkspaceConnection, email: str) -> int | None:
    """Return the id of the user with that e-mail."""
    user_id: int | None = await connection.fetchval(_SQL["user_by_email"], email)
    return user_id
