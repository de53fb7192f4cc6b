"""`workspace backup|restore|clone|verify` as processes: what they print, their exit codes, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.demo.load import populate_demo
from tenancy.catalog import list_workspaces
from tenancy.connection import connect
from tenancy.provision import create_workspace
from tests.conftest import new_database

COMMAND = [sys.executable, "-P", "-m", "service.cli", "workspace"]
PATIENCE = 60
CAN_LOG_IN = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1"


def environment(given: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    return clean | {"COLUMNS": "200"} | given


def workspace(*arguments: object, cwd: object = None, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, *map(str, arguments)],
        env=environment(given), cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


@pytest.fixture(scope="module")
async def database(postgres):
    """A database with the demo workspace: a superuser's connection, and its URL."""
    async with new_database(postgres) as (name, admin):
        await create_workspace(admin, slug="demo", name="Demo", reserved=True, populate=populate_demo)
        yield admin, postgres.dsn(database=name)


@pytest.fixture(scope="module")
def archive(database, tmp_path_factory):
    """The archive of the demo workspace."""
    path = tmp_path_factory.mktemp("archives") / "demo.zip"
    assert workspace("backup", "demo", path, DATABASE_URL=database[1]).returncode == 0
    return path


async def slugs(admin) -> set[str]:
    return {one.slug for one in await list_workspaces(admin)}


async def schemas(admin) -> tuple[int, int]:
    return tuple(
        await admin.fetchrow(
            "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'w\\_%'), "
            "(SELECT count(*) FROM pg_roles WHERE rolname LIKE 'w\\_%')"
        )
    )


async def test_from_one_server_to_another_and_back(database, postgres, tmp_path):
    _, url = database
    made = workspace("backup", "demo", "--json", DATABASE_URL=url, cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    document = json.loads(made.stdout)
    [path] = tmp_path.iterdir()
    assert document["file"] == path.name
    assert path.name.startswith("demo-2")
    assert (document["workspace"], document["keys"], document["bytes"]) == ("demo", None, path.stat().st_size)
    assert path.stat().st_mode & 0o777 == 0o600

    verified = workspace("verify", path, "--json")
    assert (verified.returncode, verified.stderr) == (0, "")
    same = {name: value for name, value in document.items() if name != "file"}
    assert json.loads(verified.stdout) == same | {"file": str(path)}

    async with new_database(postgres) as (name, other):
        there = postgres.dsn(database=name)
        restored = workspace("restore", path, DATABASE_URL=there)
        assert (restored.returncode, restored.stderr) == (0, "")
        assert "Workspace demo is there" in restored.stdout
        assert "key create demo --email" in restored.stdout
        compared = workspace("verify", path, "--against", "demo", DATABASE_URL=there)
        assert (compared.returncode, compared.stderr) == (0, "")
        assert "Workspace demo is the same." in compared.stdout
        [made] = await list_workspaces(other)
        await other.execute(f"UPDATE {made.schema_name}.tags SET color = '#000000'")
        compared = workspace("verify", path, "--against", "demo", "--json", DATABASE_URL=there)
        assert compared.returncode == 1
        assert json.loads(compared.stdout)["different"] == ["tags"]
        assert compared.stderr == "error: Workspace demo is not as the archive has it, in tags.\n"


async def test_clone_and_restore_under_other_names(database, archive):
    admin, url = database
    strict = {"TESTORCHESTRATOR_STRICT_SECRET": "thirty-two characters of the operator"}
    cloned = workspace("clone", "demo", "demo-two", "--name", "Second", "--json", DATABASE_URL=url, **strict)
    assert (cloned.returncode, cloned.stderr) == (0, "")
    document = json.loads(cloned.stdout)
    assert (document["workspace"], document["state"]) == ("demo-two", "active")
    restored = workspace("restore", archive, "--slug", "demo-three", "--name", "Third", "--json", DATABASE_URL=url)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert json.loads(restored.stdout)["workspace"] == "demo-three"
    names = {one.slug: one.name for one in await list_workspaces(admin)}
    assert names == {"demo": "Demo", "demo-two": "Second", "demo-three": "Third"}
    can = {one.slug: one.schema_name for one in await list_workspaces(admin)}
    can = {slug: await admin.fetchval(CAN_LOG_IN, schema) for slug, schema in can.items()}
    assert can == {"demo": False, "demo-two": True, "demo-three": False}
    again = workspace("restore", archive, "--slug", "demo-three", DATABASE_URL=url)
    assert (again.returncode, "There is a workspace 'demo-three' already" in again.stderr) == (1, True)


async def test_keys_travel_on_request(database, postgres, tmp_path):
    _, url = database
    made = subprocess.run(  # noqa: ASYNC221, S603 - our own program
        [*COMMAND[:-1], "key", "create", "demo", "--email", "dana.reyes@example.com", "--json"],
        env=environment({"DATABASE_URL": url}), capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    key = json.loads(made.stdout)["key"]
    kept = workspace("backup", "demo", tmp_path / "keyed.zip", "--with-keys", "--json", DATABASE_URL=url)
    assert json.loads(kept.stdout)["keys"] == 1
    taken = workspace("restore", tmp_path / "keyed.zip", "--slug", "keyed", DATABASE_URL=url)
    assert (taken.returncode, "--without-keys" in taken.stderr) == (1, True)
    async with new_database(postgres) as (name, other):
        restored = workspace("restore", tmp_path / "keyed.zip", DATABASE_URL=postgres.dsn(database=name))
        assert (restored.returncode, "It has no keys" in restored.stdout) == (0, False)
        assert await other.fetchval("SELECT prefix FROM control.api_keys") == key.removeprefix("to_live_")[:4]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify", "{folder}/missing.zip"], "missing.zip: No such file or directory"),
        (["verify", "{folder}/cut.zip"], "no archive of a workspace"),
        (["verify", "{archive}", "--max-gigabytes", "0.0001"], "--max-gigabytes"),
        (["restore", "{folder}/wrong.zip", "--slug", "wrong"], "damaged"),
        (["backup", "demo", "{folder}/text.zip"], "--force"),
        (["backup", "demo", "{folder}/no/such/folder.zip"], "No such file or directory"),
        (["clone", "nowhere", "somewhere"], "no workspace 'nowhere'"),
    ],
)
async def test_what_cannot_be_done_is_one_line_and_leaves_nothing(arguments, told, database, archive, tmp_path):
    admin, url = database
    whole = archive.read_bytes()
    half = len(whole) // 2
    (tmp_path / "text.zip").write_text("PK, but not really")
    (tmp_path / "cut.zip").write_bytes(whole[:half])
    (tmp_path / "wrong.zip").write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    files, before, made = sorted(tmp_path.iterdir()), await slugs(admin), await schemas(admin)
    done = workspace(*(one.format(folder=tmp_path, archive=archive) for one in arguments), DATABASE_URL=url)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (sorted(tmp_path.iterdir()), await slugs(admin), await schemas(admin)) == (files, before, made)


