"""What every domain function works with: a transaction in one workspace, and who acts in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.audit import Actor, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from service.audit import Change
    from tenancy.session import WorkspaceConnection

#: A JSON object as a tool returns it: nulls and empty texts are left out, times are RFC 3339 in UTC.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call's transaction. What a function changes it adds to *changes*, which become the audit rows."""

    connection: WorkspaceConnection
    actor: Actor
    changes: list[Change] = field(default_factory=list)


@asynccontextmanager
async def recorded(connection: WorkspaceConnection, *, command: str, user_id: int | None = None) -> AsyncIterator[Work]:
    """Work in the transaction that is open, and write the audit rows of its changes at the end.

    Without a *user_id*, an operator acts, to whom every administration is open.
    """
    work = Work(connection=connection, actor=Actor(user_id=user_id, api_key_id=None, tool=command))
    yield work
    await write(connection, work.actor, work.changes)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs in two states of an object's columns, as an audit row tells it."""
    return {name: {"from": old, "to": after[name]} for name, old in before.items() if after[name] != old}
