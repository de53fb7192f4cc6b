"""Reading a workspace: to an archive, or to compare it with one. Nobody who works in it has to wait.

One REPEATABLE READ transaction sees one moment. The one lock that it takes is on Alembic's version table, which no
request touches: a migration changes tables in ways that an older snapshot does not see, so it waits, or tries later.
Only where Citus has the workspace on another server do those who write wait.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, TYPE_CHECKING

import asyncpg

from migrations.trees import Tree, head, known
from tenancy.archive.container import ArchiveWriter, open_archive, silent
from tenancy.archive.manifest import KEYS_MEMBER, Content, Manifest, Origin, TableContent
from tenancy.archive.shape import CANONICAL, Shape, TableShape, copy_out, described, read_shape, sequence_value
from tenancy.catalog import find_workspace
from tenancy.citus import has_citus
from tenancy.errors import TenancyError
from tenancy.placement import placement
from tenancy.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tenancy.archive.container import Archive, Progress
    from tenancy.catalog import Workspace

#: Of control.api_keys. Ids are the server's, and so are its workspaces'.
KEY_COLUMNS = (
    "user_id", "label", "prefix", "hash", "owner_active", "created_at", "expires_at", "revoked_at", "last_used_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    workspace: Workspace
    revision: str
    shape: Shape
    taken_at: dt.datetime


async def back_up(
    admin: asyncpg.Connection,
    slug: str,
    file: IO[bytes],
    *,
    with_keys: bool = False,
    progress: Progress = silent,
) -> Manifest:
    """Write the workspace as it is at one moment to *file*, empty and open for reading and writing.

    Only with *with_keys* are the hashes of its API keys in it.
    """
    writer = ArchiveWriter(file)
    try:
        async with _snapshot(admin, slug) as snapshot:
            _check_nothing_is_foreign(snapshot)
            tables = []
            for done, table in enumerate(snapshot.shape.tables.values()):
                progress(f"Reading {table.name}", done, len(snapshot.shape.tables))
                member = f"tables/{table.name}.tsv"
                with writer.member(member) as write:
                    content = await copy_out(admin, table.rows(table.columns), table.columns, write)
                tables.append(TableContent(name=table.name, **content.model_dump()))
            # Not of the snapshot: a sequence shows its present value, which is never behind the rows.
            sequences = [await sequence_value(admin, name) for name in snapshot.shape.sequences]
            keys = None
            if with_keys:
                with writer.member(KEYS_MEMBER) as write:
                    keys = await copy_keys(admin, snapshot.workspace.id, write)
            server_version = await admin.fetchval("SHOW server_version")
        manifest = Manifest(
            product_version=version("testorchestrator"),
            server_version=server_version,
            created_at=snapshot.taken_at,
            workspace=Origin.model_validate(
                {name: getattr(snapshot.workspace, name) for name in ("slug", "name", "state")}
            ),
            schema_revision=snapshot.revision,
            tables=tuple(tables),
            sequences=tuple(sequences),
            keys=keys,
        )
        writer.finish(manifest)
    finally:
        writer.close()
    return manifest


async def back_up_to(
    admin: asyncpg.Connection,
    slug: str,
    path: Path,
    *,
    with_keys: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Manifest:
    """Back the workspace up to *path*, which nobody else may read, and which is whole and checked once it is there."""
    if path.exists() and not overwrite:  # noqa: ASYNC240 - a command has nothing else to do meanwhile
        raise TenancyError(f"{path} is there already: choose another name, or replace it with --force.")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            manifest = await back_up(admin, slug, file, with_keys=with_keys, progress=progress)
            with open_archive(file, most_bytes=manifest.size, progress=progress) as archive:
                archive.check(progress)
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


async def differences(
    admin: asyncpg.Connection, slug: str, archive: Archive, *, progress: Progress = silent
) -> list[str]:
    """Return the names of the tables in which the workspace is not as the archive says; `keys` among them."""
    manifest = archive.manifest
    async with _snapshot(admin, slug) as snapshot:
        if snapshot.revision != manifest.schema_revision:
            raise TenancyError(
                f"Workspace {slug} is at schema revision {snapshot.revision}, the archive at "
                f"{manifest.schema_revision}: their tables cannot be compared."
            )
        found = []
        in_archive = {table.name: table for table in manifest.tables}
        names = sorted(in_archive.keys() | snapshot.shape.tables.keys())
        for done, name in enumerate(names):
            progress(f"Comparing {name}", done, len(names))
            content, table = in_archive.get(name), snapshot.shape.tables.get(name)
            if content is None or table is None or not await is_same(admin, table, content):
                found.append(name)
        if manifest.keys is not None and not manifest.keys.is_same(await copy_keys(admin, snapshot.workspace.id)):
            found.append("keys")
        return found


async def is_same(admin: asyncpg.Connection, table: TableShape, content: Content) -> bool:
    """Return whether the table has exactly these rows."""
    if set(table.columns) != set(content.columns):
        return False
    return content.is_same(await copy_out(admin, table.rows(content.columns), content.columns))


async def copy_keys(admin: asyncpg.Connection, workspace_id: int, write: Callable[[bytes], object] = len) -> Content:
    """Pass the workspace's keys on, as the administrator."""
    await admin.execute("SET LOCAL ROLE NONE")
    query = f"SELECT {', '.join(KEY_COLUMNS)} FROM control.api_keys WHERE workspace_id = {workspace_id:d} ORDER BY hash"
    return await copy_out(admin, query, KEY_COLUMNS, write)


