"""What every domain function works with: a transaction in one workspace, and who acts in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.audit import Actor, Change
    from tenancy.session import WorkspaceConnection

#: A JSON object as a tool returns it: nulls and empty texts are left out, times are RFC 3339 in UTC.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call's transaction. What a function changes it adds to *changes*, which become the audit rows."""

    connection: WorkspaceConnection
    actor: Actor
    changes: list[Change] = field(default_factory=list)
