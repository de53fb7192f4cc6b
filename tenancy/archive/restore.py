"""Making a workspace from an archive, in one transaction: it is there whole, and the same, or it is not there.

It is made at the archive's own revision, filled, read again and compared, and only then migrated to this release's.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from migrations.trees import Tree, head, statements
from tenancy.archive.backup import KEY_COLUMNS, back_up, copy_keys, is_same
from tenancy.archive.container import open_archive, silent
from tenancy.archive.manifest import KEYS_MEMBER, ArchiveRefused
from tenancy.archive.shape import CANONICAL, read_shape, sequence_value
from tenancy.catalog import check_slug, note_operation, set_state
from tenancy.citus import Sharding
from tenancy.errors import TenancyError
from tenancy.provision import make_schema, privileges
from tenancy.search import add_search_index
from tenancy.strict import open_logins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tenancy.archive.container import Archive, Progress
    from tenancy.archive.manifest import Manifest, SequenceValue
    from tenancy.archive.shape import SequenceShape, Shape
    from tenancy.catalog import Workspace
    from tenancy.strict import StrictLogins


async def restore(
    admin: asyncpg.Connection,
    archive: Archive,
    *,
    slug: str | None = None,
    name: str | None = None,
    with_keys: bool = True,
    reserved: frozenset[str] = frozenset(),
    strict: StrictLogins | None = None,
    sharding: Sharding = Sharding.AUTO,
    progress: Progress = silent,
) -> Workspace:
    """Make the archive's workspace, under its own slug and name or those given, and with its keys if it has them.

    Its slug may be one of *reserved* although that is kept from customers. With *strict*, its role can log in.
    Raises ArchiveRefused for an archive whose rows are not those of its revision, and TenancyError for a slug or keys
    that are there already. Cancelled, it leaves nothing once *admin* is closed.
    """
    manifest = archive.manifest
    slug = slug or manifest.workspace.slug
    if slug not in reserved:
        check_slug(slug)
    archive.check(progress)
    async with admin.transaction():
        await admin.execute(CANONICAL)
        workspace = await make_schema(
            admin,
            slug=slug,
            name=name or manifest.workspace.name,
            revision=manifest.schema_revision,
            sharding=sharding,
        )
        await _fill(admin, archive, await _checked_shape(admin, manifest, workspace.schema_name), progress)
        if manifest.schema_revision != head(Tree.WORKSPACE):
            for statement in statements(Tree.WORKSPACE, manifest.schema_revision):
                await admin.execute(statement)
        await add_search_index(admin)
        for statement in privileges(workspace.schema_name):
            await admin.execute(statement)
        await admin.execute("SET LOCAL ROLE NONE; SET LOCAL search_path = DEFAULT")
        if strict is not None:
            await open_logins(admin, strict, [workspace.schema_name])
        if with_keys:
            await _restore_keys(admin, archive, workspace)
        if manifest.workspace.state != "active":
            await set_state(admin, slug, "suspended")
            workspace = replace(workspace, state="suspended")
        await note_operation(
            admin,
            "workspace.restore",
            workspace_id=workspace.id,
            slug=manifest.workspace.slug,
            backed_up_at=manifest.created_at.isoformat(),
        )
    return workspace


async def clone(
    admin: asyncpg.Connection,
    slug: str,
    new_slug: str,
    *,
    name: str | None = None,
    strict: StrictLogins | None = None,
    sharding: Sharding = Sharding.AUTO,
    progress: Progress = silent,
) -> Workspace:
    """Make another workspace that is the same as *slug* at this moment, without its keys."""
    check_slug(new_slug)
    # It has no name anywhere, so nothing is left of it however this ends.
    with tempfile.TemporaryFile() as file:
        manifest = await back_up(admin, slug, file, progress=progress)
        with open_archive(file, most_bytes=manifest.size, progress=progress) as archive:
            return await restore(
                admin,
                archive,
                slug=new_slug,
                name=name or new_slug,
                strict=strict,
                sharding=sharding,
                progress=progress,
            )


async def _checked_shape(admin: asyncpg.Connection, manifest: Manifest, schema_name: str) -> Shape:
    """Return the shape of the schema just made; raise ArchiveRefused if the manifest does not have the same."""
    shape = await read_shape(admin, schema_name)
    if {table.name: set(table.columns) for table in manifest.tables} != {
        table.name: set(table.columns) for table in shape.tables.values()
    } or {sequence.name for sequence in manifest.sequences} != shape.sequences.keys():
        raise ArchiveRefused(
            f"The archive does not have the tables, columns and sequences of schema revision "
            f"{manifest.schema_revision}."
        )
    return shape


async def _fill(admin: asyncpg.Connection, archive: Archive, shape: Shape, progress: Progress) -> None:
    manifest = archive.manifest
    what = "its foreign keys"
    done = 0
    try:
        # Checking each key once, over all rows, is many times faster than row by row; and there is no order of tables
        # in which all could be filled, since some refer to each other.
        for statement in shape.removals:
            await admin.execute(statement)
        for table in manifest.tables:
            what = f"table {table.name}"
            progress(f"Loading {table.name}", done, manifest.size)
            await admin.copy_to_table(
                table.name, columns=table.columns, source=_awaitable(archive.rows(table.member, table))
            )
            done += table.size
        what = "its foreign keys"
        for statement in shape.additions:
            progress("Checking references", done, manifest.size)
            await admin.execute(statement)
        what = "its sequences"
        for sequence in manifest.sequences:
            await _set_sequence(admin, sequence, shape.sequences[sequence.name])
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        # Not the server's text, which may repeat what is in the archive.
        rule = f", {error.constraint_name}" if getattr(error, "constraint_name", None) else ""
        raise ArchiveRefused(
            f"The archive's content is not what schema revision {manifest.schema_revision} allows: "
            f"{what} ({type(error).__name__}{rule})."
        ) from error
    done = 0
    for table in manifest.tables:
        progress(f"Comparing {table.name}", done, manifest.size)
        if not await is_same(admin, shape.tables[table.name], table):
            raise ArchiveRefused(f"Table {table.name} did not come out as the archive has it.")
        done += table.size
    # Or the first queries would be planned as for empty tables.
    await admin.execute(f"ANALYZE {', '.join(shape.tables)}")


async def _set_sequence(admin: asyncpg.Connection, value: SequenceValue, shape: SequenceShape) -> None:
    await admin.execute("SELECT setval($1::text::regclass, $2, $3)", value.name, value.last_value, value.is_called)
    highest = await admin.fetchval(shape.highest)
    following = value.last_value + value.is_called
    if (highest is not None and highest >= following) or await sequence_value(admin, value.name) != value:
        raise ArchiveRefused(f"The archive's sequence {value.name} is behind the numbers that are in use.")


async def _restore_keys(admin: asyncpg.Connection, archive: Archive, workspace: Workspace) -> None:
    keys = archive.manifest.keys
    if keys is None:
        return
    if keys.columns != KEY_COLUMNS:
        raise ArchiveRefused("The archive's keys do not have the columns of this release.")
    lines = _prefixed(archive.rows(KEYS_MEMBER, keys), f"{workspace.id}\t".encode())
    try:
        await admin.copy_to_table(
            "api_keys", schema_name="control", columns=("workspace_id", *KEY_COLUMNS), source=lines
        )
    except asyncpg.UniqueViolationError as error:
        raise TenancyError(
            "Keys of the archive are on this server already, and a key opens one workspace only: restore it with "
            "--without-keys, and create new ones."
        ) from error
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise ArchiveRefused(
            f"The archive's keys are not what this release allows ({type(error).__name__})."
        ) from error
    if not keys.is_same(await copy_keys(admin, workspace.id)):
        raise ArchiveRefused("The keys did not come out as the archive has them.")


async def _awaitable(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _prefixed(chunks: Iterable[bytes], prefix: bytes) -> AsyncIterator[bytes]:
    """Yield the lines of *chunks*, each with *prefix* before it."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield b"".join(prefix + line + b"\n" for line in lines)