@pytest.mark.parametrize("command", ["backup", "restore", "clone", "verify"])
def test_help_has_an_example(command):
    done = CliRunner().invoke(app, ["workspace", command, "--help"])
    assert done.exit_code == 0
    assert f"testorchestrator workspace {command} " in done.stdout


async def waiting(admin, what: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a session waits for a lock in a statement with *what* in it."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
    while not await admin.fetchval(query, f"%{what}%"):
        assert process.poll() is None, "it ended by itself"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def locked(url: str, table: str):
    """Keep everybody from *table* while the block runs."""
    holder = await connect(url, name="holder")
    try:
        await holder.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        holder.terminate()


async def alone(admin) -> None:
    """Return when nobody else is in the database."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with asyncio.timeout(PATIENCE):
        while await admin.fetchval(others):  # noqa: ASYNC110 - the server does not tell us
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "killed",
    [
        (signal.SIGKILL, -9, ["restore", "{archive}", "--slug", "killed"]),
        (signal.SIGTERM, 130, ["restore", "{archive}", "--slug", "killed"]),
        (signal.SIGINT, 130, ["clone", "demo", "killed"]),
        (signal.SIGKILL, -9, ["clone", "demo", "killed"]),
    ],
)
async def test_killed_with_all_but_the_last_done_leaves_nothing(killed, database, archive, tmp_path):
    admin, url = database
    sent, code, arguments = killed
    before, made = await slugs(admin), await schemas(admin)
    async with locked(url, "control.operations"):
        with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
            [*COMMAND, *(one.format(archive=archive) for one in arguments)],
            env=environment({"DATABASE_URL": url, "TMPDIR": str(tmp_path)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                await waiting(admin, "INSERT INTO control.operations", process)
                process.send_signal(sent)
                _, stderr = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert process.returncode == code
    assert b"Traceback" not in stderr
    await alone(admin)
    assert (await slugs(admin), await schemas(admin)) == (before, made)
    assert list(tmp_path.iterdir()) == []


async def test_stopped_backup_leaves_no_file(database, tmp_path):
    admin, url = database
    schema = next(one.schema_name for one in await list_workspaces(admin) if one.slug == "demo")
    async with locked(url, f"{schema}.results"):
        with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
            [*COMMAND, "backup", "demo", str(tmp_path / "stopped.zip")],
            env=environment({"DATABASE_URL": url}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                await waiting(admin, "results", process)
                assert [file.suffix for file in tmp_path.iterdir()] == [".partial"]
                process.terminate()
                _, stderr = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert (process.returncode, b"Traceback" in stderr) == (130, False)
    assert list(tmp_path.iterdir()) == []