@asynccontextmanager
async def _snapshot(admin: asyncpg.Connection, slug: str) -> AsyncIterator[_Snapshot]:
    """See one moment of the workspace, as the owner of its tables, with its schema as the search_path."""
    found = await find_workspace(admin, slug)
    if found is None:
        raise TenancyError(f"There is no workspace {slug!r}: see testorchestrator workspace list.")
    is_elsewhere = await has_citus(admin) and (await placement(admin, slug)).node is not None
    async with admin.transaction(isolation="repeatable_read", readonly=True):
        await admin.execute(CANONICAL)
        await admin.execute(f"SET LOCAL ROLE {OWNER}; SET LOCAL search_path = {found.schema_name}, pg_temp")
        try:
            # Before the first query, which is what fixes the moment that is seen.
            await admin.execute("LOCK TABLE alembic_version IN EXCLUSIVE MODE")
        except asyncpg.LockNotAvailableError as error:
            raise TenancyError(
                f"Workspace {slug} is being migrated, backed up or compared by somebody else: try again later."
            ) from error
        revision = await admin.fetchval("SELECT version_num FROM alembic_version")
        if revision not in known(Tree.WORKSPACE):
            raise TenancyError(
                f"Workspace {slug} is at schema revision {revision}, which this release does not know: "
                "run a newer release."
            )
        shape = await read_shape(admin, found.schema_name)
        if is_elsewhere:
            # Citus reads on another server at READ COMMITTED: there it is one moment if nobody writes meanwhile.
            await admin.execute(f"LOCK TABLE {', '.join(shape.tables)} IN SHARE MODE")
        yield _Snapshot(
            workspace=found,
            revision=revision,
            shape=shape,
            taken_at=(await admin.fetchval("SELECT date_trunc('second', now())")).astimezone(dt.UTC),
        )


def _check_nothing_is_foreign(snapshot: _Snapshot) -> None:
    """Refuse what could not be restored: tables and columns that somebody added, or took away, by hand."""
    if snapshot.revision != head(Tree.WORKSPACE):
        return
    expected = described()
    actual = {table.name: set(table.columns) for table in snapshot.shape.tables.values()}
    if odd := sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name)):
        raise TenancyError(
            f"Workspace {snapshot.workspace.slug} is not as this release makes it, in {', '.join(odd[:5])}: "
            "it could not be restored so. Put right by hand what was changed by hand."
        )
