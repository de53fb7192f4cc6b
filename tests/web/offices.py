"""Every page of the administration, and a workspace with one of everything to administer, named in a hostile way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.administration import Duty
from tenancy.keys import create_key
from tests.web.stages import HOSTILE
from tests.web.visiting import Visitor, sign_in

if TYPE_CHECKING:
    import asyncpg

    from tests.conftest import Tenant
    from tests.tools.conftest import Sql

# Each page, and the duty that it needs.
PAGES = {
    "admin/users": Duty.SEE_PEOPLE,
    "admin/users?search=alert&state=active&level=REGULAR_USER": Duty.SEE_PEOPLE,
    "admin/users/new": Duty.INVITE_USERS,
    "admin/users/{user}": Duty.SEE_PEOPLE,
    "admin/users/{user}/deactivate": Duty.MANAGE_USERS,
    "admin/users/{user}/activate": Duty.MANAGE_USERS,
    "admin/users/{user}/keys/{key}/revoke": Duty.MANAGE_USERS,
    "admin/roles": Duty.SEE_PEOPLE,
    "admin/roles/new": Duty.MANAGE_ROLES,
    "admin/roles/{role}": Duty.MANAGE_ROLES,
    "admin/roles/{role}/delete": Duty.MANAGE_ROLES,
    "admin/groups": Duty.SEE_PEOPLE,
    "admin/groups/new": Duty.MANAGE_GROUPS,
    "admin/groups/{group}": Duty.SEE_PEOPLE,
    "admin/projects": Duty.MANAGE_PROJECTS,
    "admin/projects/new": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/users/new": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/users/{user}": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/groups/new": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/groups/{group}": Duty.MANAGE_PROJECTS,
    "admin/access": Duty.SEE_PEOPLE,
    "admin/access?user={user}": Duty.SEE_PEOPLE,
    "admin/access?user={user}&project={project}": Duty.SEE_PEOPLE,
    "admin/audit": Duty.READ_AUDIT_LOG,
    "admin/audit?object={role}": Duty.READ_AUDIT_LOG,
}
# Forms that have no page of their own.
POSTS = {
    "admin/users/{user}": Duty.MANAGE_USERS,
    "admin/users/{user}/link": Duty.MANAGE_USERS,
    "admin/users/{user}/groups": Duty.MANAGE_GROUPS,
    "admin/groups/{group}": Duty.MANAGE_GROUPS,
    "admin/groups/{group}/members": Duty.MANAGE_GROUPS,
    "admin/projects/{project}/complete": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/users/{user}/remove": Duty.MANAGE_PROJECTS,
    "admin/projects/{project}/groups/{group}/remove": Duty.MANAGE_PROJECTS,
}


@dataclass(frozen=True)
class Office:
    """Somebody of each access level, and the ids of what there is to administer."""

    tenant_admin: Visitor
    project_admin: Visitor
    regular: Visitor
    ids: dict[str, int]

    def path(self, page: str, **ids: int) -> str:
        return page.format(**(self.ids | ids))

    def visitor(self, level: str) -> Visitor:
        return {"TENANT_ADMIN": self.tenant_admin, "PROJECT_ADMIN": self.project_admin}.get(level, self.regular)


async def make_office(admin: asyncpg.Connection, sql: Sql, tenant: Tenant, *, name: str = HOSTILE) -> Office:
    slug = tenant.workspace.slug
    role = await sql.value(
        "INSERT INTO roles (name, description, permissions) VALUES ($1, $2, '{VIEW_FOLDERS}') RETURNING id",
        name[:100],
        name,
    )
    people = {}
    for who, level in (("project.admin", "PROJECT_ADMIN"), ("regular", "REGULAR_USER"), ("hostile", "REGULAR_USER")):
        people[who] = await sql.value(
            "INSERT INTO users (email, name, access_level, role_id) VALUES ($1, $2, $3, $4) RETURNING id",
            f"{who}@{slug}.example" if who != "hostile" else f"<script>alert(1)</script>'\"&@{slug}.example",
            who if who != "hostile" else name[:100],
            level,
            role,
        )
    group = await sql.value("INSERT INTO groups (name, description) VALUES ($1, $2) RETURNING id", name[:100], name)
    await sql.rows("INSERT INTO group_members (group_id, user_id) VALUES ($1, $2)", group, people["hostile"])
    project = await sql.value(
        "INSERT INTO projects (name, summary, icon, default_access, default_role_id) VALUES ($1, $2, $3, 'ROLE', $4) "
        "RETURNING id",
        name[:100],
        name,
        name[:50],
        role,
    )
    await sql.rows(
        "INSERT INTO project_members (project_id, user_id, mode, override_role_id) VALUES ($1, $2, 'INHERIT', $3)",
        project,
        people["hostile"],
        role,
    )
    await sql.rows(
        "INSERT INTO project_groups (project_id, group_id, mode, forced_role_id) VALUES ($1, $2, 'FORCE_ROLE', $3)",
        project,
        group,
        role,
    )
    await create_key(admin, workspace_id=tenant.workspace.id, user_id=people["hostile"], label=name[:100])
    key = await admin.fetchval("SELECT max(id) FROM control.api_keys WHERE user_id = $1", people["hostile"])
    await sql.rows(
        "INSERT INTO audit_log (user_id, api_key_id, tool, action, object_type, object_id, project_id, details) "
        "VALUES ($1, $2, $3, 'update', 'role', $4, $5, $6)",
        people["hostile"],
        key,
        name[:60],
        role,
        project,
        {"name": {"from": name, "to": f"New {name}"}, name[:90]: name, "added": [people["hostile"]]},
    )
    return Office(
        tenant_admin=await sign_in(admin, tenant, tenant.people["lead"].id),
        project_admin=await sign_in(admin, tenant, people["project.admin"]),
        regular=await sign_in(admin, tenant, people["regular"]),
        ids={"user": people["hostile"], "role": role, "group": group, "project": project, "key": key},
    )
