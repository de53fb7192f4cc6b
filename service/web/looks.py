"""How pages write what the domain says: statuses as they are drawn, times, durations, and what an agent did."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from service.web.charts import Kind, Look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document

_HOUR, _MINUTE = 3600, 60


def looks_of(statuses: Sequence[Document]) -> dict[str, Look]:
    """Return how each status is drawn, by its name."""
    return {status["name"]: Look(name=status["name"], color=status["color"], kind=_kind(status)) for status in statuses}


def _kind(status: Document) -> Kind:
    if status["initial"]:
        return Kind.INITIAL
    if status["failure"]:
        return Kind.FAILURE
    if status["success"]:
        return Kind.SUCCESS
    return Kind.DONE if status["completed"] else Kind.PENDING


def moment(value: str | dt.datetime) -> dt.datetime:
    """Return a time in UTC, given as it is stored or as a document has it."""
    return value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value).astimezone(dt.UTC)


def duration(seconds: int) -> str:
    """Return a duration as people write it, such as `1h 30m`."""
    hours, rest = divmod(seconds, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if number]
    return " ".join(parts[:2]) or "0s"


def percent(share: float | None) -> str:
    """Return a share in whole percent, which is 0 and 100 only where it is none or all."""
    if share is None:
        return "none"
    if 0 < share < 1:
        return f"{min(max(round(100 * share), 1), 99)}%"
    return f"{100 * share:.0f}%"


_VERBS: Mapping[str, str] = {"create": "created", "update": "changed", "delete": "deleted"}
_PLURALS: Mapping[str, tuple[str, str]] = {
    "case": ("a case", "cases"),
    "comment": ("a comment", "comments"),
    "cycle": ("a cycle", "cycles"),
    "folder": ("a folder", "folders"),
    "link": ("a link to an issue", "links to issues"),
    "result": ("a result", "results"),
    "run": ("a run", "runs"),
}


def deed(entry: Document) -> str:
    """Return what an entry of the activity tells, such as `recorded 12 results`."""
    one, many = _PLURALS.get(entry["objectType"], (f"a {entry['objectType']}", f"{entry['objectType']}s"))
    verb = "recorded" if entry["objectType"] == "result" else _VERBS.get(entry["action"], entry["action"])
    return f"{verb} {one}" if entry["count"] == 1 else f"{verb} {entry['count']:,} {many}"
