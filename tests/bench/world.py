"""What is measured on: workspaces with a project of many cases and an open run each, and keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.progress import track

from service.domain.users import add_user
from service.sql import load
from tenancy.connection import connect
from tenancy.keys import create_key
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tests.bench.terminal import notes

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

_SQL = load(__file__)
_RENEW_AFTER = 50
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


async def make_world(admin_url: str, *, workspaces: int, keys: int, cases: int, there: int = 0) -> list[Place]:
    """Migrate the database and add *workspaces* to the number that is *there* already."""
    admin = await connect(admin_url, name="the benchmark's server")
    await migrate(admin)
    places = []
    for number in track(range(there, there + workspaces), "Making workspaces", console=notes, transient=True):
        if number % _RENEW_AFTER == 0:
            # What a connection keeps of each workspace makes the next one slower.
            await admin.close()
            admin = await connect(admin_url, name="the benchmark's server")
        made: dict[str, Any] = {}
        workspace = await create_workspace(
            admin, slug=f"bench-{number}", name="Bench", populate=partial(_populate, made=made, cases=cases)
        )
        issued = [
            await create_key(admin, workspace_id=workspace.id, user_id=made["user"], label=f"Key {one}")
            for one in range(keys)
        ]
        places.append(Place(schema_name=workspace.schema_name, keys=issued, cases=cases, **made))
    await admin.execute("VACUUM (ANALYZE)")
    await admin.close()
    return places


def documents(places: list[Place]) -> list[dict[str, Any]]:
    """Return the places as JSON can have them."""
    return [asdict(place) for place in places]


async def _populate(connection: WorkspaceConnection, *, made: dict[str, Any], cases: int) -> None:
    user = await add_user(connection, email="ann@bench.example", name="Ann", access_level="TENANT_ADMIN", role="Lead")
    project = await connection.fetchval(_SQL["project"], cases)
    for part in _PARTS:
        given = {"cases": (project, cases, user)}.get(part, (project,))
        await connection.execute(_SQL[part], *given)
    run = await connection.fetchval(_SQL["run"], project, user)
    await connection.execute(_SQL["results_of_run"], run, user)
    made |= {"user": user, "project": project, "run": run}
