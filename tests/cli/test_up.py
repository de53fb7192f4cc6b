"""`./dev up` as a new user runs it: the real script, a real server, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tenancy.connection import connect
from tests.conftest import Client

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60


@contextlib.contextmanager
def started(*arguments: str, cwd: Path | None = None, **environment: str):
    """`./dev up` with these arguments, killed at the end if it still runs."""
    clean = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(  # noqa: S603 - our own script
        [ROOT / "dev", "up", *arguments],
        cwd=cwd or ROOT,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        process.stderr.close()


def refusal(*arguments: str, **environment: str) -> str:
    """The only line of a start that fails."""
    with started(*arguments, **environment) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, (out, err)
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if not line.endswith("…")]
    assert len(lines) == 1, err
    return lines[0]


def client_of(ready: dict) -> Client:
    host, port = ready["url"].removeprefix("http://").removesuffix("/mcp").split(":")
    return Client(host, int(port), ready["key"])


def leftovers(data: Path) -> list[str]:
    """The processes that have *data* in their command line or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            cwd = str((process / "cwd").readlink())
            if cwd.startswith(str(data)) and "postgres" in (process / "cmdline").read_text():
                found.append(process.name)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with a space in its path, kept over the tests of this file."""
    folder = tmp_path_factory.mktemp("a data folder") / "here"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_first_start_prints_one_line_and_a_key_that_works(data):
    with started("--json", "--port", "0", "--data", str(data), cwd=Path("/")) as process:
        ready = json.loads(process.stdout.readline())
        assert ready.keys() == {"url", "key", "workspace", "signIn", "pid"}
        assert ready["workspace"] == "demo"
        client = client_of(ready)
        names = [project["name"] for project in client.call("get_projects")["items"]]
        assert "Web Shop" in names
        client.close()
        os.kill(ready["pid"], signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == ""
    assert leftovers(data) == []
    assert (data / "demo-key").stat().st_mode & 0o777 == 0o600


def test_second_start_has_the_same_key_and_data_and_is_readable(data):
    key = (data / "demo-key").read_text().strip()
    with started("--port", "0", "--data", str(data)) as process:
        shown = ""
        while "Ctrl-C" not in shown:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            shown += line
        assert f"API key    {key}" in shown
        assert "claude mcp add --transport http testorchestrator http://127.0.0.1:" in shown
        assert '"mcpServers"' in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert leftovers(data) == []


def test_after_kill_9_the_next_start_recovers(data):
    with started("--json", "--port", "0", "--data", str(data)) as process:
        ready = json.loads(process.stdout.readline())
        client = client_of(ready)
        project = client.call("get_projects")["items"][0]["id"]
        made = client.call("create_test_case", project=project, title="Written before the crash")
        client.close()
        os.kill(ready["pid"], signal.SIGKILL)
        process.wait(PATIENCE)
    with started("--json", "--port", "0", "--data", str(data)) as process:
        again = json.loads(process.stdout.readline())
        assert again["key"] == ready["key"]
        client = client_of(again)
        assert client.call("get_test_case", project=project, caseId=made["id"]) == made
        client.close()

    assert leftovers(data) == []


def test_two_at_once_on_one_folder_are_refused(data):
    with started("--json", "--port", "0", "--data", str(data)) as process:
        json.loads(process.stdout.readline())
        line = refusal("--port", "0", "--data", str(data))
        assert str(data) in line.replace("\n", "")


def test_busy_port_is_refused_before_anything_is_made(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal("--port", str(port), "--data", str(tmp_path / "never"))
    assert line == f"error: Port {port} is in use: stop what uses it, or choose another with --port."
    assert not (tmp_path / "never").exists()


async def test_database_url_is_used_instead_of_our_own_server(postgres, tmp_path):
    name = f"up_{time.time_ns()}"
    root = await connect(postgres.dsn(), name="the test server")
    await root.execute(f"CREATE DATABASE {name}")
    url = postgres.dsn(database=name)
    try:
        for _ in range(2):
            with started("--json", "--port", "0", "--data", str(tmp_path), DATABASE_URL=url) as process:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                client = client_of(json.loads(line))
                assert client.call("get_projects")["total"] == 2
                client.close()
        assert not (tmp_path / "postgres").exists()
    finally:
        await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await root.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://nobody:secret-word@127.0.0.1:1/x", "no connection"),
        ("postgresql://nobody:secret-word@no-such-host.invalid/x", "host name"),
        ("not a url: secret-word", "postgresql://"),
        ("mysql://root:secret-word@localhost/x", "postgresql://"),
    ],
)
def test_wrong_database_url_is_one_line_without_the_password(url, told, tmp_path):
    line = refusal("--port", "0", "--data", str(tmp_path), DATABASE_URL=url)
    assert line.startswith("error: DATABASE_URL")
    assert told in line
    assert "secret-word" not in line


def test_unknown_setting_is_refused(tmp_path):
    line = refusal("--port", "0", "--data", str(tmp_path), TESTORCHESTRATOR_POOL_SIZ="5")
    assert "TESTORCHESTRATOR_POOL_SIZ" in line


def test_data_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_text("not a database")
    assert str(tmp_path) in refusal("--port", "0", "--data", str(tmp_path))
