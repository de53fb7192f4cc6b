"""The people of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_REASONS = {
    "users_email_check": "This is no e-mail address: write it as ann@acme.example.",
    "users_email_key": "There is a user with this e-mail address already.",
    "users_name_not_blank_check": "A user needs a name.",
}


async def add_user(connection: WorkspaceConnection, *, email: str, name: str, access_level: str, role: str) -> int:
    """Add a user with a global role, and return the new id."""
    try:
        user_id: int = await connection.fetchval(_SQL["insert_user"], email, name, access_level, role)
    except asyncpg.IntegrityConstraintViolationError as error:
        if reason := _REASONS.get(error.constraint_name or ""):
            raise Refused(Code.INVALID_VALUE, reason) from error
        raise
    return user_id


async def find_user(connection: WorkspaceConnection, email: str) -> int | None:
    """Return the id of the user with that e-mail."""
    user_id: int | None = await connection.fetchval(_SQL["user_by_email"], email)
    return user_id
