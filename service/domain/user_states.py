"""What the administration of keys must know of the users whom they act as. The keys are tenancy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


class UserState(NamedTuple):
    """A user, and whether they are active."""

    id: int
    active: bool


async def keep_user_state(connection: WorkspaceConnection, email: str) -> UserState | None:
    """Return the user of that e-mail, whose state nobody changes until the transaction ends."""
    row = await connection.fetchrow(_SQL["keep_user_state"], email)
    return UserState(*row) if row else None


async def emails_of_users(connection: WorkspaceConnection, user_ids: Iterable[int]) -> dict[int, str]:
    """Return the e-mail of each of these users."""
    rows = await connection.fetch(_SQL["emails_of_users"], list(user_ids))
    return {row["id"]: row["email"] for row in rows}
