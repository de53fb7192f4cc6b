"""Reading the audit log: who changed what, by which key and tool, the latest first. `service.audit` writes it."""

from __future__ import annotations

import datetime as dt
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from service.domain.administration import Duty, require
from service.domain.pages import Cursor
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries are meant. What is None is any; the time is from *since* to just before *before*."""

    user_id: int | None = None
    api_key_id: int | None = None
    tool: str | None = None
    object_id: int | None = None
    since: dt.datetime | None = None
    before: dt.datetime | None = None


async def list_entries(work: Work, filters: Filters, *, limit: int, cursor: str | None = None) -> Document:
    """Return a page of the entries, the latest first. How many there are would take too long to count."""
    await require(work, Duty.READ_AUDIT_LOG)
    place = Cursor("audit log", *astuple(filters))
    at, entry_id = place.read(cursor) or (None, None)
    after = None if at is None else dt.datetime.fromisoformat(at)
    rows = await work.connection.fetch(_SQL["entries"], *astuple(filters), after, entry_id, limit + 1)
    document: Document = {"items": [{**row["document"], "details": row["details"]} for row in rows[:limit]]}
    if len(rows) > limit:
        last = rows[limit - 1]
        document["nextCursor"] = place.write([last["created_at"].isoformat(), last["id"]])
    return document


async def list_tools(work: Work) -> list[str]:
    """Return the tools and commands that the log tells of."""
    await require(work, Duty.READ_AUDIT_LOG)
    return [row["tool"] for row in await work.connection.fetch(_SQL["tools"])]
