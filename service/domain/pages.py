"""Lists: whole ones with a guard against floods, and pages by a cursor that is bound to its query."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.domain.work import Document

# Characters of JSON; a model reads about four of them as one token.
DEFAULT_PAGE = 20_000
LARGEST_ANSWER = 80_000
# What stands around the items: total, cursor, the note of what is left out.
ENVELOPE = 500

REST = "Ask an administrator to disable what is no longer used, or find single objects with the list and search tools."

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


def whole_list(items: Sequence[Document], *, rest: str = REST, **others: Any) -> Document:
    """Return all *items* with their number; a list that would flood the reader is cut, and says how to get the rest."""
    shown = items[: fitting(items, LARGEST_ANSWER - ENVELOPE - len(orjson.dumps(others)))]
    document: Document = {"items": shown, "total": len(items), **others}
    if len(shown) < len(items):
        document["truncated"] = f"Only {len(shown)} of {len(items)} are shown. {rest}"
    return document


class Cursor:
    """Where a page ends: the sort key of its last item, with a check sum over it and the query that it belongs to.

    A cursor is a place, not a right: access is checked on every call, and one that is made up only moves the start.
    """

    def __init__(self, *query: Any) -> None:
        self._query = orjson.dumps(query, default=str)

    def read(self, cursor: str | None) -> list[Any] | None:
        """Return the sort key in *cursor*, or None for the first page; raise Refused if it is not of this query."""
        if cursor is None:
            return None
        key: list[Any]
        try:
            check, *key = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
            is_ours = check == self._check(key)
        except (binascii.Error, ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise Refused(
                Code.INVALID_CURSOR,
                "This cursor does not belong to these arguments: repeat those that gave it, or leave it out to start "
                "with the first page.",
            )
        return key

    def write(self, key: Sequence[Any]) -> str:
        """Return the cursor for what follows *key*."""
        return base64.urlsafe_b64encode(orjson.dumps([self._check(key), *key])).decode().rstrip("=")

    def _check(self, key: Sequence[Any]) -> str:
        return hashlib.sha256(self._query + orjson.dumps(list(key))).hexdigest()[:12]


def page(
    items: Sequence[Document],
    *,
    total: int,
    limit: int,
    cursor: Cursor,
    key: Callable[[int], Sequence[Any]],
    beside: Document | None = None,
) -> Document:
    """Return the page of *items*, of which one more than *limit* was asked for to know whether more follow.

    *key* gives the sort key of the item at an index; *beside* is what the answer holds besides the page. A page ends
    early where it would flood the reader.
    """
    beside = beside or {}
    room = DEFAULT_PAGE if limit <= DEFAULT_LIMIT else LARGEST_ANSWER
    shown = items[: min(limit, fitting(items, room - ENVELOPE - len(orjson.dumps(beside))))]
    document: Document = {**beside, "items": shown, "total": total}
    if len(shown) < len(items):
        document["nextCursor"] = cursor.write(key(len(shown) - 1))
    return document


def listing(
    items: Sequence[Document], *, total: int, limit: int | None, cursor: Cursor, key: Callable[[int], Sequence[Any]]
) -> Document:
    """Return all *items*, or where there is a *limit* the page of them: for people, who can read long lists."""
    if limit is None:
        return {"items": list(items), "total": total}
    document: Document = {"items": list(items[:limit]), "total": total}
    if limit < len(items):
        document["nextCursor"] = cursor.write(key(limit - 1))
    return document


def fitting(items: Sequence[Document], room: int) -> int:
    """Return how many of *items* fit into *room* characters, but at least one."""
    for index, item in enumerate(items):
        room -= len(orjson.dumps(item)) + 1
        if room < 0:
            return max(index, 1)
    return len(items)
