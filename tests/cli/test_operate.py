"""The operator's commands, as processes: migrate, workspace, key, serve."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.roles import APP
from tests.conftest import Client

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-P", "-m", "service.cli"]
PATIENCE = 60


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    return subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, *arguments], env=clean | environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@pytest.fixture
async def empty_database(postgres):
    """The URL of a database in which nothing has been done."""
    name = f"operate_{time.time_ns()}"
    root = await connect(postgres.dsn(), name="the test server")
    await root.execute(f"CREATE DATABASE {name}")
    yield postgres.dsn(database=name), postgres.dsn(user=APP, database=name)
    await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await root.close()


async def test_from_an_empty_database_to_a_served_workspace(empty_database):
    admin_url, service_url = empty_database
    for moved in ("0 workspaces", "0 workspaces"):
        migrated = run("migrate", DATABASE_URL=admin_url)
        assert (migrated.returncode, moved in migrated.stdout) == (0, True), migrated.stderr
    made = run(
        "workspace", "create", "acme-qa", "--admin-email", "ann@acme.example", "--admin-name", "Ann", "--json",
        DATABASE_URL=admin_url,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    first_key = json.loads(made.stdout)["key"]
    listed = run("workspace", "list", "--json", DATABASE_URL=admin_url)
    assert [(one["workspace"], one["state"]) for one in json.loads(listed.stdout)] == [("acme-qa", "active")]
    second = run("key", "create", "acme-qa", "--email", "ann@acme.example", "--json", DATABASE_URL=admin_url)
    second_key = json.loads(second.stdout)["key"]
    assert first_key != second_key

    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"} | {"SERVICE_DATABASE_URL": service_url}
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        [*COMMAND, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True
    ) as serving:
        try:
            port = int(re.search(r'"port": ?(\d+)', serving.stderr.readline())[1])
            for key in (first_key, second_key):
                client = Client("127.0.0.1", port, key)
                assert client.call("get_projects") == {"items": [], "total": 0}
                client.close()
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(PATIENCE) == 0
        finally:
            serving.kill()


async def test_strict_mode_from_an_empty_database_to_a_served_workspace(empty_database):
    admin_url, service_url = empty_database
    strict = {"TESTORCHESTRATOR_STRICT_SECRET": "thirty-two characters of the operator"}
    create = ("workspace", "create", "--admin-email", "ann@acme.example", "--admin-name", "Ann", "--json")
    assert run("migrate", DATABASE_URL=admin_url).returncode == 0
    before = json.loads(run(*create, "before", DATABASE_URL=admin_url).stdout)
    assert run("migrate", DATABASE_URL=admin_url, **strict).returncode == 0
    after = json.loads(run(*create, "after", DATABASE_URL=admin_url, **strict).stdout)
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        [*COMMAND, "serve", "--port", "0"],
        env=environment | strict | {"SERVICE_DATABASE_URL": service_url},
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        try:
            port = int(re.search(r'"port": ?(\d+)', serving.stderr.readline())[1])
            for made in (before, after):
                client = Client("127.0.0.1", port, made["key"])
                assert client.call("get_projects") == {"items": [], "total": 0}
                client.close()
            root = await connect(admin_url, name="the test server")
            rows = await root.fetch("SELECT usename FROM pg_stat_activity WHERE datname = current_database()")
            await root.close()
            assert {before["schema"], after["schema"]} <= {row["usename"] for row in rows}
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait(PATIENCE)


async def test_migrate_gives_the_login_the_password_of_the_service_url(empty_database, postgres):
    admin_url, _ = empty_database
    secret = "p@ss/word"
    service_url = "postgresql://testorchestrator_app:p%40ss%2Fword@db.example/x"
    assert run("migrate", DATABASE_URL=admin_url, SERVICE_DATABASE_URL=service_url).returncode == 0
    root = await connect(postgres.dsn(), name="the test server")
    stored = await root.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", APP)
    await root.execute(f"ALTER ROLE {APP} PASSWORD NULL")
    await root.close()
    assert stored.startswith("SCRAM-SHA-256$4096:")
    assert secret not in stored


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["migrate"], {}, "DATABASE_URL is not set"),
        (
            ["migrate"],
            {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "TESTORCHESTRATOR_STRICT_SECRET": "short"},
            "use 32 characters or more",
        ),
        (
            ["migrate"],
            {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "TESTORCHESTRATOR_CITUS": "perhaps"},
            "use auto, on or off",
        ),
        (["serve"], {}, "SERVICE_DATABASE_URL"),
        (["serve"], {"SERVICE_DATABASE_URL": "nonsense secret-word"}, "postgresql://"),
        (["serve", "--port", "99999"], {"SERVICE_DATABASE_URL": "postgresql://x"}, "PORT"),
        (
            ["serve"],
            {"SERVICE_DATABASE_URL": "postgresql://x", "TESTORCHESTRATOR_POOL_SIZE": "secret-word"},
            "POOL_SIZE",
        ),
    ],
)
def test_unusable_setting_is_one_line(arguments, environment, told):
    done = run(*arguments, **environment)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret-word" not in done.stderr


async def test_serve_refuses_a_database_that_does_not_isolate(empty_database):
    admin_url, _ = empty_database
    assert run("migrate", DATABASE_URL=admin_url).returncode == 0
    done = run("serve", "--port", "0", SERVICE_DATABASE_URL=admin_url)
    assert done.returncode == 1
    assert "a superuser" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["workspace", "create", "A b", "--admin-email", "a@b.example", "--admin-name", "A"], "no workspace name"),
        (["workspace", "create", "www", "--admin-email", "a@b.example", "--admin-name", "A"], "reserved"),
        (["workspace", "create", "acme", "--admin-email", "nonsense", "--admin-name", "A"], "e-mail"),
        (["key", "create", "nowhere", "--email", "a@b.example"], "no workspace 'nowhere'"),
    ],
)
async def test_bad_input_is_one_line_and_leaves_nothing(arguments, told, empty_database):
    admin_url, _ = empty_database
    run("migrate", DATABASE_URL=admin_url)
    done = run(*arguments, DATABASE_URL=admin_url)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    connection = await asyncpg.connect(admin_url)
    assert await connection.fetchval("SELECT count(*) FROM control.workspaces") == 0
    await connection.close()


async def test_names_of_workspaces_are_completed_from_the_database(world, tmp_path):
    file = tmp_path / "url"
    file.write_text(world.admin_url)
    for environment in ({"DATABASE_URL": world.admin_url}, {"DATABASE_URL_FILE": str(file)}):
        for line, offered in (
            ("testorchestrator workspace suspend ", ["acme", "globex"]),
            ("testorchestrator key list --workspace gl", ["globex"]),
            ("testorchestrator workspace verify x.zip --against ac", ["acme"]),
            ("testorchestrator workspace suspend x", []),
        ):
            done = run(
                _TESTORCHESTRATOR_COMPLETE="complete_bash",
                COMP_WORDS=line,
                COMP_CWORD=str(len(line.split(" ")) - 1),
                **environment,
            )
            assert (done.stdout.split(), done.stderr) == (offered, "")


async def test_a_broken_pipe_of_a_list_is_silent(world):
    command = shlex.join([*COMMAND, "workspace", "list"])
    for option in ("", " --json"):
        done = subprocess.run(  # noqa: ASYNC221, S603 - our own program
            ["/bin/sh", "-c", f"{command}{option} | true"],
            env=os.environ | {"DATABASE_URL": world.admin_url}, capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.stderr == ""
