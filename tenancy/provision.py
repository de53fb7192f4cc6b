"""Making workspaces: schema, role, tables, privileges and seeds in one transaction, so there is never half of one."""

from __future__ import annotations

import base64
import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import migrations.workspace
from migrations.trees import Tree, head, statements
from migrations.workspace.tables import metadata
from tenancy.catalog import Workspace, check_line, check_slug, note_operation
from tenancy.citus import Sharding, is_sharding
from tenancy.errors import TenancyError
from tenancy.release import compatible_from
from tenancy.roles import APP, OWNER, resting
from tenancy.search import add_search_index
from tenancy.session import Actor, as_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from tenancy.session import WorkspaceConnection

_SEEDS = Path(migrations.workspace.__file__).with_name("seeds.sql")


async def create_workspace(
    admin: asyncpg.Connection,
    *,
    slug: str,
    name: str,
    reserved: bool = False,
    sharding: Sharding = Sharding.AUTO,
    populate: Callable[[WorkspaceConnection], Awaitable[None]] | None = None,
) -> Workspace:
    """Create the workspace with the seeds of a new one, and with what *populate* adds as the owner of its tables.

    Only with *reserved* may the slug be one that is kept from customers. *sharding* tells whether Citus places it.
    """
    if not reserved:
        check_slug(slug)
    async with admin.transaction():
        workspace = await make_schema(admin, slug=slug, name=name, sharding=sharding)
        await add_search_index(admin)
        for statement in (*privileges(workspace.schema_name), *_seeds()):
            await admin.execute(statement)
        # Not left to the end of the transaction, which may be the caller's.
        await admin.execute("SET LOCAL ROLE NONE; SET LOCAL search_path = DEFAULT")
        await note_operation(admin, "workspace.create", workspace_id=workspace.id)
        if populate is not None:
            actor = Actor(tool="workspace create")
            async with as_owner(admin, workspace.schema_name, actor=actor) as connection:
                await populate(connection)
    return workspace


async def make_schema(
    admin: asyncpg.Connection, *, slug: str, name: str, revision: str = "head", sharding: Sharding = Sharding.AUTO
) -> Workspace:
    """Register a workspace and make its role and its empty tables of *revision*, within the open transaction.

    Afterwards the role is the owner's and the search_path the workspace's.
    """
    check_line(name, "display name")
    # Opaque, because every role of the cluster can read the names of schemas and roles.
    schema_name = "w_" + base64.b32encode(secrets.token_bytes(10)).decode().lower()
    workspace = await _register(admin, slug=slug, name=name, schema_name=schema_name)
    is_sharded = await is_sharding(admin, sharding)
    await admin.execute(f"CREATE ROLE {schema_name} {'LOGIN' if is_sharded else 'NOLOGIN'}")
    for statement in resting(schema_name):
        await admin.execute(statement)
    await admin.execute(f"GRANT {schema_name} TO {APP} WITH INHERIT FALSE, SET TRUE")
    if is_sharded:
        await admin.execute("SET LOCAL citus.enable_schema_based_sharding = on")
    # Schema and tables under one role, which is one connection to the server where Citus puts them.
    await admin.execute(f"SET LOCAL ROLE {OWNER}")
    await admin.execute(f"CREATE SCHEMA {schema_name}")
    await admin.execute(f"SET LOCAL search_path = {schema_name}, pg_temp")
    # One statement a message: Citus refuses an index among several.
    for statement in statements(Tree.WORKSPACE, until=revision):
        await admin.execute(statement)
    return workspace


def privileges(schema_name: str) -> list[str]:
    """Return the grants of a workspace's role, name by name: ON ALL TABLES would scan every workspace's tables."""
    tables: dict[str, list[str]] = {}
    for table in metadata.sorted_tables:
        tables.setdefault(table.info["privileges"], []).append(table.name)
    grants = [f"GRANT USAGE ON SCHEMA {schema_name} TO {schema_name}"]
    grants += [f"GRANT {what} ON {', '.join(names)} TO {schema_name}" for what, names in tables.items()]
    grants += [
        f"GRANT USAGE ON SEQUENCE ids TO {schema_name}",
        f"GRANT EXECUTE ON FUNCTION project_access(bigint), require_access(bigint, bigint, text[]) TO {schema_name}",
    ]
    return grants


async def _register(admin: asyncpg.Connection, *, slug: str, name: str, schema_name: str) -> Workspace:
    row = await admin.fetchrow(
        """
        INSERT INTO control.workspaces (slug, name, schema_name, schema_version, compatible_from)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (slug) DO NOTHING
        RETURNING id, slug, name, schema_name, state, schema_version
        """,
        slug,
        name,
        schema_name,
        head(Tree.WORKSPACE),
        compatible_from(head(Tree.WORKSPACE)),
    )
    if row is None:
        raise TenancyError(f"There is a workspace {slug!r} already: choose another name.")
    return Workspace(**row)


@cache
def _seeds() -> tuple[str, ...]:
    text = "\n".join(line for line in _SEEDS.read_text().splitlines() if not line.startswith("--"))
    return tuple(statement.strip() for statement in text.split(";\n") if statement.strip())
