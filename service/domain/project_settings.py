"""Projects as administrators see them: all of them, with what they give to users whom no rule names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.access import DefaultAccess
from service.audit import Change
from service.domain.administration import Duty, require
from service.domain.given import choice, line, refusing, text
from service.domain.named import Ref, find
from service.domain.pages import Cursor, listing
from service.domain.versions import check_version
from service.domain.work import difference
from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work

_SQL = load(__file__)
_LONGEST_SUMMARY = 2000
_LONGEST_ICON = 50
_COLUMNS = ("name", "summary", "icon", "default_access", "default_role_id", "completed")
_REASONS = {"projects_name_key": "There is a project of this name already; capitals make no other name."}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPatch:
    """What changes in a project. What is None stays; an empty icon is none."""

    name: str | None = None
    summary: str | None = None
    icon: str | None = None
    default_access: str | None = None
    default_role: Ref | None = None
    completed: bool | None = None


async def list_all_projects(
    work: Work,
    *,
    completed: bool | None = None,
    search: str = "",
    limit: int | None = None,
    cursor: str | None = None,
) -> Document:
    """Return the projects by name, whoever may enter them: all, or a page of *limit*."""
    await require(work, Duty.MANAGE_PROJECTS)
    place = Cursor("projects", completed, search)
    [after] = place.read(cursor) or [None]
    rows = await work.connection.fetch(
        _SQL["projects"], None, completed, search, after, None if limit is None else limit + 1
    )
    total = len(rows) if limit is None else await work.connection.fetchval(_SQL["count_projects"], completed, search)
    return listing(
        [row["document"] for row in rows],
        total=total,
        limit=limit,
        cursor=place,
        key=lambda index: [rows[index]["sort_name"]],
    )


async def get_project(work: Work, project: Ref) -> Document:
    """Return a project."""
    await require(work, Duty.MANAGE_PROJECTS)
    return await _document(work, await find(work, "project", project))


async def create_project(
    work: Work,
    *,
    name: str,
    summary: str = "",
    icon: str = "",
    default_access: str | None = None,
    default_role: Ref | None = None,
) -> Document:
    """Create a project. It admits everybody with their global role unless *default_access* says otherwise."""
    await require(work, Duty.MANAGE_PROJECTS)
    empty: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"default_access": DefaultAccess.GLOBAL_ROLE.value}
    patch = ProjectPatch(
        name=name, summary=summary, icon=icon, default_access=default_access, default_role=default_role
    )
    *values, _ = (await _after(work, empty, patch)).values()
    with refusing(_REASONS, about="name of a project"):
        project_id: int = await work.connection.fetchval(_SQL["insert_project"], *values)
    work.changes.append(
        Change(action="create", object_type="project", object_id=project_id, project_id=project_id, version_after=1)
    )
    return await _document(work, project_id)


async def change_project(
    work: Work, project: Ref, patch: ProjectPatch, *, expected_version: int | None = None
) -> Document:
    """Change a project, complete it or reopen it: a completed one stays as it is, but out of sight."""
    await require(work, Duty.MANAGE_PROJECTS)
    project_id = await find(work, "project", project)
    row = dict(await work.connection.fetchrow(_SQL["lock_project"], project_id) or {})
    version = row.pop("version")
    await check_version(work, project_id, current=version, expected=expected_version)
    after = await _after(work, row, patch)
    if after != row:
        with refusing(_REASONS, about="name of a project"):
            await work.connection.execute(_SQL["update_project"], project_id, *after.values())
        work.changes.append(
            Change(
                action="update",
                object_type="project",
                object_id=project_id,
                project_id=project_id,
                version_before=version,
                version_after=version + 1,
                details=difference(row, after),
            )
        )
    return await _document(work, project_id)


async def _after(work: Work, before: dict[str, Any], patch: ProjectPatch) -> dict[str, Any]:
    """Return the columns as they are after the patch, in the order of _COLUMNS."""
    after = {column: before[column] for column in _COLUMNS}
    if patch.name is not None:
        after["name"] = line(patch.name, "name of a project")
    if patch.summary is not None:
        after["summary"] = text(patch.summary, "summary", most=_LONGEST_SUMMARY)
    if patch.icon is not None:
        after["icon"] = line(patch.icon, "icon", most=_LONGEST_ICON) if patch.icon.strip() else None
    if patch.completed is not None:
        after["completed"] = patch.completed
    if patch.default_access is not None:
        after["default_access"] = choice(DefaultAccess, patch.default_access, "default access").value
    if after["default_access"] != DefaultAccess.ROLE:
        after["default_role_id"] = None
    if patch.default_role is not None:
        if after["default_access"] != DefaultAccess.ROLE:
            raise Refused(
                Code.INVALID_VALUE,
                "A default role goes with default access ROLE: give both, or neither.",
                about="role",
            )
        after["default_role_id"] = await find(work, "role", patch.default_role)
    if after["default_access"] == DefaultAccess.ROLE and after["default_role_id"] is None:
        raise Refused(Code.INVALID_VALUE, "Default access ROLE needs a default role: give both.", about="role")
    return after


async def _document(work: Work, project_id: int) -> Document:
    document: Document = (await work.connection.fetch(_SQL["projects"], project_id, None, "", None, None))[0][
        "document"
    ]
    return document
