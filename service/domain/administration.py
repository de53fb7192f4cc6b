"""Who may administer what in a workspace, by access level: the one place that says so.

What a user may do inside a project is another matter: roles, rules and the gate of `service.access`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from service.access import AccessLevel
from service.errors import NotPermitted
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Work

_SQL = load(__file__)


class Duty(StrEnum):
    """A part of a workspace's administration, as a refusal words it."""

    SEE_PEOPLE = "see users, roles and groups"
    INVITE_USERS = "invite users"
    MANAGE_USERS = "change users"
    MANAGE_ROLES = "manage roles"
    MANAGE_GROUPS = "manage groups"
    MANAGE_PROJECTS = "manage projects and the access to them"
    CONFIGURE = "configure fields, templates, statuses, lifecycles, environments, cycle types and tags"
    MANAGE_SETTINGS = "change settings of the workspace"
    READ_AUDIT_LOG = "read the audit log"


_PROJECT_ADMIN = frozenset({Duty.SEE_PEOPLE, Duty.INVITE_USERS, Duty.MANAGE_PROJECTS, Duty.CONFIGURE})
DUTIES: dict[AccessLevel, frozenset[Duty]] = {
    AccessLevel.REGULAR_USER: frozenset(),
    AccessLevel.PROJECT_ADMIN: _PROJECT_ADMIN,
    AccessLevel.TENANT_ADMIN: frozenset(Duty),
}


async def duties(work: Work) -> frozenset[Duty]:
    """Return what the acting user may administer: nothing when deactivated; as an operator, everything."""
    if work.actor.user_id is None:
        return frozenset(Duty)
    level = await work.connection.fetchval(_SQL["acting_level"], work.actor.user_id)
    return frozenset() if level is None else DUTIES[AccessLevel(level)]


async def require(work: Work, duty: Duty) -> None:
    """Raise NotPermitted unless the acting user may do this."""
    if duty not in await duties(work):
        least = "Project Admin or Tenant Admin" if duty in _PROJECT_ADMIN else "Tenant Admin"
        raise NotPermitted(f"Only a {least} may {duty}.")


def require_other(work: Work, user_id: int, what: str) -> None:
    """Raise NotPermitted where users would do to themselves what only another may do."""
    if work.actor.user_id == user_id:
        raise NotPermitted(f"Nobody can {what}: ask another Tenant Admin.")
