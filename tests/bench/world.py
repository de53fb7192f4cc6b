"""What is measured on: workspaces with a project of many cases and an open run each, and keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from service.domain.users import add_user
from service.sql import load
from tenancy.connection import admin_connection
from tenancy.crew import for_each
from tenancy.keys import create_key
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.session import as_owner
from tests.bench.terminal import notes

if TYPE_CHECKING:
    import asyncpg

    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_PARTS = ("cases", "versions", "steps", "values", "tagged")


@dataclass(frozen=True)
class Place:
    """A workspace: its schema, its keys with their user, a project of so many cases, and an open run with results."""

    schema_name: str
    user: int
    keys: list[str]
    project: int
    cases: int
    run: int


async def make_world(
    admin_url: str, *, workspaces: int, keys: int, cases: int, there: int = 0, vacuumed: bool = True
) -> list[Place]:
    """Migrate the database and add so many workspaces to the number that is *there*, two at a time."""
    async with admin_connection(admin_url) as admin:
        await migrate(admin)
    places = []
    with Progress(console=notes, transient=True) as progress:
        task = progress.add_task("Making workspaces", total=workspaces)

        async def make(admin: asyncpg.Connection, number: int) -> None:
            made: dict[str, Any] = {}
            workspace = await create_workspace(
                admin, slug=f"bench-{number}", name="Bench", populate=partial(_populate, made=made, cases=cases)
            )
            issued = [
                await create_key(admin, workspace_id=workspace.id, user_id=made["user"], label=f"Key {one}")
                for one in range(keys)
            ]
            places.append(Place(schema_name=workspace.schema_name, keys=issued, cases=cases, **made))
            progress.advance(task)

        await for_each(
            range(there, there + workspaces),
            make,
            connecting=lambda: admin_connection(admin_url),
            connections=2,
        )
    if vacuumed:
        async with admin_connection(admin_url) as admin:
            await admin.execute("VACUUM (ANALYZE)")
    return places


async def add_run(admin: asyncpg.Connection, place: Place) -> int:
    """Start another run of all cases, and return its id."""
    async with as_owner(admin, place.schema_name) as connection:
        run: int = await connection.fetchval(_SQL["run"], place.project, place.user)
        return run


async def _populate(connection: WorkspaceConnection, *, made: dict[str, Any], cases: int) -> None:
    user = await add_user(connection, email="ann@bench.example", name="Ann", access_level="TENANT_ADMIN", role="Lead")
    project = await connection.fetchval(_SQL["project"], cases)
    for part in _PARTS:
        given = {"cases": (project, cases, user)}.get(part, (project,))
        await connection.execute(_SQL[part], *given)
    run = await connection.fetchval(_SQL["run"], project, user)
    await connection.execute(_SQL["results_of_run"], run, user)
    made |= {"user": user, "project": project, "run": run}
