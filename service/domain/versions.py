"""Optimistic concurrency: an update that names the version it was made from is refused when that is not the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Work

_SQL = load(__file__)


async def check_version(work: Work, object_id: int, *, current: int, expected: int | None) -> None:
    """Raise Refused, telling who changed the object and when, unless *expected* is None or *current*."""
    if expected is None or expected == current:
        return
    details: dict[str, Any] = {"currentVersion": current}
    message = f"expectedVersion is {expected}, but the current version is {current}"
    if change := await work.connection.fetchrow(_SQL["last_change"], object_id):
        details["changedBy"], details["changedAt"] = change["name"], change["created_at"].isoformat()
        message += f", by {details['changedBy']} at {details['changedAt']}"
    raise Refused(Code.VERSION_CONFLICT, f"{message}. Read the object again, then repeat the update.", **details)
