"""A workspace with one large project, and a small one beside it, as years of work leave them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.domain.users import add_user
from service.sql import load
from tenancy.catalog import Workspace
from tenancy.provision import create_workspace
from tenancy.session import as_workspace
from tests.bench import world

if TYPE_CHECKING:
    import asyncpg

    from tenancy.session import WorkspaceConnection

_CASES = load(world.__file__)
_SQL = load(__file__)
_PARTS = ("cases", "versions", "steps", "values", "tagged", "rare")
_TRIES = 60
_WORK = ("cycles", "runs", "results", "comments", "issues", "links", "audit")


@dataclass(frozen=True, slots=True)
class Large:
    """The workspace, who made all of it, the project of so many cases, and its neighbour."""

    workspace: Workspace
    user: int
    project: int
    neighbour: int
    cases: int


async def make_large(admin: asyncpg.Connection, *, cases: int, slug: str = "large", neighbour: int = 10_000) -> Large:
    """Make the workspace in a migrated database, with fresh statistics."""
    made: dict[str, int] = {}
    # What is generated is right, and checking each foreign key of it would take most of the time.
    await admin.execute("SET session_replication_role = replica")
    try:
        workspace = await create_workspace(
            admin,
            slug=slug,
            name="Large",
            reserved=True,
            populate=partial(_populate, made=made, sizes={"project": cases, "neighbour": neighbour}),
        )
    finally:
        await admin.execute("RESET session_replication_role")
    await _vacuum(admin, workspace)
    return Large(workspace=workspace, cases=cases, **made)


async def _populate(connection: WorkspaceConnection, *, made: dict[str, int], sizes: dict[str, int]) -> None:
    made["user"] = user = await add_user(
        connection, email="ann@large.example", name="Ann", access_level="TENANT_ADMIN", role="Lead"
    )
    for name, cases in sizes.items():
        made[name] = project = await connection.fetchval(_CASES["project"], cases)
        await connection.execute(_SQL["rename"], project, f"The {name}")
        for part in (*_PARTS, *_WORK):
            query = _CASES.get(part) or _SQL[part]
            given = (project, cases, user) if part == "cases" else (project, cases if part == "issues" else user)
            await connection.execute(query, *(given if "$2" in query else given[:1]))


async def _vacuum(admin: asyncpg.Connection, workspace: Workspace) -> None:
    """Bring statistics up to date, and let indexes answer alone: while anybody else reads, rows may be left out."""
    for _ in range(_TRIES):
        await admin.execute("VACUUM (ANALYZE)")
        if await admin.fetchval(
            "SELECT bool_and(relallvisible > 0.95 * relpages) FROM pg_class WHERE relnamespace = $1::regnamespace "
            "AND relkind = 'r' AND relpages > 10",
            workspace.schema_name,
        ):
            return
        await asyncio.sleep(0.5)
    raise RuntimeError("somebody keeps a transaction open, so that the tables cannot be vacuumed")


async def find_large(admin: asyncpg.Connection, *, slug: str) -> Large | None:
    """Return the workspace that make_large has made before, if it has."""
    row = await admin.fetchrow(
        "SELECT id, slug, name, schema_name, state, schema_version FROM control.workspaces WHERE slug = $1", slug
    )
    if row is None:
        return None
    workspace = Workspace(**row)
    async with as_workspace(admin, workspace.schema_name) as connection:
        found = await connection.fetchrow(_SQL["found"])
    assert found is not None
    return Large(workspace=workspace, **found)
