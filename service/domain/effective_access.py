"""What a user may do in the workspace's projects, and why: the database's own verdict, rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.administration import Duty, require
from service.domain.named import Ref, find
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# How the reasons of project_access begin, and the kind of rule that such a reason says has decided.
_DECIDERS = {
    "the user is deactivated": "user",
    "member rule ": "member",
    "NO_ACCESS among the rules of groups ": "group",
    "rules of groups ": "group",
    "default access ": "default",
}
_WHY_NOT = {
    "user": "the user is deactivated",
    "member": "the user's own rule decides",
    "group": "the rules of groups decide",
}


async def explain_access(work: Work, user: Ref, *, project: Ref | None = None, limit: int | None = None) -> Document:
    """Return what the user may do in the project, or in each by name, with every rule that was considered.

    A rule says whether it decided, and if not, why not.
    """
    await require(work, Duty.SEE_PEOPLE)
    user_id = await find(work, "user", user)
    project_id = None if project is None else await find(work, "project", project)
    found: Document = await work.connection.fetchval(_SQL["user"], user_id)
    rows = await work.connection.fetch(_SQL["access"], user_id, project_id, limit)
    return {"user": found, "projects": [_explained(row["document"], row["rules"]) for row in rows]}


def _explained(verdict: Document, rules: Sequence[Document]) -> Document:
    decider = next(kind for start, kind in _DECIDERS.items() if verdict["reason"].startswith(start))
    denied = verdict["reason"].startswith("NO_ACCESS")
    return {**verdict, "rules": [_judged(rule, decider=decider, denied=denied) for rule in rules]}


def _judged(rule: Mapping[str, object], *, decider: str, denied: bool) -> Document:
    why_not = None
    if rule["kind"] == "group" and not rule["enabled"]:
        why_not = "the group is disabled"
    elif rule["kind"] != decider:
        why_not = _WHY_NOT[decider]
    elif rule["kind"] == "group" and denied and rule["mode"] != "NO_ACCESS":
        why_not = "NO_ACCESS of another group beats it"
    return {**rule, "decides": why_not is None} | ({} if why_not is None else {"whyNot": why_not})
