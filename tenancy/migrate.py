"""Bringing a database to this release: roles, the control schema, then the workspaces, each in its own transaction.

The row in a workspace's own schema says at which revision it is, and changes in the transaction that moves it; the
control schema's mirrors it. So whatever ends a migration, the next one goes on where it ended.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from migrations.trees import Tree, head, known, statements
from tenancy.citus import Sharding
from tenancy.errors import TenancyError, first_line
from tenancy.provision import privileges
from tenancy.release import compatible_from, newest_for, serving_releases
from tenancy.roles import CONTROL, OWNER, prepare_database, rest_login, rest_workspaces
from tenancy.rollout import Behind, Report, in_stages, roll_out
from tenancy.search import add_search_indexes, prepare_search
from tenancy.strict import open_logins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from tenancy.crew import Connecting
    from tenancy.rollout import Progress, Stage
    from tenancy.strict import StrictLogins

_LOCK = "testorchestrator.migrate"
#: Shorter than a request waits for a lock, so that those which queue up behind a migration that waits do not fail.
_LOCK_TIMEOUT = "1s"
_CONTROL_PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_MAKES_OBJECTS = re.compile(r"\s*CREATE\s+(OR\s+REPLACE\s+)?(TABLE|SEQUENCE|FUNCTION|VIEW)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a migration would do: statements of the control schema, and *stages* of workspaces.

    *skipped* are those that it would leave, with the reason; *since* has the statements by the revision of departure.
    *revision* is where the workspaces would be brought, which *is_held* back while an older release is connected.
    """

    revision: str
    is_held: bool
    control: tuple[str, ...]
    stages: list[Stage]
    skipped: dict[str, str]
    since: dict[str, tuple[str, ...]]


