"""Where a workspace is in a database with Citus: its schema stands whole on one of several servers, and can move.

The control schema stays on the coordinator, and so does a workspace that is not distributed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import asyncpg

from migrations.workspace.tables import metadata
from tenancy.catalog import note_operation
from tenancy.citus import ABSENT, has_citus
from tenancy.errors import TenancyError, first_line
from tenancy.provision import privileges
from tenancy.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK_SECONDS = 10
#: While a workspace moves, their rows are told apart by all that is in them.
WITHOUT_KEY = tuple(table.name for table in metadata.sorted_tables if not table.primary_key.columns)

# A schema's tables are one colocation group: wherever one of them is, they all are.
_PLACEMENTS = """
    SELECT w.id AS workspace_id, w.slug, w.schema_name,
        node.nodename AS host, node.nodeport AS port
    FROM control.workspaces w
    LEFT JOIN pg_dist_schema s ON s.schemaid = to_regnamespace(w.schema_name)
    LEFT JOIN LATERAL (
        SELECT n.nodename, n.nodeport
        FROM pg_dist_partition t
        JOIN pg_dist_shard h ON h.logicalrelid = t.logicalrelid
        JOIN pg_dist_placement p ON p.shardid = h.shardid
        JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
        WHERE t.colocationid = s.colocationid
        LIMIT 1
    ) AS node ON true
    WHERE $1::text IS NULL OR w.slug = $1
    ORDER BY w.slug
"""
_NODES = """
    SELECT nodename AS host, nodeport AS port FROM pg_dist_node
    WHERE noderole = 'primary' AND isactive AND shouldhaveshards
    ORDER BY nodename, nodeport
"""


class Transfer(StrEnum):
    """How a workspace moves: online by logical replication, or faster while its writes wait."""

    ONLINE = "force_logical"
    BLOCKING = "block_writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A server that keeps workspaces."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as operators write it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a workspace is; *node* is None while it is not distributed, which is on the coordinator."""

    workspace_id: int
    slug: str
    schema_name: str
    node: Node | None


async def placements(admin: asyncpg.Connection) -> list[Placement]:
    """Return where all workspaces are, by slug."""
    return await _placements(admin, None)


async def placement(admin: asyncpg.Connection, slug: str) -> Placement:
    """Return where the workspace is; raise TenancyError where there is none of that name, or no Citus."""
    if found := await _placements(admin, slug):
        return found[0]
    raise TenancyError(f"There is no workspace {slug!r}: see testorchestrator workspace list.")


async def distribute(admin: asyncpg.Connection, slug: str) -> Placement:
    """Let Citus put the workspace on one of its nodes, if it is on none; who works in it waits about a second."""
    found = await placement(admin, slug)
    if found.node is None:
        for role in (OWNER, found.schema_name):
            await admin.execute(f"ALTER ROLE {role} LOGIN")
        with _told(found, "distributed"):
            async with admin.transaction():
                await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                await admin.execute("SELECT citus_schema_distribute($1::text::regnamespace)", found.schema_name)
                await note_operation(admin, "workspace.distribute", workspace_id=found.workspace_id)
    return await placement(admin, slug)


async def undistribute(admin: asyncpg.Connection, slug: str) -> Placement:
    """Take the workspace back to the coordinator; who works in it waits about a second."""
    found = await placement(admin, slug)
    if found.node is not None:
        with _told(found, "taken back"):
            async with admin.transaction():
                await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                # Its tables will be new ones, and what depends on the old ones goes with them.
                functions = await functions_of(admin, found.schema_name)
                await admin.execute("SELECT citus_schema_undistribute($1::text::regnamespace)", found.schema_name)
                await put_back(admin, found.schema_name, functions)
                await note_operation(admin, "workspace.undistribute", workspace_id=found.workspace_id)
    return await placement(admin, slug)


async def move(
    admin: asyncpg.Connection, slug: str, to: str, *, transfer: Transfer = Transfer.ONLINE
) -> tuple[Placement, Placement]:
    """Move the workspace to the node *to*, `host` or `host:port`; return where it was and where it is."""
    before = await placement(admin, slug)
    node = await _find_node(admin, to)
    if before.node is None:
        raise TenancyError(f"Workspace {slug} is on the coordinator: testorchestrator workspace distribute {slug}")
    if before.node != node:
        with _told(before, "moved"):
            if transfer is Transfer.ONLINE:
                await let_copy(admin, before.schema_name)
            # In no transaction of ours: online, it works through several of its own.
            await admin.execute(
                f"SELECT citus_schema_move($1::text::regnamespace, $2, $3, '{transfer}')",
                before.schema_name,
                node.host,
                node.port,
            )
        await note_operation(
            admin, "workspace.move", workspace_id=before.workspace_id, was=str(before.node), to=str(node)
        )
    return before, await placement(admin, slug)


async def functions_of(admin: asyncpg.Connection, schema_name: str) -> dict[str, str]:
    """Return the definitions of the workspace's functions by their full names."""
    rows = await admin.fetch(
        "SELECT oid::regprocedure::text AS name, pg_get_functiondef(oid) AS definition FROM pg_proc "
        "WHERE pronamespace = $1::text::regnamespace ORDER BY oid",
        schema_name,
    )
    return {row["name"]: row["definition"] for row in rows}


async def put_back(admin: asyncpg.Connection, schema_name: str, functions: dict[str, str]) -> None:
    """Make these functions and all grants of the workspace's role again, within the open transaction."""
    await admin.execute(f"SET LOCAL ROLE {OWNER}")
    await admin.execute(f"SET LOCAL search_path = {schema_name}, pg_temp")
    for name, definition in functions.items():
        await admin.execute(definition)
        await admin.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
    for statement in privileges(schema_name):
        await admin.execute(statement)
    await admin.execute("SET LOCAL ROLE NONE")
    await admin.execute("SET LOCAL search_path = DEFAULT")


async def let_copy(admin: asyncpg.Connection, schema_name: str) -> None:
    """Let the workspace's tables be copied while they are written to."""
    for table in WITHOUT_KEY:
        await admin.execute(f"ALTER TABLE {schema_name}.{table} REPLICA IDENTITY FULL")


async def _placements(admin: asyncpg.Connection, slug: str | None) -> list[Placement]:
    if not await has_citus(admin):
        raise TenancyError(ABSENT)
    return [
        Placement(
            workspace_id=row["workspace_id"],
            slug=row["slug"],
            schema_name=row["schema_name"],
            node=None if row["host"] is None else Node(host=row["host"], port=row["port"]),
        )
        for row in await admin.fetch(_PLACEMENTS, slug)
    ]


async def _find_node(admin: asyncpg.Connection, wanted: str) -> Node:
    nodes = [Node(**row) for row in await admin.fetch(_NODES)]
    found = [node for node in nodes if wanted in {str(node), node.host}]
    if len(found) == 1:
        return found[0]
    what = "more than one node" if found else "no node"
    raise TenancyError(
        f"{wanted!r} is {what} that keeps workspaces. These are: {', '.join(map(str, nodes)) or 'none'}."
    )


@contextmanager
def _told(found: Placement, done: str) -> Iterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise TenancyError(f"Workspace {found.slug} is not {done}: it is being used. Try again.") from error
    except asyncpg.PostgresError as error:
        raise TenancyError(f"Workspace {found.slug} is not {done}: {first_line(error)}.") from error
