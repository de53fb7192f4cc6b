"""Roles: named sets of project-level permissions. Everybody has one global role; rules on a project can give others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.audit import Change
from service.domain.administration import Duty, require
from service.domain.given import choice, line, refusing, text
from service.domain.named import Ref, find
from service.domain.work import difference
from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.domain.work import Document, Work

_SQL = load(__file__)
_LONGEST_DESCRIPTION = 500
_REASONS = {"roles_name_key": "There is a role of this name already; capitals make no other name."}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePatch:
    """What changes in a role. What is None stays; *permissions* are all of them, *grant* and *revoke* some of them."""

    name: str | None = None
    description: str | None = None
    permissions: Iterable[str] | None = None
    grant: Iterable[str] = ()
    revoke: Iterable[str] = ()
    default: bool | None = None


async def list_roles(work: Work) -> Document:
    """Return all roles with their permissions and how much they are used, by name."""
    await require(work, Duty.SEE_PEOPLE)
    rows = await work.connection.fetch(_SQL["roles"], None)
    return {"items": [row["document"] for row in rows], "total": len(rows)}


async def get_role(work: Work, role: Ref) -> Document:
    """Return a role."""
    await require(work, Duty.SEE_PEOPLE)
    return await _document(work, await find(work, "role", role))


async def create_role(
    work: Work, *, name: str, description: str = "", permissions: Iterable[str] = (), default: bool = False
) -> Document:
    """Create a role; with *default*, users who are given none have it from now on."""
    await require(work, Duty.MANAGE_ROLES)
    name, description = line(name, "name of a role"), text(description, "description", most=_LONGEST_DESCRIPTION)
    await work.connection.execute(_SQL["lock_roles"])
    with refusing(_REASONS, about="name of a role"):
        role_id: int = await work.connection.fetchval(_SQL["insert_role"], name, description, known(permissions))
    work.changes.append(Change(action="create", object_type="role", object_id=role_id))
    if default:
        await _make_default(work, role_id)
    return await _document(work, role_id)


async def change_role(work: Work, role: Ref, patch: RolePatch) -> Document:
    """Change a role; what its holders may do changes from their next request on."""
    await require(work, Duty.MANAGE_ROLES)
    await work.connection.execute(_SQL["lock_roles"])
    role_id = await find(work, "role", role)
    before = dict(await work.connection.fetchrow(_SQL["role_columns"], role_id) or {})
    after: dict[str, Any] = dict(before)
    if patch.name is not None:
        after["name"] = line(patch.name, "name of a role")
    if patch.description is not None:
        after["description"] = text(patch.description, "description", most=_LONGEST_DESCRIPTION)
    held = before["permissions"] if patch.permissions is None else patch.permissions
    after["permissions"] = sorted({*known(held), *known(patch.grant)} - {*known(patch.revoke)})
    if patch.default is False and before["is_default"]:
        raise Refused(
            Code.INVALID_STATE, f"{before['name']} is the default role, and one must be: make another one the default."
        )
    if after != before:
        with refusing(_REASONS, about="name of a role"):
            await work.connection.execute(
                _SQL["update_role"], role_id, after["name"], after["description"], after["permissions"]
            )
        work.changes.append(
            Change(action="update", object_type="role", object_id=role_id, details=difference(before, after))
        )
    if patch.default and not before["is_default"]:
        await _make_default(work, role_id)
    return await _document(work, role_id)


async def delete_role(work: Work, role: Ref) -> Document:
    """Delete a role that nobody has and no project gives, and return it as it was."""
    await require(work, Duty.MANAGE_ROLES)
    await work.connection.execute(_SQL["lock_roles"])
    role_id = await find(work, "role", role)
    document = await _document(work, role_id)
    if document["default"]:
        raise Refused(
            Code.INVALID_STATE,
            f"{document['name']} is the default role, and one must be: make another one the default first.",
        )
    if document["users"] or document["projects"]:
        raise Refused(
            Code.INVALID_STATE,
            f"{document['name']} is in use: {document['users']} users have it, {document['projects']} projects give it "
            "by a rule or by default. Give those another role first.",
        )
    with refusing({}):
        await work.connection.execute(_SQL["delete_role"], role_id)
    work.changes.append(
        Change(action="delete", object_type="role", object_id=role_id, details={"name": document["name"]})
    )
    return document


def known(permissions: Iterable[str]) -> list[str]:
    """Return the *permissions*, each once, in the order of their names; raise Refused for one that there is not."""
    return sorted({choice(Permission, permission, "permission") for permission in permissions})


async def _make_default(work: Work, role_id: int) -> None:
    # The old one first: at no time may there be two.
    before = await work.connection.fetchval(_SQL["clear_default"])
    await work.connection.execute(_SQL["set_default"], role_id)
    details = {"default": {"from": before, "to": role_id}}
    work.changes.append(Change(action="update", object_type="role", object_id=role_id, details=details))


async def _document(work: Work, role_id: int) -> Document:
    document: Document = (await work.connection.fetch(_SQL["roles"], role_id))[0]["document"]
    return document
