"""Who changed what: collected while a call works, written as one statement before it commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object created, changed or deleted. Versions are None where the object has none."""

    action: str
    object_type: str
    object_id: int
    project_id: int | None = None
    version_before: int | None = None
    version_after: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


async def write(connection: WorkspaceConnection, changes: Sequence[Change]) -> None:
    """Append *changes* to the audit log; who made them, and when, the database knows."""
    if not changes:
        return
    await connection.execute(
        _SQL["append_to_audit_log"],
        [change.action for change in changes],
        [change.object_type for change in changes],
        [change.object_id for change in changes],
        [change.project_id for change in changes],
        [change.version_before for change in changes],
        [change.version_after for change in changes],
        [change.details for change in changes],
    )
