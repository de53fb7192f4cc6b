"""`up`: the whole service on one machine, with a demo workspace and a working key, from nothing."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit, urlunsplit

import platformdirs
import typer
from pydantic import SecretStr

from service.cli.console import AsJson, notes, print_json, results, run
from service.cli.keys import new_key
from service.demo import DEMO
from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from service.domain.passwords import hash_password, is_password
from service.domain.visitors import active_user
from service.logs import configure_logging
from service.server import listen, serve
from service.settings import read_settings
from service.snippets import snippets
from tenancy import accounts, catalog, keys
from tenancy.connection import admin_connection
from tenancy.embedded import embedded_server
from tenancy.errors import TenancyError
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import as_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import asyncpg

DEFAULT_PORT = 8520
# The two clients that most come with; docs/clients.md has all.
_SHOWN = 2


def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = DEFAULT_PORT,
    data: Annotated[
        Path | None, typer.Option(help="Folder for the database and the demo key. Default: in your data folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start everything: PostgreSQL, a demo workspace with a key, and POST /mcp. Ctrl-C stops it.

    With DATABASE_URL set (a superuser's URL, PostgreSQL 16 or later), that server is used instead of our own.

    Example: testorchestrator up --port 8520
    """
    folder = data or Path(platformdirs.user_data_dir("testorchestrator", appauthor=False))
    listening = listen("127.0.0.1", port)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    url = f"{address}/mcp"
    with _progress() as report, _database(folder, report) as (admin_url, service_url, app_password):
        settings = read_settings(
            SERVICE_DATABASE_URL=SecretStr(service_url),
            secret_key=SecretStr(_kept_secret(folder / "secret-key")),
            log_format="pretty",
            log_level="warning",
        )
        configure_logging(form=settings.log_format, level=settings.log_level)
        report("Preparing the demo workspace")
        key, password = run(_prepare(folder, admin_url, app_password))
        sign_in = {"url": f"{address}/w/{DEMO}/sign-in", "email": demo_owner_email(), "password": password}

        def ready() -> None:
            report("")
            if as_json:
                print_json({"url": url, "key": key, "workspace": DEMO, "signIn": sign_in, "pid": os.getpid()})
            else:
                _show(url, key, sign_in, folder)

        report("Starting the service")
        run(serve(settings, listening, on_ready=ready))
        notes.print("Stopping…")


async def _prepare(folder: Path, admin_url: str, app_password: str | None) -> tuple[str, str | None]:
    """Migrate, make the demo workspace if it is not there, and return a key that works, and its owner's password."""
    async with admin_connection(admin_url) as admin:
        (await migrate(admin, app_password=app_password)).check()
        found = await catalog.find_workspace(admin, DEMO)
        if found is None:
            found = await create_workspace(admin, slug=DEMO, name=DEMO_NAME, reserved=True, populate=populate_demo)
        kept = folder / "demo-key"
        key = _read_secret(kept) or ""
        if not key or not await keys.is_valid(admin, key, workspace_id=found.id):
            async with admin.transaction():
                key = await new_key(admin, found, demo_owner_email(), label="Demo key")
            _write_secret(kept, key)
        return key, await _demo_password(admin, found, folder / "demo-password")


async def _demo_password(admin: asyncpg.Connection, demo: catalog.Workspace, kept: Path) -> str | None:
    """Return the password of the demo's owner, made at the first start; None if they have chosen another one."""
    async with as_workspace(admin, demo.schema_name) as connection:
        user_id = await active_user(connection, demo_owner_email())
    if user_id is None:
        return None
    stored = await accounts.stored_hash(admin, workspace_id=demo.id, user_id=user_id)
    if stored is not None and (password := _read_secret(kept)):
        return password if await is_password(password, stored) else None
    # A digit, a sign and letters of both kinds, whatever the random part has.
    password = f"Demo-{secrets.token_urlsafe(12)}-1"
    await accounts.set_password(
        admin, workspace_id=demo.id, user_id=user_id, password_hash=await hash_password(password)
    )
    _write_secret(kept, password)
    return password


@contextmanager
def _database(folder: Path, report: Callable[[str], None]) -> Iterator[tuple[str, str, str | None]]:
    """Yield the administrator's URL, the service's URL, and the password to give to the service's login."""
    if admin_url := os.environ.get("DATABASE_URL"):
        _make_folder(folder)
        password = _kept_secret(folder / "service-password")
        yield admin_url, _with_login(admin_url, password), password
    else:
        with embedded_server(folder, report=report) as server:
            yield server.dsn(), server.dsn(user=APP), None


def _with_login(admin_url: str, password: str) -> str:
    """Return *admin_url* with the service's login instead of the administrator's."""
    parts = urlsplit(admin_url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{APP}:{quote(password, safe='')}@{address}"))


def _kept_secret(path: Path) -> str:
    if (kept := _read_secret(path)) is None:
        kept = secrets.token_urlsafe(32)
        _write_secret(path, kept)
    return kept


def _read_secret(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TenancyError(
            f"Cannot use the data folder {folder}: {error.strerror}. Choose another with --data."
        ) from error


def _write_secret(path: Path, secret: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secret + "\n")
    except OSError as error:
        raise TenancyError(
            f"Cannot write to {path.parent}: {error.strerror}. Choose another folder with --data."
        ) from error


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the present step while it lasts; where nobody watches, as a line each."""
    status = notes.status("") if notes.is_terminal else None

    def report(step: str) -> None:
        if status is None:
            if step:
                notes.print(f"{step}…")
        elif step:
            status.update(f"{step}…")
            status.start()
        else:
            status.stop()

    try:
        yield report
    finally:
        report("")


def _show(url: str, key: str, sign_in: Mapping[str, str | None], folder: Path) -> None:
    password = sign_in["password"] or "the one that you chose"
    facts = (
        f"  URL        {url}\n  API key    {key}\n  Workspace  {DEMO} ({DEMO_NAME})\n"
        f"  Sign in    {sign_in['url']}\n  E-mail     {sign_in['email']}\n  Password   {password}"
    )
    for title, body in (
        ("TestOrchestrator is ready", facts),
        *((f"{one.client} ({one.where})", indent(one.text, "  ")) for one in snippets(url, key)[:_SHOWN]),
    ):
        results.print(f"[bold green]{title}[/]", markup=True)
        results.print(body, markup=False, soft_wrap=True)
        results.print()
    results.print(
        "Other clients: docs/clients.md\nThen ask: list the test cases in the Web Shop project.\n"
        f"Data: {folder}   Stop: Ctrl-C",
        soft_wrap=True,
    )