async def migrate(
    admin: asyncpg.Connection,
    *,
    app_password: str | None = None,
    strict: StrictLogins | None = None,
    sharding: Sharding = Sharding.AUTO,
    connecting: Connecting | None = None,
    connections: int = 1,
    canary: Collection[str] = (),
    only_failed: bool = False,
    wait_seconds: int = 30,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Bring everything to this release's schema, and return what was done; run again, it changes nothing.

    What a release before would not go on with is left while one is connected, and the report says so: run it once more
    when that has gone.

    The workspaces are moved over so many connections, which *connecting* makes; without it, all is done on *admin*.
    Those with the slugs of *canary* go first, and with *only_failed* none but those whose last try failed. With
    *strict*, the workspaces' roles can log in afterwards.
    Raises TenancyError if another migration is at work for *wait_seconds*, or the roles or the control schema cannot
    be brought there; workspaces that cannot are in the report.
    """
    async with _alone(admin, wait_seconds):
        await prepare_database(admin, app_password=app_password, sharding=sharding)
        await prepare_search(admin)
        releases = await serving_releases(admin)
        await _migrate_control(admin, newest_for(Tree.CONTROL, releases))
        if await _revision(admin, "control") == head(Tree.CONTROL):
            await rest_login(admin)
        await rest_workspaces(admin)
        if strict is not None:
            rows = await admin.fetch("SELECT schema_name FROM control.workspaces ORDER BY slug")
            await open_logins(admin, strict, [row["schema_name"] for row in rows])
        target = newest_for(Tree.WORKSPACE, releases)
        stages, skipped = await _stages(admin, target, canary=canary, only_failed=only_failed)
        report = await roll_out(
            stages,
            partial(_move, target=target),
            connecting=connecting or (lambda: nullcontext(admin)),
            connections=connections if connecting else 1,
            tell=tell,
        )
        report.skipped = skipped | report.skipped
        await add_search_indexes(admin)
        if stages:
            # Committed as usual, after those of the workspaces: what they did not wait for is on the disk with it.
            await _note(admin, report, target)
        report.revision = target
        report.is_held = target != head(Tree.WORKSPACE) or await _revision(admin, "control") != head(Tree.CONTROL)
    return report


async def plan(admin: asyncpg.Connection, *, canary: Collection[str] = (), only_failed: bool = False) -> Plan:
    """Return what `migrate` would do; nothing is changed."""
    current = await _revision(admin, "control")
    releases = await serving_releases(admin)
    until = newest_for(Tree.CONTROL, releases)
    is_there = current is not None and current in known(Tree.CONTROL, since=until)
    control = () if is_there else statements(Tree.CONTROL, current, until)
    target = newest_for(Tree.WORKSPACE, releases)
    is_held = (until, target) != (head(Tree.CONTROL), head(Tree.WORKSPACE))
    if current is None:
        return Plan(target, is_held, control, [], {}, {})
    stages, skipped = await _stages(admin, target, canary=canary, only_failed=only_failed)
    since = {one.schema_version for stage in stages for one in stage.workspaces}
    by_departure = {revision: statements(Tree.WORKSPACE, revision, target) for revision in since}
    return Plan(target, is_held, control, stages, skipped, by_departure)


@asynccontextmanager
async def _alone(admin: asyncpg.Connection, wait_seconds: int) -> AsyncIterator[None]:
    """Keep other migrations out. The lock is the session's: with the process, however it ends, it is gone too."""
    try:
        async with admin.transaction():
            # Never without an end: every role may take such locks, a workspace's too.
            await admin.execute(f"SET LOCAL lock_timeout = '{max(1, wait_seconds * 1000)}ms'")
            await admin.execute(f"SELECT pg_advisory_lock(hashtext('{_LOCK}'))")
    except asyncpg.LockNotAvailableError as error:
        holder = await admin.fetchrow(
            "SELECT pid, usename FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND a.datname = current_database() AND l.database = a.datid "
            f"AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = hashtext('{_LOCK}')"
        )
        who = f"session {holder['pid']} of {holder['usename']}" if holder else "a session that has just ended"
        raise TenancyError(
            f"Another migration is at work ({who}): run this one when it has ended, or wait longer with --wait."
        ) from error
    try:
        yield
    finally:
        # Where the connection is lost, so is the lock.
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await admin.execute(f"SELECT pg_advisory_unlock(hashtext('{_LOCK}'))")


async def _migrate_control(admin: asyncpg.Connection, target: str) -> None:
    for pause in _CONTROL_PAUSES:
        await asyncio.sleep(pause)
        with suppress(asyncpg.LockNotAvailableError):
            await _try_to_migrate_control(admin, target)
            return
    raise TenancyError("The control schema is in use by a long transaction: run migrate again when that has ended.")


async def _try_to_migrate_control(admin: asyncpg.Connection, target: str) -> None:
    async with admin.transaction():
        current = await _revision(admin, "control")
        _check_known(Tree.CONTROL, current, "The control schema")
        if current is not None and current in known(Tree.CONTROL, since=target):
            return
        # Every request looks its key up here, and waits behind a migration that waits.
        await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        await admin.execute(f"SET LOCAL ROLE {CONTROL}")
        for statement in statements(Tree.CONTROL, current, target):
            await admin.execute(statement)
        await admin.execute("RESET ROLE")


async def _revision(admin: asyncpg.Connection, schema: str) -> str | None:
    """Return what the schema itself says; None where it says nothing."""
    if await admin.fetchval("SELECT to_regclass($1) IS NULL", f"{schema}.alembic_version"):
        return None
    revision: str | None = await admin.fetchval(f"SELECT version_num FROM {schema}.alembic_version")
    return revision


async def _stages(
    admin: asyncpg.Connection, target: str, *, canary: Collection[str], only_failed: bool
) -> tuple[list[Stage], dict[str, str]]:
    """Return the workspaces that are to be moved, in stages, and why others that are not here yet are not."""
    known_slugs = await admin.fetch("SELECT slug FROM control.workspaces WHERE slug = ANY ($1::text[])", list(canary))
    if missing := sorted(set(canary) - {row["slug"] for row in known_slugs}):
        raise TenancyError(f"There is no workspace {missing[0]!r} to be the canary.")
    # Asked for by to_jsonb, since a plan is made before the control schema has the column.
    rows = await admin.fetch(
        """
        SELECT id, slug, schema_name, schema_version, state, to_jsonb(w) ->> 'migration_error' AS migration_error
        FROM control.workspaces w WHERE schema_version <> ALL ($1::text[]) ORDER BY id
        """,
        list(known(Tree.WORKSPACE, since=target)),
    )
    behind, skipped = [], {}
    for row in rows:
        slug, revision = row["slug"], row["schema_version"]
        if row["state"] == "deleting":
            skipped[slug] = "it is being deleted"
        elif only_failed and row["migration_error"] is None:
            skipped[slug] = "no try to migrate it has failed"
        elif revision not in known(Tree.WORKSPACE) and (
            revision := await _revision(admin, row["schema_name"])
        ) not in known(Tree.WORKSPACE):
            skipped[slug] = f"it is at revision {revision}, which this release does not know: run a newer release"
        else:
            behind.append(Behind(row["id"], slug, row["schema_name"], revision))
    return in_stages(behind, canary), skipped


async def _move(admin: asyncpg.Connection, workspace: Behind, *, target: str) -> None:
    """Move one workspace to *target* in one transaction, and keep in the control schema why that failed."""
    try:
        async with admin.transaction():
            await _move_within(admin, workspace, target)
    except asyncpg.PostgresError as error:
        if not admin.is_closed():
            await admin.execute(
                "UPDATE control.workspaces SET migration_error = left($2, 500) WHERE id = $1",
                workspace.id,
                first_line(error),
            )
        raise


async def _move_within(admin: asyncpg.Connection, workspace: Behind, target: str) -> None:
    # Few messages, since with thousands of workspaces they are what takes the time; but each DDL statement has its own.
    # Nor does each commit wait for the disk: what a crash takes back of a workspace is all of its migration.
    await admin.execute(
        f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL synchronous_commit = off; SET LOCAL ROLE {OWNER}; "
        f"SET LOCAL search_path = {workspace.schema_name}, pg_temp"
    )
    # The schema's own row is the truth.
    current = await admin.fetchval("SELECT version_num FROM alembic_version FOR UPDATE")
    _check_known(Tree.WORKSPACE, current, f"Workspace {workspace.slug}")
    if current in known(Tree.WORKSPACE, since=target):
        target = current
    # The last of them is Alembic's UPDATE of that row.
    *moving, last = ("SELECT",) if current == target else statements(Tree.WORKSPACE, current, target)
    for statement in moving:
        await admin.execute(statement)
    if any(map(_MAKES_OBJECTS.match, moving)):
        for statement in privileges(workspace.schema_name):
            await admin.execute(statement)
    await admin.execute(
        f"{last}; SET LOCAL ROLE NONE; UPDATE control.workspaces SET schema_version = '{target}', "
        f"compatible_from = '{compatible_from(target)}', migration_error = NULL WHERE id = {workspace.id:d}"
    )


async def _note(admin: asyncpg.Connection, report: Report, target: str) -> None:
    await admin.execute(
        "INSERT INTO control.operations (operation, details) VALUES ('migrate', $1)",
        {
            "revision": target,
            "done": report.done,
            "failed": len(report.failed),
            "seconds": round(report.seconds, 3),
        },
    )


def _check_known(tree: Tree, revision: str | None, what: str) -> None:
    if revision is not None and revision not in known(tree):
        raise TenancyError(
            f"{what} is at schema revision {revision}, which this release does not know: run a newer release."
        )
