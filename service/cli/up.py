"""`up`: the whole service on one machine, with a demo workspace and a working key, from nothing."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit, urlunsplit

import platformdirs
import typer
from pydantic import SecretStr

from service.cli.console import AsJson, notes, print_json, results, run
from service.cli.keys import new_key
from service.demo import DEMO
from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from service.logs import configure_logging
from service.server import listen, serve
from service.settings import read_settings
from tenancy import catalog, keys
from tenancy.connection import admin_connection
from tenancy.embedded import embedded_server
from tenancy.errors import TenancyError
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_PORT = 8520


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
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    with _progress() as report, _database(folder, report) as (admin_url, service_url, app_password):
        settings = read_settings(SERVICE_DATABASE_URL=SecretStr(service_url), log_format="pretty", log_level="warning")
        configure_logging(form=settings.log_format, level=settings.log_level)
        report("Preparing the demo workspace")
        key = run(_prepare(folder, admin_url, app_password))

        def ready() -> None:
            report("")
            if as_json:
                print_json({"url": url, "key": key, "workspace": DEMO, "pid": os.getpid()})
            else:
                _show(url, key, folder)

        report("Starting the service")
        run(serve(settings, listening, on_ready=ready))
        notes.print("Stopping…")


async def _prepare(folder: Path, admin_url: str, app_password: str | None) -> str:
    """Migrate, make the demo workspace if it is not there, and return a key that works."""
    async with admin_connection(admin_url) as admin:
        (await migrate(admin, app_password=app_password)).check()
        found = await catalog.find_workspace(admin, DEMO)
        if found is None:
            found = await create_workspace(admin, slug=DEMO, name=DEMO_NAME, reserved=True, populate=populate_demo)
        kept = folder / "demo-key"
        key = kept.read_text().strip() if kept.is_file() else ""
        if not key or not await keys.is_valid(admin, key, workspace_id=found.id):
            async with admin.transaction():
                key = await new_key(admin, found, demo_owner_email(), label="Demo key")
            _write_secret(kept, key)
        return key


@contextmanager
def _database(folder: Path, report: Callable[[str], None]) -> Iterator[tuple[str, str, str | None]]:
    """Yield the administrator's URL, the service's URL, and the password to give to the service's login."""
    if admin_url := os.environ.get("DATABASE_URL"):
        _make_folder(folder)
        password = _kept_password(folder / "service-password")
        yield admin_url, _with_login(admin_url, password), password
    else:
        with embedded_server(folder, report=report) as server:
            yield server.dsn(), server.dsn(user=APP), None


def _with_login(admin_url: str, password: str) -> str:
    """Return *admin_url* with the service's login instead of the administrator's."""
    parts = urlsplit(admin_url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{APP}:{quote(password, safe='')}@{address}"))


def _kept_password(path: Path) -> str:
    if not path.is_file():
        _write_secret(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


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


def _show(url: str, key: str, folder: Path) -> None:
    header = f"Authorization: Bearer {key}"
    server = {"url": url, "headers": {"Authorization": f"Bearer {key}"}}
    claude = f"claude mcp add --transport http testorchestrator {url} --header {shlex.quote(header)}"
    cursor = json.dumps({"mcpServers": {"testorchestrator": server}}, indent=2)
    for title, body in (
        ("TestOrchestrator is ready", f"  URL        {url}\n  API key    {key}\n  Workspace  {DEMO} ({DEMO_NAME})"),
        ("Claude Code", f"  {claude}"),
        ("Cursor (.cursor/mcp.json), Claude Desktop", "\n".join(f"  {line}" for line in cursor.splitlines())),
    ):
        results.print(f"[bold green]{title}[/]", markup=True)
        results.print(body, markup=False, soft_wrap=True)
        results.print()
    results.print(
        f"Then ask: list the test cases in the Web Shop project.\nData: {folder}   Stop: Ctrl-C", soft_wrap=True
    )
