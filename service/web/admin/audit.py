"""The audit log: who changed what, by which key and tool; filtered, page by page, or all of it as CSV."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from quart import Response

from service.domain.administration import Duty
from service.domain.audit_log import Filters, list_entries, list_tools
from service.domain.named import find
from service.domain.roles import list_roles
from service.domain.user_states import emails_of_users
from service.domain.work import Work
from service.web.admin.forms import FORM, telling
from service.web.visitors import page, see_other

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from service.domain.work import Document
    from service.web.visitors import Visit

_PAGE_SIZE = 50
# An export holds so many entries at a time, and no connection while they are sent.
_CHUNK = 1000
_LONGEST_VALUE = 300
_COLUMNS = (
    *("time", "user", "user_id", "key", "key_id", "tool", "action", "object_type", "object_id", "object"),
    *("project", "project_id", "version_before", "version_after", "change"),
)
# What a spreadsheet would take for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class Told(NamedTuple):
    """A part of a change as it is shown: what it is about, and what is now there, or was before."""

    what: str
    new: str
    old: str | None = None


@page("/admin/audit", duty=Duty.READ_AUDIT_LOG)
async def audit(visit: Visit) -> Response:
    """Show the entries that pass the filters, the latest first."""
    filters, faults = await _filters(visit)
    found: Document = {"items": []}
    if filters is not None:
        async with telling(visit, faults, {}):
            found = await list_entries(visit.work, filters, limit=_PAGE_SIZE, cursor=visit.text("cursor"))
    entries = found["items"]
    names = await _names(visit.work, [entry["details"] for entry in entries])
    return await visit.render(
        "admin/audit.html",
        status=422 if faults else 200,
        found=found,
        told={entry["id"]: tell(entry["details"], names) for entry in entries},
        key_ids={entry["apiKeyId"] for entry in entries if "apiKeyId" in entry},
        tools=await list_tools(visit.work),
        faults=faults,
        fault=faults.get(FORM, ""),
    )


@page("/admin/audit/export", duty=Duty.READ_AUDIT_LOG)
async def export(visit: Visit) -> Response:
    """Return all entries that pass the filters as CSV."""
    filters, _ = await _filters(visit)
    if filters is None:
        return see_other(visit.with_query().replace("/admin/audit/export", "/admin/audit", 1))
    answer = Response(
        _csv(visit, filters),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="audit-log-{visit.place.slug}.csv"'},
    )
    # As long as it takes: whoever reads slowly keeps nothing busy.
    answer.timeout = None
    return answer


async def _filters(visit: Visit) -> tuple[Filters | None, dict[str, str]]:
    """Return what the address asks for, or what is wrong with it by parameter."""
    faults: dict[str, str] = {}
    user_id = None
    if user := visit.text("user"):
        async with telling(visit, faults, {"user": "user"}):
            user_id = await find(visit.work, "user", user)
    numbers = {}
    for name, noun in (("key", "key"), ("object", "object")):
        numbers[name] = visit.number(name)
        if numbers[name] is None and visit.text(name):
            faults[name] = f"Write the number of the {noun}, as this log shows it."
    times: dict[str, dt.datetime | None] = {"since": None, "before": None}
    for name in times:
        if typed := visit.text(name):
            try:
                times[name] = _time(typed)
            except ValueError:
                faults[name] = "Write a time in UTC as 2027-12-31T18:00, or a day."
    if faults:
        return None, faults
    return Filters(
        user_id=user_id,
        api_key_id=numbers["key"],
        tool=visit.text("tool"),
        object_id=numbers["object"],
        since=times["since"],
        before=times["before"],
    ), {}


def _time(typed: str) -> dt.datetime:
    at = dt.datetime.fromisoformat(typed.strip())
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


async def _csv(visit: Visit, filters: Filters) -> AsyncIterator[bytes]:
    """Yield the file, each part from a transaction of its own: what is added meanwhile is above its beginning."""
    yield _lines([_COLUMNS])
    cursor = None
    while True:
        async with visit.web.gateway.workspace(
            visit.place.schema_name, read_only=True, actor=visit.work.actor
        ) as connection:
            found = await list_entries(Work(connection=connection), filters, limit=_CHUNK, cursor=cursor)
        entries = found["items"]
        key_ids = {entry["apiKeyId"] for entry in entries if "apiKeyId" in entry}
        labels = await visit.web.accounts.name_keys(visit.session, key_ids) if key_ids else {}
        yield _lines(_row(entry, labels) for entry in entries)
        cursor = found.get("nextCursor")
        if cursor is None:
            return


def _row(entry: Document, labels: Mapping[int, str]) -> tuple[object, ...]:
    user, project, key_id = entry.get("user", {}), entry.get("project", {}), entry.get("apiKeyId")
    return (
        *(entry["at"], user.get("email"), user.get("id"), labels.get(key_id or 0), key_id, entry["tool"]),
        *(entry["action"], entry["objectType"], entry["objectId"], entry.get("object")),
        *(project.get("name"), project.get("id"), entry.get("versionBefore"), entry.get("versionAfter")),
        json.dumps(entry["details"], ensure_ascii=False) if entry["details"] else None,
    )


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([cell(value) for value in row] for row in rows)
    return written.getvalue().encode()


def cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet calculates."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def tell(details: Mapping[str, Any], names: Mapping[int, str]) -> list[Told]:
    """Return what a change changed, part by part; the ids in *names* by their names."""
    told = []
    for what, value in details.items():
        said = what.removesuffix("_id").replace("_", " ")
        if isinstance(value, Mapping) and value.keys() == {"from", "to"}:
            told.append(Told(said, _said(value["to"], names), _said(value["from"], names)))
        elif value is not None:
            told.append(Told(said, _said(value, names)))
    return told


def _said(value: object, names: Mapping[int, str]) -> str:
    if value is None or value in ("", [], {}):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return names.get(value, str(value))
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        text = ", ".join(_said(one, names) for one in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


async def _names(work: Work, details: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Return the names of the roles and users that these changes tell of by their ids."""
    user_ids: set[int] = set()
    has_roles = False
    for one in details:
        has_roles = has_roles or any(what.endswith("role_id") or what == "default" for what in one)
        for what in ("added", "removed"):
            user_ids |= {value for value in one.get(what, []) if isinstance(value, int)}
    names = await emails_of_users(work.connection, user_ids) if user_ids else {}
    if has_roles:
        names |= {role["id"]: role["name"] for role in (await list_roles(work))["items"]}
    return names
