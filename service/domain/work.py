"""What every domain function works with: a transaction in one workspace, and who acts in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.audit import write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from service.audit import Change
    from tenancy.session import Actor, WorkspaceConnection

#: A JSON object as a tool returns it: nulls and empty texts are left out, times are RFC 3339 in UTC.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call's transaction. What a function changes it adds to *changes*, which become the audit rows."""

    connection: WorkspaceConnection
    changes: list[Change] = field(default_factory=list)

    @property
    def actor(self) -> Actor:
        """Return who acts, as the workspace was entered."""
        return self.connection.actor


@asynccontextmanager
async def recorded(connection: WorkspaceConnection) -> AsyncIterator[Work]:
    """Work in the transaction that is open, and write the audit rows of its changes at the end.

    Where it was entered for no user, an operator acts, to whom every administration is open.
    """
    work = Work(connection=connection)
    yield work
    await write(connection, work.changes)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs in two states of an object's columns, as an audit row tells it."""
    return {name: {"from": old, "to": after[name]} for name, old in before.items() if after[name] != old}
