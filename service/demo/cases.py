"""The demo's cases: every version of each, what others said of it, and the state it is in now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.demo.loading import Content, Hour, Loading
from service.domain.case_writing import read_estimate
from service.sql import load

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

_SQL = load(__file__)

_TEMPLATE = "Test Case"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a case: the whole content as it was then, and who made it when."""

    content: Content
    by: str
    days_ago: int
    at: dt.datetime


# Of each case, by its key, all versions from the first on.
Histories = dict[str, list[Version]]


async def insert_cases(loading: Loading, project: Content, project_id: int) -> Histories:
    """Insert the project's cases, numbered by age, with versions and comments."""
    histories = {case["key"]: _history(loading, case) for case in project["cases"]}
    by_age = sorted(project["cases"], key=lambda case: -int(case["created"]))
    await loading.name("case", [case["key"] for case in by_age])
    await loading.connection.execute(
        _SQL["insert_cases"],
        project_id,
        [
            _case_row(loading, case, histories[case["key"]]) | {"number": number}
            for number, case in enumerate(by_age, start=1)
        ],
    )
    await loading.connection.execute(
        _SQL["insert_case_versions"],
        [
            {
                "case_id": loading.id("case", key),
                "version": number,
                "snapshot": _snapshot(loading, version.content),
                "created_by": loading.id("user", version.by),
                "created_at": version.at,
            }
            for key, history in histories.items()
            for number, version in enumerate(history, start=1)
        ],
    )
    for part in ("field_values", "steps", "tags", "environments"):
        await loading.connection.execute(_SQL[f"restore_{part}"], project_id)
    await _insert_comments(loading, project, project_id)
    return histories


def _history(loading: Loading, case: Content) -> list[Version]:
    def version(content: Content, *, by: str, days_ago: int, hour: Hour) -> Version:
        return Version(content=content, by=by, days_ago=days_ago, at=loading.clock.moment(days_ago, hour))

    history = [version(case, by=case["author"], days_ago=case["created"], hour=Hour.WRITING)]
    for edit in case.get("edits", ()):
        content = {**history[-1].content, **edit}
        history.append(version(content, by=edit["by"], days_ago=edit["days_ago"], hour=Hour.EDITING))
    return history


def _case_row(loading: Loading, case: Content, history: Sequence[Version]) -> dict[str, Any]:
    first, last = history[0], history[-1]
    return {
        "id": loading.id("case", case["key"]),
        "title": last.content["title"],
        "folder_id": loading.id("folder", case["folder"]),
        "template_id": loading.id("template", _TEMPLATE),
        "lifecycle_state_id": loading.id("REPOSITORY state", case["state"]),
        "estimate_seconds": read_estimate(last.content.get("estimate", "")) or None,
        "created_by": loading.id("user", first.by),
        "created_at": first.at,
        "updated_by": loading.id("user", last.by),
        "updated_at": last.at,
        "version": len(history),
    }


def _snapshot(loading: Loading, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content as the history of a case keeps it: what is empty is left out."""

    def reference(kind: str, name: str) -> dict[str, Any]:
        return {"id": loading.id(kind, name), "name": name}

    def references(kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
        return [reference(kind, name) for name in sorted(names, key=str.lower)]

    seconds = read_estimate(content.get("estimate", ""))
    return {
        "title": content["title"],
        "folder": {"id": loading.id("folder", content["folder"]), "path": content["folder"]},
        "template": reference("template", _TEMPLATE),
        "lifecycleState": reference("REPOSITORY state", content["state"]),
        **({"estimateSeconds": seconds} if seconds else {}),
        "fields": {name: content[name] for name in ("priority", "preconditions", "steps") if content.get(name)},
        "tags": references("REPOSITORY tag", content.get("tags", ())),
        "environments": references("environment", content.get("environments", ())),
    }


async def _insert_comments(loading: Loading, project: Content, project_id: int) -> None:
    rows = [
        {
            "case_id": loading.id("case", case["key"]),
            "author_id": loading.id("user", comment["author"]),
            "body": comment["body"],
            "created_at": loading.clock.moment(comment["days_ago"], Hour.COMMENTING),
        }
        for case in project["cases"]
        for comment in case.get("comments", ())
    ]
    await loading.connection.execute(_SQL["insert_comments"], project_id, rows)
