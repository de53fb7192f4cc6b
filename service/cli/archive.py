"""Commands for archives: `workspace backup|restore|clone|verify`."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import typer
from rich.progress import Progress

from service.cli.completion import complete_workspace
from service.cli.console import AsJson, Slug, database_url, notes, print_json, results, run, sharding, strict_logins
from service.demo import DEMO
from tenancy import archive as archives
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenancy.archive import Manifest
    from tenancy.catalog import Workspace

File = Annotated[Path, typer.Argument(help="The archive.", dir_okay=False)]
DisplayName = Annotated[str | None, typer.Option("--name", help="Display name of the new workspace.")]
MostGigabytes = Annotated[
    float | None,
    typer.Option(
        "--max-gigabytes",
        min=0,
        help="What its rows may unpack to. Default: 200 times its size, or 1 GiB.",
        show_default=False,
    ),
]


def add_commands(group: typer.Typer) -> None:
    """Add the commands to *group*."""
    for command in (backup, restore, clone, verify):
        group.command()(command)


def backup(
    slug: Slug,
    file: Annotated[
        Path | None,
        typer.Argument(help="The archive to make. Default: WORKSPACE-TIME.zip here.", show_default=False),
    ] = None,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Put the hashes of its API keys in too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a workspace as it is at one moment to one archive, while everybody works on.

    The file is for its owner's eyes only, and is there when it is whole and checked, or not at all.

    Example: testorchestrator workspace backup acme /backups/acme.zip
    """
    path = file or Path(f"{slug}-{dt.datetime.now(dt.UTC):%Y-%m-%dT%H%M%SZ}.zip")

    async def work() -> Manifest:
        async with admin_connection(database_url()) as admin:
            with _shown() as progress:
                return await archives.back_up_to(
                    admin, slug, path, with_keys=with_keys, overwrite=force, progress=progress
                )

    with _in_one_line(path):
        manifest = run(work())
        size = path.stat().st_size
    if as_json:
        print_json(_document(manifest) | {"file": str(path), "bytes": size})
    else:
        results.print(f"{path}: {_summary(manifest)}, {size:,} bytes.", markup=False, soft_wrap=True)


def restore(
    file: File,
    *,
    slug: Annotated[str | None, typer.Option("--slug", help="Another name for it. Default: its own.")] = None,
    name: DisplayName = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Leave out the keys that are in it.")] = False,
    max_gigabytes: MostGigabytes = None,
    as_json: AsJson = False,
) -> None:
    """Make a workspace from an archive: it is there whole and the same, table by table, or not at all.

    An archive of an older release is brought to this one. DATABASE_URL says on which server.

    Example: testorchestrator workspace restore /backups/acme.zip --slug acme-before-the-accident
    """
    logins = strict_logins()
    placing = sharding()

    async def work() -> tuple[Manifest, Workspace]:
        async with admin_connection(database_url()) as admin:
            with (
                _shown() as progress,
                archives.open_archive(file, most_bytes=_bytes(max_gigabytes), progress=progress) as archive,
            ):
                made = await archives.restore(
                    admin,
                    archive,
                    slug=slug,
                    name=name,
                    with_keys=not without_keys,
                    reserved=frozenset({DEMO}),
                    strict=logins,
                    sharding=placing,
                    progress=progress,
                )
                return archive.manifest, made

    with _in_one_line(file):
        manifest, made = run(work())
    has_keys = manifest.keys is not None and not without_keys
    if as_json:
        document = _document(manifest) | {"workspace": made.slug, "schema": made.schema_name, "state": made.state}
        print_json(document | {"keys": manifest.keys.rows if manifest.keys is not None and has_keys else None})
        return
    results.print(f"Workspace {made.slug} is there: {_summary(manifest)}.", markup=False, soft_wrap=True)
    if made.state != "active":
        results.print(f"It is suspended, as it was. testorchestrator workspace resume {made.slug}", soft_wrap=True)
    if not has_keys:
        results.print(f"It has no keys. testorchestrator key create {made.slug} --email …", soft_wrap=True)


