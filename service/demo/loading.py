"""What all parts of the loader share: the files' content, moments counted back from today, and ids by name."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tenancy.session import WorkspaceConnection

Content = dict[str, Any]

# The safe loader in C is ten times as fast, but not every platform's PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STEP = dt.timedelta(minutes=12)


@cache
def read_content(file_name: str) -> Content:
    """Return what is in a file of this folder. Do not change it: the next caller gets the same."""
    text = Path(__file__).with_name(file_name).read_text(encoding="utf-8")
    content: Content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, as chosen above
    return content


class Hour(IntEnum):
    """When in a day something happens: a run is made before its results and closed after them."""

    PLANNING = 7
    WRITING = 8
    TESTING = 10
    EDITING = 15
    COMMENTING = 16
    CLOSING = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Moments by days before *today*, in UTC; of two asked for the same hour of a day the first comes first."""

    today: dt.date
    _given: Counter[tuple[int, Hour]] = field(default_factory=Counter)

    def day(self, offset: int) -> dt.date:
        """Return the date *offset* days from today, which is in the past if it is negative."""
        return self.today + dt.timedelta(days=offset)

    def moment(self, days_ago: int, hour: Hour) -> dt.datetime:
        """Return the next free moment at about that hour."""
        # Nobody begins every day on the stroke of the hour.
        start = dt.time(hour, days_ago * 7 % 40, tzinfo=dt.UTC)
        place = self._given[days_ago, hour]
        self._given[days_ago, hour] += 1
        return dt.datetime.combine(self.day(-days_ago), start) + place * _STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """A load in progress. *ids* has the ids of everything that the files speak of, by kind and name."""

    connection: WorkspaceConnection
    clock: Clock
    ids: dict[tuple[str, str], int]

    def id(self, kind: str, name: str | None) -> int | None:
        """Return the id of what the files call *name*; None has none."""
        return None if name is None else self.ids[kind, name]

    async def take_ids(self, count: int) -> list[int]:
        """Return *count* new ids, ascending."""
        rows = await self.connection.fetch("SELECT nextval('ids') AS id FROM generate_series(1, $1::integer)", count)
        return [row["id"] for row in rows]

    async def name(self, kind: str, names: Iterable[str]) -> None:
        """Give each of *names* a new id."""
        keys = [(kind, name) for name in names]
        self.ids.update(zip(keys, await self.take_ids(len(keys)), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A folder or a cycle in its tree. Paths are names joined by " / "; *position* is among the siblings."""

    content: Content
    path: str
    parent: Node | None
    depth: int
    position: int


def nodes(tree: Sequence[Content], parent: Node | None = None) -> Iterator[Node]:
    """Yield all nodes of *tree*, each before its children."""
    for position, content in enumerate(tree):
        node = Node(
            content=content,
            path=f"{parent.path} / {content['name']}" if parent else content["name"],
            parent=parent,
            depth=parent.depth + 1 if parent else 1,
            position=position,
        )
        yield node
        yield from nodes(content.get("children", ()), node)
