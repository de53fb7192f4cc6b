"""Filling a fresh workspace with the demo: its people and settings here, its projects' content in cases and runs.

The constraints are the only checks: the files are ours, and the tests load them.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from service.demo.cases import insert_cases
from service.demo.loading import Clock, Content, Hour, Loading, nodes, read_content
from service.demo.runs import insert_runs
from service.sql import load

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_WORKSPACE = "workspace.yaml"

# The name in the file, here for those who show it without reading the file; a test keeps them equal.
DEMO_NAME = "Larkfield QA"


def demo_owner_email() -> str:
    """Return the e-mail address of the user whom the demo key belongs to, a Tenant Admin."""
    email: str = read_content(_WORKSPACE)["users"][0]["email"]
    return email


async def populate_demo(connection: WorkspaceConnection, *, today: dt.date | None = None) -> None:
    """Fill a fresh workspace, within the transaction that creates it; everything is dated before *today*, in UTC."""
    workspace = read_content(_WORKSPACE)
    projects = [read_content(file_name) for file_name in workspace["projects"]]
    rows = await connection.fetch(_SQL["seeds"])
    loading = Loading(
        connection=connection,
        clock=Clock(today=today or dt.datetime.now(dt.UTC).date()),
        ids={(row["kind"], row["name"]): row["id"] for row in rows},
    )
    oldest = max(case["created"] for project in projects for case in project["cases"])
    founded = loading.clock.moment(oldest + 1, Hour.PLANNING)
    await _insert_people(loading, workspace, founded)
    await _insert_environments(loading, workspace)
    await _insert_tags_and_sources(loading, workspace)
    for project in projects:
        await _insert_project(loading, project)


async def _insert_people(loading: Loading, workspace: Content, founded: dt.datetime) -> None:
    await loading.name("user", [user["email"] for user in workspace["users"]])
    await loading.name("group", [group["name"] for group in workspace["groups"]])
    await loading.connection.execute(
        _SQL["insert_users"],
        [
            {
                "id": loading.id("user", user["email"]),
                "email": user["email"],
                "name": user["name"],
                "access_level": user["access_level"],
                "role_id": loading.id("role", user["role"]),
                "created_at": founded,
            }
            for user in workspace["users"]
        ],
    )
    await loading.connection.execute(
        _SQL["insert_groups"],
        [
            {
                "id": loading.id("group", group["name"]),
                "name": group["name"],
                "description": group["description"],
                "member_ids": [loading.id("user", email) for email in group["members"]],
            }
            for group in workspace["groups"]
        ],
    )


async def _insert_environments(loading: Loading, workspace: Content) -> None:
    groups = workspace["platform_groups"]
    await loading.name("platform group", [group["name"] for group in groups])
    await loading.name("platform", [platform for group in groups for platform in group["platforms"]])
    await loading.name("environment", [environment["name"] for environment in workspace["environments"]])
    await loading.connection.execute(
        _SQL["insert_platforms"],
        [
            {
                "id": loading.id("platform group", group["name"]),
                "name": group["name"],
                "position": position,
                "platforms": [
                    {"id": loading.id("platform", platform), "name": platform} for platform in group["platforms"]
                ],
            }
            for position, group in enumerate(groups)
        ],
    )
    await loading.connection.execute(
        _SQL["insert_environments"],
        [
            {
                "id": loading.id("environment", environment["name"]),
                "name": environment["name"],
                "platform_ids": [loading.id("platform", platform) for platform in environment["platforms"]],
            }
            for environment in workspace["environments"]
        ],
    )


async def _insert_tags_and_sources(loading: Loading, workspace: Content) -> None:
    for context, tags in workspace["tags"].items():
        await loading.name(f"{context} tag", [tag["name"] for tag in tags])
    await loading.name("source", [source["name"] for source in workspace["sources"]])
    await loading.connection.execute(
        _SQL["insert_tags"],
        [
            {"id": loading.id(f"{context} tag", tag["name"]), "context": context, **tag}
            for context, tags in workspace["tags"].items()
            for tag in tags
        ],
    )
    await loading.connection.execute(
        _SQL["insert_sources"],
        [{"id": loading.id("source", source["name"]), **source} for source in workspace["sources"]],
    )


async def _insert_project(loading: Loading, project: Content) -> None:
    [project_id] = await loading.take_ids(1)
    # Names of folders, cases, cycles and runs are the project's own.
    within = Loading(connection=loading.connection, clock=loading.clock, ids=dict(loading.ids))
    oldest = max(project["cases"], key=lambda case: int(case["created"]))
    founder = within.id("user", oldest["author"])
    founded = within.clock.moment(oldest["created"], Hour.PLANNING)
    await within.connection.execute(
        _SQL["insert_project"],
        project_id,
        project["name"],
        project["summary"],
        project["icon"],
        project["default_access"],
        len(project["cases"]),
        founded,
    )
    await _insert_rules(within, project, project_id)
    folders = list(nodes(project["folders"]))
    await within.name("folder", [folder.path for folder in folders])
    await within.connection.execute(
        _SQL["insert_folders"],
        project_id,
        [
            {
                "id": within.id("folder", folder.path),
                "parent_id": within.id("folder", folder.parent.path if folder.parent else None),
                "depth": folder.depth,
                "name": folder.content["name"],
                "description": folder.content.get("description", ""),
                "position": folder.position,
                "created_by": founder,
                "created_at": founded,
            }
            for folder in folders
        ],
    )
    histories = await insert_cases(within, project, project_id)
    await insert_runs(within, project, project_id, founder=founder, histories=histories)
    await within.connection.execute(_SQL["record_creations"], project_id)


async def _insert_rules(loading: Loading, project: Content, project_id: int) -> None:
    await loading.connection.execute(
        _SQL["insert_project_members"],
        project_id,
        [
            {
                "user_id": loading.id("user", rule["email"]),
                "mode": rule["mode"],
                "forced_role_id": loading.id("role", rule.get("forced_role")),
                "override_role_id": loading.id("role", rule.get("override_role")),
            }
            for rule in project["members"]
        ],
    )
    await loading.connection.execute(
        _SQL["insert_project_groups"],
        project_id,
        [
            {
                "group_id": loading.id("group", rule["group"]),
                "mode": rule["mode"],
                "forced_role_id": loading.id("role", rule.get("forced_role")),
            }
            for rule in project["groups"]
        ],
    )
