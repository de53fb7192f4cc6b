"""The people of a workspace: who they are, their access level and global role, and whether they are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.access import AccessLevel
from service.audit import Change
from service.domain.administration import Duty, require, require_other
from service.domain.given import choice, line, refusing
from service.domain.named import Ref, find
from service.domain.pages import Cursor, listing
from service.domain.versions import check_version
from service.domain.work import difference, recorded
from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_LONGEST_EMAIL = 254
_COLUMNS = ("email", "name", "access_level", "role_id", "active")
_REASONS = {
    "users_email_check": "This is no e-mail address: write it as ann@acme.example.",
    "users_email_key": "There is a user with this e-mail address already.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPatch:
    """What changes in a user. What is None stays."""

    email: str | None = None
    name: str | None = None
    access_level: str | None = None
    role: Ref | None = None
    active: bool | None = None


async def list_users(
    work: Work,
    *,
    active: bool | None = None,
    access_level: str | None = None,
    role: Ref | None = None,
    group: Ref | None = None,
    search: str = "",
    limit: int | None = None,
    cursor: str | None = None,
) -> Document:
    """Return the users by name: all of them, or a page of *limit*."""
    await require(work, Duty.SEE_PEOPLE)
    level = None if access_level is None else choice(AccessLevel, access_level, "access level")
    role_id = None if role is None else await find(work, "role", role)
    group_id = None if group is None else await find(work, "group", group)
    filters = active, level, role_id, group_id, search
    place = Cursor("users", *filters)
    name, user_id = place.read(cursor) or (None, None)
    rows = await work.connection.fetch(_SQL["users"], *filters, name, user_id, None if limit is None else limit + 1)
    total = len(rows) if limit is None else await work.connection.fetchval(_SQL["count_users"], *filters)
    return listing(
        [row["document"] for row in rows],
        total=total,
        limit=limit,
        cursor=place,
        key=lambda index: (rows[index]["sort_name"], rows[index]["id"]),
    )


async def get_user(work: Work, user: Ref) -> Document:
    """Return a user with their groups."""
    await require(work, Duty.SEE_PEOPLE)
    return await _document(work, await find(work, "user", user))


async def create_user(
    work: Work,
    *,
    email: str,
    name: str,
    access_level: str = AccessLevel.REGULAR_USER,
    role: Ref | None = None,
) -> Document:
    """Create a user with a global role, or the default one."""
    level = choice(AccessLevel, access_level, "access level")
    await require(work, Duty.INVITE_USERS if level is AccessLevel.REGULAR_USER else Duty.MANAGE_USERS)
    role_id = await (work.connection.fetchval(_SQL["default_role"]) if role is None else find(work, "role", role))
    values = line(email, "e-mail address", most=_LONGEST_EMAIL), line(name, "name of a user"), level, role_id
    with refusing(_REASONS, about="e-mail address"):
        user_id: int = await work.connection.fetchval(_SQL["insert_user"], *values)
    work.changes.append(Change(action="create", object_type="user", object_id=user_id, version_after=1))
    return await _document(work, user_id)


async def change_user(work: Work, user: Ref, patch: UserPatch, *, expected_version: int | None = None) -> Document:
    """Change a user. An active Tenant Admin must remain, and nobody changes their own level or deactivates themselves.

    Whoever activates or deactivates a user sees to it in the same transaction that the user's keys follow.
    """
    await require(work, Duty.MANAGE_USERS)
    user_id = await find(work, "user", user)
    given = await _given(work, patch)
    if given.get("active") is False or given.get("access_level", AccessLevel.TENANT_ADMIN) != AccessLevel.TENANT_ADMIN:
        # All of them, before the user: of two who are demoted at once, the second sees that the first is gone.
        admins = [row["id"] for row in await work.connection.fetch(_SQL["lock_admins"])]
        if admins == [user_id]:
            raise Refused(
                Code.INVALID_STATE,
                "This is the only active Tenant Admin, and one must be: make somebody else Tenant Admin first.",
            )
    row = await work.connection.fetchrow(_SQL["lock_user"], user_id)
    before = dict(row or {})
    await check_version(work, user_id, current=before["version"], expected=expected_version)
    after = before | given
    if after["access_level"] != before["access_level"]:
        require_other(work, user_id, "change their own access level")
    if before["active"] and not after["active"]:
        require_other(work, user_id, "deactivate themselves")
    if after != before:
        with refusing(_REASONS, about="e-mail address"):
            await work.connection.execute(_SQL["update_user"], user_id, *(after[column] for column in _COLUMNS))
        work.changes.append(
            Change(
                action="update",
                object_type="user",
                object_id=user_id,
                version_before=before["version"],
                version_after=before["version"] + 1,
                details=difference(before, after),
            )
        )
    return await _document(work, user_id)


async def add_user(connection: WorkspaceConnection, *, email: str, name: str, access_level: str, role: str) -> int:
    """Add a user while their workspace is made, and return the new id."""
    async with recorded(connection) as work:
        made = await create_user(work, email=email, name=name, access_level=access_level, role=role)
    return int(made["id"])


async def find_user(connection: WorkspaceConnection, email: str) -> int | None:
    """Return the id of the user with that e-mail."""
    user_id: int | None = await connection.fetchval(_SQL["user_by_email"], email)
    return user_id


async def _given(work: Work, patch: UserPatch) -> dict[str, Any]:
    """Return the columns that the patch sets, checked."""
    given: dict[str, Any] = {}
    if patch.email is not None:
        given["email"] = line(patch.email, "e-mail address", most=_LONGEST_EMAIL)
    if patch.name is not None:
        given["name"] = line(patch.name, "name of a user")
    if patch.access_level is not None:
        given["access_level"] = choice(AccessLevel, patch.access_level, "access level")
    if patch.role is not None:
        given["role_id"] = await find(work, "role", patch.role)
    if patch.active is not None:
        given["active"] = patch.active
    return given


async def _document(work: Work, user_id: int) -> Document:
    document: Document = await work.connection.fetchval(_SQL["user"], user_id)
    return document
