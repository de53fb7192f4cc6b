"""Cycles: the sprints and releases that group runs. At most three levels; upcoming, then active, then completed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.audit import Change
from service.domain.pages import whole_list
from service.domain.refusals import listed
from service.domain.versions import check_version
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from service.domain.work import Document, Work

_SQL = load(__file__)

DEEPEST = 3
ROOT = 0
UPCOMING, ACTIVE, COMPLETED = STATES = ("UPCOMING", "ACTIVE", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclePatch:
    """What changes in a cycle. What is None stays; parent 0 is none."""

    name: str | None = None
    type_id: int | None = None
    parent_id: int | None = None
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    completed_date: dt.date | None = None
    description: str | None = None
    state: str | None = None


async def list_cycles(work: Work, project_id: int) -> Document:
    """Return the project's cycles with the progress of their runs, and the types that a new one may have."""
    cycles = await work.connection.fetch(_SQL["cycles"], project_id)
    types = await work.connection.fetch(_SQL["cycle_types"], project_id)
    return whole_list([row["document"] for row in cycles], types=[row["document"] for row in types])


async def get_cycle(work: Work, project_id: int, cycle_id: int) -> Document:
    """Return one cycle."""
    document: Document | None = await work.connection.fetchval(_SQL["cycle"], project_id, cycle_id)
    if document is None:
        raise NotFoundOrDenied
    return document


async def cycles_with_counts(work: Work, project_id: int) -> list[Document]:
    """Return all cycles, parents before children, with the cases of the runs in each and below it by status."""
    rows = await work.connection.fetch(_SQL["cycles"], project_id)
    return [{**row["document"], "counts": row["counts"]} for row in rows]


async def cycle_names(work: Work, project_id: int) -> dict[int, str]:
    """Return the names of the cycles by id, the latest to start first."""
    return {row["id"]: row["name"] for row in await work.connection.fetch(_SQL["names"], project_id)}


async def create_cycle(
    work: Work,
    project_id: int,
    *,
    name: str,
    type_id: int | None = None,
    parent_id: int = ROOT,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    description: str = "",
) -> Document:
    """Create a cycle, upcoming."""
    cycles = await _lock(work, project_id)
    type_id = await _type(work, project_id, type_id)
    depth = 1
    if parent_id != ROOT:
        parent = _find(cycles, parent_id)
        _check_parent(parent, state=UPCOMING)
        depth = parent["depth"] + 1
        _check_depth(depth)
    _check_dates(start_date, end_date)
    cycle_id = await work.connection.fetchval(
        _SQL["insert_cycle"],
        project_id,
        type_id,
        parent_id or None,
        depth,
        name,
        description,
        start_date,
        end_date,
    )
    work.changes.append(
        Change(action="create", object_type="cycle", object_id=cycle_id, project_id=project_id, version_after=1)
    )
    return await _document(work, project_id, cycle_id)


async def update_cycle(
    work: Work, project_id: int, cycle_id: int, patch: CyclePatch, *, expected_version: int | None = None
) -> Document:
    """Change a cycle, start it (state ACTIVE) or complete it (state COMPLETED)."""
    cycles = await _lock(work, project_id)
    before = _find(cycles, cycle_id)
    await check_version(work, cycle_id, current=before["version"], expected=expected_version)
    after = dict(before) | {
        column: value
        for column in ("name", "description", "end_date", "state")
        if (value := getattr(patch, column)) is not None
    }
    if patch.type_id is not None:
        after["type_id"] = await _type(work, project_id, patch.type_id)
    _change_start(before, after, patch)
    _change_state(cycles, before, after, patch)
    _check_dates(after["start_date"], after["end_date"])
    if patch.parent_id is not None and (patch.parent_id or None) != before["parent_id"]:
        after["parent_id"] = patch.parent_id or None
        await _move(work, project_id, cycles, after)
    if after != dict(before):
        await _store(work, project_id, before, after)
    return await _document(work, project_id, cycle_id)


async def reopen_cycle(work: Work, project_id: int, cycle_id: int, *, expected_version: int | None = None) -> Document:
    """Make a completed cycle upcoming again: it can be started anew, with another start date too."""
    cycles = await _lock(work, project_id)
    before = _find(cycles, cycle_id)
    await check_version(work, cycle_id, current=before["version"], expected=expected_version)
    if before["state"] != COMPLETED:
        raise Refused(
            Code.INVALID_STATE,
            f"Only a completed cycle can be reopened; this one is {before['state']}.",
            field="cycleId",
        )
    if before["parent_id"] is not None:
        _check_parent(cycles[before["parent_id"]], state=UPCOMING)
    await _store(work, project_id, before, dict(before) | {"state": UPCOMING, "completed_date": None})
    return await _document(work, project_id, cycle_id)


async def _lock(work: Work, project_id: int) -> dict[int, asyncpg.Record]:
    """Let no other cycle of the project change until this call ends, and return all of them by id."""
    await work.connection.execute(_SQL["lock_tree"], project_id)
    # Only a query after the one that waited sees what was waited for.
    return {row["id"]: row for row in await work.connection.fetch(_SQL["tree"], project_id)}


def _find(cycles: Mapping[int, asyncpg.Record], cycle_id: int) -> asyncpg.Record:
    if cycle_id not in cycles:
        raise NotFoundOrDenied
    return cycles[cycle_id]


