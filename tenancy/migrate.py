"""Bringing a database to this release: roles, the control schema, then every workspace in its own transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from migrations.trees import Tree, head, known, statements
from tenancy.catalog import list_workspaces
from tenancy.citus import Sharding
from tenancy.errors import TenancyError, first_line
from tenancy.provision import privileges
from tenancy.release import compatible_from
from tenancy.roles import CONTROL, OWNER, prepare_database, take_lock
from tenancy.strict import open_logins

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenancy.catalog import Workspace
    from tenancy.strict import StrictLogins


_LOCK_SECONDS = 2
_PAUSES = (0.5, 2.0)
_SHOWN = 10


async def migrate(
    admin: asyncpg.Connection,
    *,
    app_password: str | None = None,
    strict: StrictLogins | None = None,
    sharding: Sharding = Sharding.AUTO,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Bring everything to this release's schema and return how many workspaces had to move.

    *progress* is told (done, total) after each workspace. With *strict*, the workspaces' roles can log in afterwards.
    Run again, it changes nothing.
    Raises TenancyError, naming them, for workspaces that could not be moved; the others are.
    """
    await prepare_database(admin, app_password=app_password, sharding=sharding)
    await _migrate_control(admin)
    workspaces = await list_workspaces(admin)
    if strict is not None:
        await open_logins(admin, strict, [workspace.schema_name for workspace in workspaces])
    behind = [w for w in workspaces if w.schema_version != head(Tree.WORKSPACE)]
    failed = []
    for done, workspace in enumerate(behind, start=1):
        try:
            await _migrate_patiently(admin, workspace)
        except (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # One that cannot move holds up no other; the next run finds it again.
            failed.append(f"{workspace.slug}: {first_line(error)}")
        progress(done, len(behind))
    if failed:
        raise TenancyError(f"{len(failed)} of {len(behind)} workspaces are not migrated: {'; '.join(failed[:_SHOWN])}")
    return len(behind)


async def _migrate_control(admin: asyncpg.Connection) -> None:
    async with admin.transaction():
        await take_lock(admin, "testorchestrator.migrate")
        current = None
        if await admin.fetchval("SELECT to_regclass('control.alembic_version') IS NOT NULL"):
            current = await admin.fetchval("SELECT version_num FROM control.alembic_version")
        _check_known(Tree.CONTROL, current, "The control schema")
        if current == head(Tree.CONTROL):
            return
        await admin.execute(f"SET LOCAL ROLE {CONTROL}")
        for statement in statements(Tree.CONTROL, current):
            await admin.execute(statement)
        await admin.execute("RESET ROLE")


async def _migrate_patiently(admin: asyncpg.Connection, workspace: Workspace) -> None:
    """Try again a few times where a request holds a lock: waiting longer for it would hold up the requests behind."""
    for pause in _PAUSES:
        try:
            return await _migrate_workspace(admin, workspace)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(pause)
    return await _migrate_workspace(admin, workspace)


async def _migrate_workspace(admin: asyncpg.Connection, workspace: Workspace) -> None:
    async with admin.transaction():
        await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        await admin.execute(f"SET LOCAL ROLE {OWNER}")
        await admin.execute(f"SET LOCAL search_path = {workspace.schema_name}, pg_temp")
        # The schema's own row is the truth; locking it makes a second migration wait.
        current = await admin.fetchval("SELECT version_num FROM alembic_version FOR UPDATE")
        _check_known(Tree.WORKSPACE, current, f"Workspace {workspace.slug}")
        if current != head(Tree.WORKSPACE):
            for statement in (*statements(Tree.WORKSPACE, current), *privileges(workspace.schema_name)):
                await admin.execute(statement)
        await admin.execute("RESET ROLE")
        await admin.execute(
            "UPDATE control.workspaces SET schema_version = $2, compatible_from = $3 WHERE id = $1",
            workspace.id,
            head(Tree.WORKSPACE),
            compatible_from(head(Tree.WORKSPACE)),
        )


def _check_known(tree: Tree, revision: str | None, what: str) -> None:
    if revision is not None and revision not in known(tree):
        raise TenancyError(
            f"{what} is at schema revision {revision}, which this release does not know: run a newer release."
        )
