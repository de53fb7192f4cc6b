"""`doctor` as a process: its tables, its JSON, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tenancy.provision import create_workspace
from tenancy.roles import APP
from tests.conftest import new_database

COMMAND = [sys.executable, "-P", "-m", "service.cli", "doctor"]
PATIENCE = 60


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    return subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, *arguments], env=clean | environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@pytest.fixture
async def database(postgres):
    """A database with two workspaces: a superuser's connection, its URL, the service's URL, and a schema."""
    async with new_database(postgres) as (name, admin):
        made = [await create_workspace(admin, slug=slug, name=slug) for slug in ("one", "two")]
        yield admin, postgres.dsn(database=name), postgres.dsn(user=APP, database=name), made[0].schema_name


async def test_sound_database(database):
    _, url, service_url, _ = database
    done = doctor(DATABASE_URL=url, SERVICE_DATABASE_URL=service_url)
    assert (done.returncode, done.stderr) == (0, "")
    for told in ("Who may become whom", "2 workspaces, each reached by its own role only.", "set_config", "Sound."):
        assert told in done.stdout
    document = json.loads(doctor("--json", DATABASE_URL=url).stdout)
    assert document["sound"]
    assert document["workspaces"] == {"total": 2, "sound": 2}
    assert document["refusals"] == document["findings"] == []
    [login] = [row for row in document["roles"] if row["role"] == APP]
    assert {name for name, value in login.items() if value is True} == {"login"}
    ways_in = [row for row in document["memberships"] if row["member"] == APP]
    assert [(row["inherit"], row["set"], row["admin"]) for row in ways_in] == [(False, True, False)] * 3
    assert {row["callers"] for row in document["functions"]} == {
        "postgres", "postgres, testorchestrator_app", "postgres, testorchestrator_owner",
    }  # fmt: skip


async def test_weak_database_names_what_mends_it(database):
    admin, url, service_url, schema = database
    await admin.execute(
        f"GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO PUBLIC; "
        f"GRANT UPDATE ON {schema}.audit_log TO {schema}"
    )
    mend = f"REVOKE UPDATE ON TABLE {schema}.audit_log FROM {schema}"
    done = doctor(DATABASE_URL=url, SERVICE_DATABASE_URL=service_url)
    assert (done.returncode, done.stderr) == (1, "")
    assert "The service refuses to start on this:\n  everybody may call pg_catalog.set_config\n" in done.stdout
    assert f"its role has UPDATE on audit_log (workspace one)\n    {mend}\n" in done.stdout
    assert "testorchestrator migrate" in done.stdout
    assert "2 workspaces, of which 1 are as they should be." in done.stdout
    weak = doctor("--json", DATABASE_URL=url)
    assert weak.returncode == 1
    document = json.loads(weak.stdout)
    assert not document["sound"]
    assert document["refusals"] == ["everybody may call pg_catalog.set_config"]
    assert {"what": "its role has UPDATE on audit_log", "mend": [mend], "workspaces": ["one"]} in document["findings"]


async def test_service_url_of_a_superuser_is_weak(database):
    _, url, _, _ = database
    done = doctor("--json", DATABASE_URL=url, SERVICE_DATABASE_URL=url)
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["findings"][0]["what"] == "the service logs in as postgres"
    assert "the login postgres is a superuser" in document["refusals"]


async def test_database_that_was_never_migrated(postgres, database):
    admin, *_ = database
    await admin.execute("CREATE DATABASE doctor_never_migrated")
    try:
        done = doctor("--json", DATABASE_URL=postgres.dsn(database="doctor_never_migrated"))
    finally:
        await admin.execute("DROP DATABASE doctor_never_migrated WITH (FORCE)")
    assert done.returncode == 1
    assert [finding["mend"] for finding in json.loads(done.stdout)["findings"]] == [["testorchestrator migrate"]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgresql://nobody:secret-word@127.0.0.1:1/x"}, "no connection"),
        ({"DATABASE_URL": "{service_url}"}, "Only a superuser sees all of it"),
        ({"DATABASE_URL": "{url}", "SERVICE_DATABASE_URL": "nonsense secret-word"}, "SERVICE_DATABASE_URL is not"),
    ],
)
async def test_where_it_cannot_look_the_exit_code_is_two(given, told, database):
    _, url, service_url, _ = database
    environment = {name: value.format(url=url, service_url=service_url) for name, value in given.items()}
    done = doctor(**environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret-word" not in done.stderr
