"""A service with the demo workspace, or with a large one, and somebody signed in: for screenshots and measuring."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from service.domain.users import add_user
from tenancy.connection import connect
from tenancy.keys import create_key
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import as_workspace
from tests.bench.twenty_thousand import fill
from tests.conftest import Client, Person, Tenant, serving
from tests.web.visiting import Visitor, sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from tenancy.embedded import EmbeddedServer

# The objects that are shown of each project, as queries for their ids; the demo's by name.
_OBJECTS = {
    "folder": "SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.depth = 2 ORDER BY f.id LIMIT 1",
    "case": "SELECT c.id FROM cases c WHERE c.project_id = $1 ORDER BY c.version DESC, c.id DESC LIMIT 1",
    "run": "SELECT r.id FROM runs r WHERE r.project_id = $1 AND r.closed_at IS NULL "
    "ORDER BY (SELECT count(rc.latest_result_id) FROM run_cases rc WHERE rc.run_id = r.id) DESC, r.id LIMIT 1",
    "small_run": "SELECT r.id FROM runs r WHERE r.project_id = $1 ORDER BY r.id LIMIT 1",
    "cycle": "SELECT y.id FROM cycles y WHERE y.project_id = $1 "
    "ORDER BY (SELECT count(*) FROM cycles b WHERE b.parent_id = y.id) DESC, y.id DESC LIMIT 1",
    "issue": "SELECT k.issue_id FROM links k WHERE k.project_id = $1 AND k.case_id IS NOT NULL "
    "GROUP BY k.issue_id ORDER BY count(*) DESC, k.issue_id LIMIT 1",
}

#: Every page of a project by a name for it.
PAGES = {
    "dashboard": "",
    "coverage": "/coverage",
    "cases": "/cases",
    "folder": "/cases?folder={folder}",
    "search": "/cases?q=can",
    "case": "/cases/{case}",
    "results": "/cases/{case}?tab=results",
    "history": "/cases/{case}?tab=history",
    "issues": "/cases/{case}?tab=issues",
    "runs": "/runs",
    "run": "/runs/{run}",
    "small-run": "/runs/{small_run}",
    "progress": "/runs/{run}/progress",
    "cycles": "/cycles",
    "cycle": "/cycles/{cycle}",
    "traceability": "/traceability",
    "gaps": "/traceability/gaps",
    "issue": "/traceability/issues/{issue}",
}
#: Pages of the administration, and the same for them.
ADMIN_PAGES = {
    "admin-users": "admin/users",
    "admin-user": "admin/users/{user}",
    "admin-invite": "admin/users/new",
    "admin-roles": "admin/roles",
    "admin-role": "admin/roles/{role}",
    "admin-groups": "admin/groups",
    "admin-projects": "admin/projects",
    "admin-project": "admin/projects/{subject}",
    "admin-access": "admin/access?user={user}&project={subject}",
    "admin-audit": "admin/audit",
}
_ADMINISTERED = {
    "user": "SELECT u.id FROM users u LEFT JOIN group_members gm ON gm.user_id = u.id "
    "ORDER BY gm.user_id IS NULL, u.access_level, u.id LIMIT 1",
    "role": "SELECT r.id FROM roles r WHERE r.is_default",
    "subject": "SELECT p.id FROM projects p ORDER BY p.id LIMIT 1",
}


@dataclass(frozen=True)
class Showroom:
    """A workspace that is served, somebody who is signed in, and the paths of its pages by name."""

    visitor: Visitor
    client: Client
    paths: dict[str, str]


@asynccontextmanager
async def showroom(server: EmbeddedServer, *, large: bool = False) -> AsyncIterator[Showroom]:
    """Make the workspace on a fresh server, and serve it."""
    admin = await connect(server.dsn(), name="the server")
    try:
        await migrate(admin)
        workspace = await create_workspace(
            admin,
            slug="large" if large else "demo",
            name="Large" if large else DEMO_NAME,
            reserved=True,
            populate=_populate_large if large else populate_demo,
        )
        await admin.execute("VACUUM ANALYZE")
        with serving(server.dsn(user=APP)) as (host, port):
            email = "lead@large.example" if large else demo_owner_email()
            project, user, ids = await objects(admin, workspace.schema_name, email)
            key = await create_key(admin, workspace_id=workspace.id, user_id=user, label="Claude Code")
            tenant = Tenant(workspace, {"owner": Person(user, email, key)}, {"main": project}, host, port)
            paths = {name: f"projects/{project}{page.format(**ids)}" for name, page in PAGES.items()}
            async with as_workspace(admin, workspace.schema_name) as entered:
                shown = {name: await entered.fetchval(query) for name, query in _ADMINISTERED.items()}
            paths |= {name: page.format(**shown) for name, page in ADMIN_PAGES.items()}
            client = tenant.client("owner")
            try:
                yield Showroom(await sign_in(admin, tenant, user), client, {"projects": ""} | paths)
            finally:
                client.close()
    finally:
        await admin.close()


async def _populate_large(workspace: object) -> None:
    user = await add_user(workspace, email="lead@large.example", name="Lead", access_level="TENANT_ADMIN", role="Lead")
    project = await workspace.fetchval("INSERT INTO projects (name) VALUES ('Large') RETURNING id")
    await fill(workspace, project, user)


async def objects(admin: asyncpg.Connection, schema_name: str, email: str) -> tuple[int, int, dict[str, int]]:
    async with as_workspace(admin, schema_name) as workspace:
        project = await workspace.fetchval(
            "SELECT c.project_id FROM cases c GROUP BY c.project_id ORDER BY count(*) DESC LIMIT 1"
        )
        user = await workspace.fetchval("SELECT u.id FROM users u WHERE u.email = $1", email)
        ids = {name: await workspace.fetchval(query, project) for name, query in _OBJECTS.items()}
    return project, user, ids
