"""Access groups: users who get a project rule together. A group has no permissions of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.audit import Change
from service.domain.administration import Duty, require
from service.domain.given import line, refusing, text
from service.domain.named import Ref, find, find_all
from service.domain.work import difference
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)
_LONGEST_DESCRIPTION = 500
_REASONS = {"groups_name_key": "There is a group of this name already; capitals make no other name."}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPatch:
    """What changes in a group. What is None stays."""

    name: str | None = None
    description: str | None = None
    enabled: bool | None = None


async def list_groups(work: Work) -> Document:
    """Return all groups by name; `list_users` tells the members of one."""
    await require(work, Duty.SEE_PEOPLE)
    rows = await work.connection.fetch(_SQL["groups"], None)
    return {"items": [row["document"] for row in rows], "total": len(rows)}


async def get_group(work: Work, group: Ref) -> Document:
    """Return a group."""
    await require(work, Duty.SEE_PEOPLE)
    return await _document(work, await find(work, "group", group))


async def create_group(work: Work, *, name: str, description: str = "", members: Sequence[Ref] = ()) -> Document:
    """Create an enabled group."""
    await require(work, Duty.MANAGE_GROUPS)
    name, description = line(name, "name of a group"), text(description, "description", most=_LONGEST_DESCRIPTION)
    with refusing(_REASONS, about="name of a group"):
        group_id: int = await work.connection.fetchval(_SQL["insert_group"], name, description)
    work.changes.append(Change(action="create", object_type="group", object_id=group_id))
    if members:
        return await add_members(work, group_id, members)
    return await _document(work, group_id)


async def change_group(work: Work, group: Ref, patch: GroupPatch) -> Document:
    """Change a group; the rules of a disabled one hold for nobody until it is enabled again."""
    await require(work, Duty.MANAGE_GROUPS)
    group_id = await find(work, "group", group)
    before = dict(await work.connection.fetchrow(_SQL["lock_group"], group_id) or {})
    after = dict(before)
    if patch.name is not None:
        after["name"] = line(patch.name, "name of a group")
    if patch.description is not None:
        after["description"] = text(patch.description, "description", most=_LONGEST_DESCRIPTION)
    if patch.enabled is not None:
        after["enabled"] = patch.enabled
    if after != before:
        with refusing(_REASONS, about="name of a group"):
            await work.connection.execute(_SQL["update_group"], group_id, *after.values())
        work.changes.append(
            Change(action="update", object_type="group", object_id=group_id, details=difference(before, after))
        )
    return await _document(work, group_id)


async def add_members(work: Work, group: Ref, users: Sequence[Ref]) -> Document:
    """Put users into a group; those who are in it stay."""
    return await _change_members(work, group, users, query="insert_members", what="added")


async def remove_members(work: Work, group: Ref, users: Sequence[Ref]) -> Document:
    """Take users out of a group; those who are not in it need not be."""
    return await _change_members(work, group, users, query="delete_members", what="removed")


async def _change_members(work: Work, group: Ref, users: Sequence[Ref], *, query: str, what: str) -> Document:
    await require(work, Duty.MANAGE_GROUPS)
    group_id = await find(work, "group", group)
    user_ids = await find_all(work, "user", users)
    with refusing({}):
        rows = await work.connection.fetch(_SQL[query], group_id, user_ids)
    if rows:
        details = {what: sorted(row["user_id"] for row in rows)}
        work.changes.append(Change(action="update", object_type="group", object_id=group_id, details=details))
    return await _document(work, group_id)


async def _document(work: Work, group_id: int) -> Document:
    document: Document = (await work.connection.fetch(_SQL["groups"], group_id))[0]["document"]
    return document
