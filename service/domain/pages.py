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

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


def whole_list(items: Sequence[Document], **others: Any) -> Document:
    """Return all *items* with their number; a list that would flood the reader is cut, and says so."""
    room = LARGEST_ANSWER - len(orjson.dumps(others))
    shown = items[: _fitting(items, room)]
    document: Document = {"items": shown, "total": len(items), **others}
    if len(shown) < len(items):
        document["truncated"] = (
            f"Only the first {len(shown)} of {len(items)} are shown. Ask an administrator to disable or move "
            "what is no longer used, or look for single objects with the search and list tools."
        )
    return document


class Cursor:
    """Where a page ends: the sort key of its last item, bound to the query that it belongs to.

    A cursor is a place, not a right: access is checked on every call, and one that is made up only moves the start.
    """

    def __init__(self, *query: Any) -> None:
        self._query = hashlib.sha256(orjson.dumps(query, default=str)).hexdigest()[:12]

    def read(self, cursor: str | None, *types: type) -> list[Any] | None:
        """Return the sort key in *cursor*, or None for the first page."""
        if cursor is None:
            return None
        try:
            key: list[Any]
            query, *key = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
        except (binascii.Error, ValueError, TypeError):
            raise Refused(Code.INVALID_CURSOR, "This cursor is not one of ours: leave it out to start anew.") from None
        if query != self._query or [type(part) for part in key] != list(types):
            raise Refused(
                Code.INVALID_CURSOR,
                "This cursor belongs to another query: repeat the arguments that gave it, or leave it out.",
            )
        return key

    def write(self, key: Sequence[Any]) -> str:
        """Return the cursor for what follows *key*."""
        return base64.urlsafe_b64encode(orjson.dumps([self._query, *key])).decode().rstrip("=")


def page(
    items: Sequence[Document], *, total: int, limit: int, cursor: Cursor, key: Callable[[int], Sequence[Any]]
) -> Document:
    """Return the page of *items*, of which one more than *limit* was asked for to know whether more follow.

    *key* gives the sort key of the item at an index. A page ends early where it would flood the reader.
    """
    room = DEFAULT_PAGE if limit <= DEFAULT_LIMIT else LARGEST_ANSWER
    shown = items[: min(limit, _fitting(items, room))]
    document: Document = {"items": shown, "total": total}
    if len(shown) < len(items):
        document["nextCursor"] = cursor.write(key(len(shown) - 1))
    return document


def _fitting(items: Sequence[Document], room: int) -> int:
    """Return how many of *items* fit into *room* characters, but at least one."""
    room -= 200
    for index, item in enumerate(items):
        room -= len(orjson.dumps(item)) + 1
        if room < 0:
            return max(index, 1)
    return len(items)
