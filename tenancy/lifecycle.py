"""What becomes of a workspace after it was made: another name, or its end."""

from __future__ import annotations

import asyncpg

from tenancy.catalog import Workspace, check_line, check_slug, note_operation, require_workspace, set_state
from tenancy.errors import TenancyError

_LOCK_TIMEOUT = "5s"


async def rename(
    admin: asyncpg.Connection, slug: str, *, new_slug: str | None = None, name: str | None = None
) -> Workspace:
    """Give the workspace another slug, display name or both, and return it as it was; its keys work on."""
    async with admin.transaction():
        found = await require_workspace(admin, slug)
        if found.state == "deleting":
            raise TenancyError(f"Workspace {slug} is being deleted.")
        try:
            await admin.execute(
                "UPDATE control.workspaces SET slug = coalesce($2, slug), name = coalesce($3, name) WHERE id = $1",
                found.id,
                None if new_slug is None else check_slug(new_slug),
                None if name is None else check_line(name, "display name"),
            )
        except asyncpg.UniqueViolationError as error:
            raise TenancyError(f"There is a workspace {new_slug!r} already: choose another name.") from error
        changes = {"slug": [slug, new_slug]} if new_slug else {}
        changes |= {"name": [found.name, name]} if name else {}
        await note_operation(admin, "workspace.rename", workspace_id=found.id, **changes)
    return found


async def delete(admin: asyncpg.Connection, slug: str) -> None:
    """Delete a suspended workspace for good: its schema with all rows, its role, its keys.

    Interrupted, it is left in the state `deleting`, and deleting it again ends that. Raises TenancyError for one that
    is active, and where somebody still works in it.
    """
    async with admin.transaction():
        found = await require_workspace(admin, slug)
        if found.state == "active":
            raise TenancyError(f"Workspace {slug} is active: testorchestrator workspace suspend {slug} comes first.")
        await set_state(admin, slug, "deleting")
    try:
        async with admin.transaction():
            await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            # In strict mode the role has connections of its own.
            await admin.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", found.schema_name
            )
            await admin.execute(f"DROP SCHEMA IF EXISTS {found.schema_name} CASCADE")
            await admin.execute(f"DROP ROLE IF EXISTS {found.schema_name}")
            await admin.execute("DELETE FROM control.workspaces WHERE id = $1", found.id)
            await note_operation(
                admin, "workspace.delete", workspace_id=found.id, slug=slug, name=found.name, schema=found.schema_name
            )
    except asyncpg.LockNotAvailableError as error:
        raise TenancyError(
            f"Somebody still works in workspace {slug}, a backup perhaps. It is closed to requests; "
            "delete it again when they have ended."
        ) from error
