"""The one place that asks the database what a user may do in a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from service.errors import NotFoundOrDenied
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.access.permissions import Permission
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_DENIED = "TO403"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a user may do in one project, and by which rule."""

    role: str
    permissions: frozenset[str]
    reason: str

    def require(self, permissions: Iterable[Permission]) -> None:
        """Raise NotFoundOrDenied unless all of *permissions* are held."""
        if not self.permissions.issuperset(permissions):
            raise NotFoundOrDenied


async def resolve(connection: WorkspaceConnection, *, user_id: int, project_id: int) -> Access:
    """Return what the user may do in the project; raise NotFoundOrDenied where there is no project or no access."""
    row = await connection.fetchrow(_SQL["access_to_project"], user_id, project_id)
    if row is None:
        raise NotFoundOrDenied
    return Access(role=row["role"], permissions=frozenset(row["permissions"]), reason=row["reason"])


def access_gate(*, user_id: int, project_id: int, permissions: Iterable[Permission]) -> str:
    """Return the statement that ends the transaction unless the user holds all *permissions* in the project.

    With none, access to the project is enough. It goes into the message that enters the workspace.
    """
    return f"SELECT require_access({user_id:d}, {project_id:d}, '{{{','.join(permissions)}}}')"


def is_denial(error: Exception) -> bool:
    """Return whether *error* comes from the gate; its text is the reason, for the log alone."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _DENIED