async def _type(work: Work, project_id: int, type_id: int | None) -> int:
    types = await work.connection.fetch(_SQL["usable_types"], project_id)
    if type_id is not None and type_id not in {row["id"] for row in types}:
        raise NotFoundOrDenied
    if not types:
        raise Refused(
            Code.INVALID_VALUE, "The project has no cycle type: an administrator must add one.", field="typeId"
        )
    return int(type_id or types[0]["id"])


async def _document(work: Work, project_id: int, cycle_id: int) -> Document:
    document: Document = await work.connection.fetchval(_SQL["cycle"], project_id, cycle_id)
    return document


def _check_dates(start: dt.date | None, end: dt.date | None) -> None:
    if start is not None and end is not None and end < start:
        raise Refused(
            Code.INVALID_VALUE, f"endDate {end} is before startDate {start}: send one that is not.", field="endDate"
        )


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        message = f"Cycles have at most {DEEPEST} levels, this would be level {depth}: choose a parent further up."
        raise Refused(Code.INVALID_MOVE, message, field="parentId")


def _check_parent(parent: asyncpg.Record, *, state: str) -> None:
    if parent["state"] == COMPLETED and state != COMPLETED:
        raise Refused(
            Code.INVALID_STATE,
            f"The parent {parent['name']!r} is completed, and only completed cycles can be under it: reopen it with "
            "reopen_cycle, or choose another parent.",
            field="parentId",
        )


def _change_start(before: asyncpg.Record, after: dict[str, Any], patch: CyclePatch) -> None:
    if patch.start_date is None or patch.start_date == before["start_date"]:
        return
    if before["state"] != UPCOMING:
        raise Refused(
            Code.INVALID_STATE,
            f"The start date {before['start_date']} is locked since the cycle was started: leave startDate out. A "
            "completed cycle can be reopened with reopen_cycle.",
            field="startDate",
        )
    after["start_date"] = patch.start_date


def _change_state(
    cycles: Mapping[int, asyncpg.Record], before: asyncpg.Record, after: dict[str, Any], patch: CyclePatch
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    match before["state"], after["state"]:
        case (old, new) if old == new:
            pass
        case (_, "UPCOMING"):
            raise Refused(
                Code.INVALID_STATE, "Only reopen_cycle makes a completed cycle UPCOMING again.", field="state"
            )
        case ("UPCOMING", "ACTIVE"):
            after["start_date"] = after["start_date"] or today
        case ("ACTIVE", "COMPLETED"):
            _check_children(cycles, before["id"])
            after["completed_date"] = patch.completed_date or today
        case ("UPCOMING", "COMPLETED"):
            raise Refused(Code.INVALID_STATE, "The cycle has not been started: set state ACTIVE first.", field="state")
        case _:
            raise Refused(
                Code.INVALID_STATE, "The cycle is completed: reopen it with reopen_cycle first.", field="state"
            )
    if patch.completed_date is not None:
        if after["state"] != COMPLETED:
            message = "completedDate goes with state COMPLETED: send both, or leave it out."
            raise Refused(Code.INVALID_VALUE, message, field="completedDate")
        after["completed_date"] = patch.completed_date
    completed, start = after["completed_date"], after["start_date"]
    if completed is not None and start is not None and completed < start:
        message = f"completedDate {completed} is before the start date {start}: send one that is not."
        raise Refused(Code.INVALID_VALUE, message, field="completedDate")


def _check_children(cycles: Mapping[int, asyncpg.Record], cycle_id: int) -> None:
    """Raise Refused if a cycle below is not completed: none may be open under a completed one."""
    below, waiting = [], [cycle_id]
    while waiting:
        parent = waiting.pop()
        children = [cycle for cycle in cycles.values() if cycle["parent_id"] == parent]
        waiting += [child["id"] for child in children]
        below += [child for child in children if child["state"] != COMPLETED]
    if below:
        names = listed([f"{cycle['name']} ({cycle['id']})" for cycle in below])
        raise Refused(
            Code.INVALID_STATE,
            f"Cycles below it are not completed: {names}. Complete those first.",
            field="state",
            cycleIds=[cycle["id"] for cycle in below],
        )


async def _move(work: Work, project_id: int, cycles: Mapping[int, asyncpg.Record], after: Mapping[str, Any]) -> None:
    cycle_id, parent_id, depth = after["id"], after["parent_id"], 1
    if parent_id is not None:
        parent = _find(cycles, parent_id)
        above: int | None = parent_id
        while above is not None:
            if above == cycle_id:
                raise Refused(
                    Code.INVALID_MOVE,
                    "A cycle cannot be under itself or a cycle below it: choose another parent.",
                    field="parentId",
                )
            above = cycles[above]["parent_id"]
        _check_parent(parent, state=after["state"])
        depth = parent["depth"] + 1
    height, level = 0, {cycle_id}
    while level := {cycle["id"] for cycle in cycles.values() if cycle["parent_id"] in level}:
        height += 1
    _check_depth(depth + height)
    await work.connection.execute(_SQL["move_cycle"], project_id, cycle_id, parent_id, depth - after["depth"])


async def _store(work: Work, project_id: int, before: asyncpg.Record, after: Mapping[str, Any]) -> None:
    await work.connection.execute(
        _SQL["update_cycle"],
        project_id,
        before["id"],
        *(
            after[column]
            for column in ("type_id", "name", "description", "state", "start_date", "end_date", "completed_date")
        ),
    )
    details = {"from": before["state"], "to": after["state"]} if before["state"] != after["state"] else {}
    work.changes.append(
        Change(
            action="update",
            object_type="cycle",
            object_id=before["id"],
            project_id=project_id,
            version_before=before["version"],
            version_after=before["version"] + 1,
            details=details,
        )
    )