def clone(
    slug: Slug,
    new_slug: Annotated[str, typer.Argument(metavar="NEW-WORKSPACE", help="The name of the clone.")],
    name: DisplayName = None,
    as_json: AsJson = False,
) -> None:
    """Make a second workspace that is as the first one is at this moment, without its API keys.

    What it needs meanwhile goes to the folder for temporary files (TMPDIR), as large as an archive.

    Example: testorchestrator workspace clone acme acme-trial --name "Acme, to try things out"
    """
    logins = strict_logins()
    placing = sharding()

    async def work() -> Workspace:
        async with admin_connection(database_url()) as admin:
            with _shown() as progress:
                return await archives.clone(
                    admin, slug, new_slug, name=name, strict=logins, sharding=placing, progress=progress
                )

    with _in_one_line():
        made = run(work())
    if as_json:
        print_json({"workspace": made.slug, "schema": made.schema_name, "state": made.state})
    else:
        results.print(
            f"Workspace {made.slug} is there, as {slug} is, but without keys. "
            f"testorchestrator key create {made.slug} --email …",
            soft_wrap=True,
        )


def verify(
    file: File,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="WORKSPACE",
            help="Compare it with this workspace too, table by table (DATABASE_URL).",
            autocompletion=complete_workspace,
        ),
    ] = None,
    max_gigabytes: MostGigabytes = None,
    as_json: AsJson = False,
) -> None:
    """Check that an archive is whole and that this release can read it. It needs no database.

    Exit code 0: it is, and it is equal where that was asked for; 1: it is not.

    Example: testorchestrator workspace verify /backups/acme.zip --against acme
    """

    async def compare(archive: archives.Archive, slug: str, progress: Any) -> list[str]:
        async with admin_connection(database_url()) as admin:
            return await archives.differences(admin, slug, archive, progress=progress)

    different: list[str] = []
    with (
        _in_one_line(file),
        _shown() as progress,
        archives.open_archive(file, most_bytes=_bytes(max_gigabytes), progress=progress) as archive,
    ):
        archive.check(progress)
        manifest = archive.manifest
        if against is not None:
            different = run(compare(archive, against, progress))
    if as_json:
        compared = {} if against is None else {"against": against, "different": different}
        print_json(_document(manifest) | {"file": str(file), "bytes": archive.file_size} | compared)
    else:
        results.print(f"{file} is whole: {_summary(manifest)}.", markup=False, soft_wrap=True)
        if against is not None and not different:
            results.print(f"Workspace {against} is the same.", soft_wrap=True)
    if different:
        raise TenancyError(f"Workspace {against} is not as the archive has it, in {', '.join(different)}.")


@contextmanager
def _shown() -> Iterator[archives.Progress]:
    with Progress(console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("Preparing", total=None)

        def show(step: str, done: int, total: int, /) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield show


@contextmanager
def _in_one_line(path: Path | None = None) -> Iterator[None]:
    """Turn what the server or the disk may say in the middle of the work into a line for the operator."""
    try:
        yield
    except OSError as error:
        where = error.filename or path or "The temporary file"
        raise TenancyError(f"{where}: {error.strerror or first_line(error)}.") from error
    except asyncpg.UndefinedTableError as error:
        raise TenancyError(f"{first_line(error).capitalize()}: run testorchestrator migrate first.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise TenancyError(f"The database ended the work: {first_line(error)}. Nothing is changed.") from error


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)


def _document(manifest: Manifest) -> dict[str, Any]:
    return {
        "workspace": manifest.workspace.slug,
        "name": manifest.workspace.name,
        "createdAt": manifest.created_at,
        "schemaRevision": manifest.schema_revision,
        "productVersion": manifest.product_version,
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "keys": None if manifest.keys is None else manifest.keys.rows,
    }


def _summary(manifest: Manifest) -> str:
    keys = "no keys" if manifest.keys is None else f"{manifest.keys.rows} keys"
    return (
        f"workspace {manifest.workspace.slug} at {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"{manifest.rows:,} rows in {len(manifest.tables)} tables, {keys}"
    )
