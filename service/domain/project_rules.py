"""The access rules of a project: those of single users, which beat those of groups, and a user's role override."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from service.access import AccessMode
from service.audit import Change
from service.domain.administration import Duty, require
from service.domain.given import choice, refusing
from service.domain.named import Ref, find, find_all
from service.domain.pages import Cursor, listing
from service.domain.work import difference
from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

Holder = Literal["user", "group"]
# How an audit row calls the rule of each; its object is the user or group.
_OBJECT_TYPES: dict[Holder, str] = {"user": "project_member", "group": "project_group"}
# What the queries of rules take besides, where no page of them is wanted.
_WHOLE: dict[Holder, Sequence[None]] = {"user": (None, None), "group": ()}
_NEW = {"mode": AccessMode.INHERIT.value, "forced_role_id": None, "override_role_id": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePatch:
    """What changes in a rule. What is None stays; a new rule has mode INHERIT.

    *role* goes with mode FORCE_ROLE. *override* is what INHERIT gives in place of the global role, to users alone; an
    empty one is none.
    """

    mode: str | None = None
    role: Ref | None = None
    override: Ref | None = None


async def list_user_rules(work: Work, project: Ref, *, limit: int | None = None, cursor: str | None = None) -> Document:
    """Return the rules of single users by e-mail: all of them, or a page of *limit*."""
    await require(work, Duty.MANAGE_PROJECTS)
    project_id = await find(work, "project", project)
    place = Cursor("user rules", project_id)
    [after] = place.read(cursor) or [None]
    rows = await work.connection.fetch(
        _SQL["user_rules"], project_id, None, after, None if limit is None else limit + 1
    )
    total = len(rows) if limit is None else await work.connection.fetchval(_SQL["count_user_rules"], project_id)
    return listing(
        [row["document"] for row in rows],
        total=total,
        limit=limit,
        cursor=place,
        key=lambda index: [rows[index]["sort_email"]],
    )


async def list_group_rules(work: Work, project: Ref) -> Document:
    """Return the rules of groups by name."""
    await require(work, Duty.MANAGE_PROJECTS)
    rows = await work.connection.fetch(_SQL["group_rules"], await find(work, "project", project), None)
    return {"items": [row["document"] for row in rows], "total": len(rows)}


async def find_rule(work: Work, project: Ref, holder: Holder, ref: Ref) -> Document | None:
    """Return the rule of that user or group, None where there is none."""
    await require(work, Duty.MANAGE_PROJECTS)
    project_id, holder_id = await find(work, "project", project), await find(work, holder, ref)
    rows = await work.connection.fetch(_SQL[f"{holder}_rules"], project_id, [holder_id], *_WHOLE[holder])
    return rows[0]["document"] if rows else None


async def set_user_rules(work: Work, project: Ref, users: Sequence[Ref], patch: RulePatch) -> Document:
    """Change the rules of these users on the project, or make them; return them."""
    return await _set_rules(work, project, "user", users, patch)


async def set_group_rules(work: Work, project: Ref, groups: Sequence[Ref], patch: RulePatch) -> Document:
    """Change the rules of these groups on the project, or make them; return them."""
    if patch.override is not None:
        raise Refused(Code.INVALID_VALUE, "A role override is a user's: for a group, force a role.")
    return await _set_rules(work, project, "group", groups, patch)


async def remove_user_rules(work: Work, project: Ref, users: Sequence[Ref]) -> None:
    """Remove the rules of these users, where they have one: their groups decide, or the project's default access."""
    await _remove_rules(work, project, "user", users)


async def remove_group_rules(work: Work, project: Ref, groups: Sequence[Ref]) -> None:
    """Remove the rules of these groups, where they have one."""
    await _remove_rules(work, project, "group", groups)


async def _set_rules(work: Work, project: Ref, holder: Holder, refs: Sequence[Ref], patch: RulePatch) -> Document:
    project_id, before = await _locked(work, project, holder, refs)
    given = await _given(work, patch)
    after = {holder_id: _after(rule or _NEW, given) for holder_id, rule in before.items()}
    changed = {holder_id: rule for holder_id, rule in after.items() if rule != before[holder_id]}
    if changed:
        columns = [[rule[column] for rule in changed.values()] for column in _NEW]
        # A group has no override.
        columns = columns if holder == "user" else columns[:-1]
        with refusing({}):
            await work.connection.execute(_SQL[f"set_{holder}_rules"], project_id, list(changed), *columns)
    for holder_id, rule in changed.items():
        was = before[holder_id]
        work.changes.append(
            Change(
                action="create" if was is None else "update",
                object_type=_OBJECT_TYPES[holder],
                object_id=holder_id,
                project_id=project_id,
                details=rule if was is None else difference(was, rule),
            )
        )
    rows = await work.connection.fetch(_SQL[f"{holder}_rules"], project_id, list(after), *_WHOLE[holder])
    return {"items": [row["document"] for row in rows], "total": len(rows)}


async def _remove_rules(work: Work, project: Ref, holder: Holder, refs: Sequence[Ref]) -> None:
    project_id, before = await _locked(work, project, holder, refs)
    there = {holder_id: rule for holder_id, rule in before.items() if rule is not None}
    await work.connection.execute(_SQL[f"delete_{holder}_rules"], project_id, list(there))
    kind = _OBJECT_TYPES[holder]
    work.changes.extend(
        Change(action="delete", object_type=kind, object_id=holder_id, project_id=project_id, details=rule)
        for holder_id, rule in there.items()
    )


async def _locked(
    work: Work, project: Ref, holder: Holder, refs: Sequence[Ref]
) -> tuple[int, dict[int, dict[str, Any] | None]]:
    """Return the project's id and what rule each holder has, of which nobody changes any until this call ends."""
    await require(work, Duty.MANAGE_PROJECTS)
    project_id = await find(work, "project", project)
    holders = await find_all(work, holder, refs)
    # The project's row stands for its rules: locks of those that there are keep no other call from adding one.
    await work.connection.execute(_SQL["lock_rules"], project_id)
    rows = await work.connection.fetch(_SQL[f"{holder}_rule_columns"], project_id, holders)
    found = {row["holder_id"]: {column: row[column] for column in _NEW} for row in rows}
    return project_id, {holder_id: found.get(holder_id) for holder_id in holders}


async def _given(work: Work, patch: RulePatch) -> dict[str, Any]:
    """Return the columns that the patch sets, checked."""
    given: dict[str, Any] = {}
    if patch.mode is not None:
        given["mode"] = choice(AccessMode, patch.mode, "access mode").value
    if patch.role is not None:
        given["forced_role_id"] = await find(work, "role", patch.role)
    if patch.override is not None:
        given["override_role_id"] = None if patch.override == "" else await find(work, "role", patch.override)
    return given


def _after(before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    after = before | given
    if after["mode"] == AccessMode.FORCE_ROLE:
        if after["forced_role_id"] is None:
            raise Refused(Code.INVALID_VALUE, "Mode FORCE_ROLE needs the role that it forces: give both.", about="role")
    elif given.get("forced_role_id") is not None:
        raise Refused(
            Code.INVALID_VALUE,
            "A role goes with mode FORCE_ROLE: give both. The role of mode INHERIT is the override.",
            about="role",
        )
    else:
        after["forced_role_id"] = None
    return after
