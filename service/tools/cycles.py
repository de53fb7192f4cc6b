"""Cycles: create, change, reopen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.domain import cycles
from service.domain.cycles import CyclePatch
from service.tools.arguments import choice, day, expected_version, identifier, optional, required, text
from service.tools.registry import write_tool
from service.tools.results import BOOLEAN, DATE, INTEGER, NAMED, NUMBER, STRING, TIME, record

if TYPE_CHECKING:
    from service.domain.work import Document, Work

CYCLE_ID = required("cycleId", identifier())
NAME = text(minimum=1, maximum=255)
CONTENT = (
    optional("typeId", identifier("From get_cycles (types); default: the default type")),
    optional("parentId", identifier("0: none")),
    optional("startDate", day()),
    optional("endDate", day()),
    optional("description", text(maximum=2_000)),
)
CYCLE = record(
    {
        "id": INTEGER,
        "name": STRING,
        "type": NAMED,
        "state": STRING,
        "pastDue": BOOLEAN,
        "progress": NUMBER,
        "runCount": INTEGER,
        "createdAt": TIME,
        "updatedAt": TIME,
        "version": INTEGER,
    },
    {"parentId": INTEGER, "startDate": DATE, "endDate": DATE, "completedDate": DATE, "description": STRING},
)


@write_tool(
    title="Create a cycle",
    description="Create a cycle (sprint, release) to group runs, UPCOMING at first; with parentId under another one, "
    "three levels at most. Returns the cycle; start it with update_cycle, put runs into it with start_test_run. "
    'Example: {"project": 1, "name": "Release 2.3", "startDate": "2026-12-01", "endDate": "2026-12-18"}',
    arguments=(required("name", NAME), *CONTENT),
    returns=CYCLE,
    permissions=(Permission.MANAGE_CYCLES,),
    creates=True,
)
async def create_cycle(work: Work, *, project: int, **cycle: Any) -> Document:
    return await cycles.create_cycle(work, project, **cycle)


@write_tool(
    title="Update a cycle",
    description="Change a cycle; what is not sent stays. state ACTIVE starts it (startDate, by default today, is "
    "locked from then on); state COMPLETED completes an active one (completedDate: by default today), after all "
    "cycles below it. parentId moves it with all below. Returns the cycle. "
    'Example: {"project": 1, "cycleId": 9, "name": "Release 2.3.1", "description": "With the hotfix"}',
    arguments=(
        CYCLE_ID,
        optional("name", NAME),
        *CONTENT,
        optional("state", choice(*cycles.STATES)),
        optional("completedDate", day()),
        expected_version("cycle"),
    ),
    returns=CYCLE,
    permissions=(Permission.MANAGE_CYCLES,),
    destructive=True,
)
async def update_cycle(
    work: Work, *, project: int, cycle_id: int, expected_version: int | None = None, **patch: Any
) -> Document:
    return await cycles.update_cycle(work, project, cycle_id, CyclePatch(**patch), expected_version=expected_version)


@write_tool(
    title="Reopen a cycle",
    description="Make a COMPLETED cycle UPCOMING again: it can be started anew, its start date is no longer locked. "
    "Refused under a completed parent. Returns the cycle. "
    'Example: {"project": 1, "cycleId": 9}',
    arguments=(CYCLE_ID, expected_version("cycle")),
    returns=CYCLE,
    permissions=(Permission.MANAGE_CYCLES,),
)
async def reopen_cycle(work: Work, *, project: int, cycle_id: int, expected_version: int | None = None) -> Document:
    return await cycles.reopen_cycle(work, project, cycle_id, expected_version=expected_version)


TOOLS = (create_cycle, update_cycle, reopen_cycle)
