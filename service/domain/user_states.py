"""Users who are active or deactivated, as operators see them. Their keys, which follow them, are tenancy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


class ChangedUser(NamedTuple):
    """A user, and whether the command changed anything about them."""

    id: int
    has_changed: bool


class UserState(NamedTuple):
    """A user, and whether they are active."""

    id: int
    active: bool


async def set_user_state(
    connection: WorkspaceConnection, email: str, *, active: bool, command: str
) -> ChangedUser | None:
    """Activate or deactivate the user of that e-mail, with the audit row of an operator's *command*."""
    row = await connection.fetchrow(_SQL["set_user_state"], email, active, command)
    return ChangedUser(*row) if row else None


async def keep_user_state(connection: WorkspaceConnection, email: str) -> UserState | None:
    """Return the user of that e-mail, whose state nobody changes until the transaction ends."""
    row = await connection.fetchrow(_SQL["keep_user_state"], email)
    return UserState(*row) if row else None


async def emails_of_users(connection: WorkspaceConnection, user_ids: Iterable[int]) -> dict[int, str]:
    """Return the e-mail of each of these users."""
    rows = await connection.fetch(_SQL["emails_of_users"], list(user_ids))
    return {row["id"]: row["email"] for row in rows}
