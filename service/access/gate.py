"""The gate that every call into a project passes. The rules are the function project_access, see the migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.access.permissions import Permission

_DENIED = "TO403"


def access_gate(*, user_id: int, project_id: int, permissions: Iterable[Permission]) -> str:
    """Return the statement that ends the transaction unless the user holds all *permissions* in the project.

    With none, access to the project is enough. It goes into the message that enters the workspace.
    """
    return f"SELECT require_access({user_id:d}, {project_id:d}, '{{{','.join(permissions)}}}')"


def is_denial(error: Exception) -> bool:
    """Return whether *error* comes from the gate; its text is the reason, for the log alone."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _DENIED
