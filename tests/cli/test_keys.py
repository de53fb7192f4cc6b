"""The commands for who may come in, as processes, against two services of one database."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from service.cli.keys import new_key
from tenancy.catalog import require_workspace
from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.keys import hash_key
from tenancy.roles import APP
from tests.conftest import Client, make_tenant, new_database, serving

COMMAND = [sys.executable, "-P", "-m", "service.cli"]
PATIENCE = 60
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


@pytest.fixture(scope="module")
async def two_services(postgres):
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(user=APP, database=name)
        with serving(url) as first, serving(url) as second:
            tenant = await make_tenant(admin, "initech", host=first[0], port=first[1])
            await make_tenant(admin, "bystander", host=first[0], port=first[1])
            yield admin, postgres.dsn(database=name), tenant, (first, second)


@pytest.fixture
def command(two_services):
    """Runs a command with --json and returns what it prints, or its one line on standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}

    def run(*arguments: str):
        done = subprocess.run(  # noqa: S603 - our own program
            [*COMMAND, *arguments, "--json"],
            env=clean | {"DATABASE_URL": two_services[1]},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if done.returncode:
            assert (done.returncode, done.stdout) == (1, "")
            assert len(done.stderr.splitlines()) == 1
            return done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return run


@pytest.fixture
def new(command):
    """A new key of initech's tester, by the command."""

    def make(*options: str) -> str:
        return command("key", "create", "initech", "--email", "tester@initech.example", *options)["key"]

    return make


def statuses(services, key: str) -> list[int]:
    found = []
    for host, port in services:
        client = Client(host, port, key)
        found.append(client.post(PING)[0])
        client.close()
    return found


def test_list_shows_what_each_key_is_and_never_the_key(command, new, two_services):
    key = new("--label", "[red]CI[/]", "--expires-in-days", "7")
    found = command("key", "list", "--workspace", "initech", "--user", "Tester@initech.example")
    assert {one["user"] for one in found} == {"tester@initech.example"}
    mine = found[-1]
    assert mine.keys() == {"id", "user", "label", "prefix", "state", "createdAt", "expiresAt"}
    assert (mine["label"], mine["prefix"], mine["state"]) == ("[red]CI[/]", key[:12], "active")
    assert statuses(two_services[3], key) == [200, 200]
    everybody = command("key", "list", "--workspace", "initech")
    assert {one["user"] for one in everybody} >= {"lead@initech.example", "tester@initech.example"}
    assert "lastUsedAt" in next(one for one in everybody if one["id"] == mine["id"])
    assert key not in json.dumps(everybody)


def test_list_for_people_is_a_table(two_services, new):
    new("--label", "[red]for people[/]")
    done = subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, "key", "list", "--workspace", "initech"],
        env=os.environ | {"DATABASE_URL": two_services[1], "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert "[red]for people[/]" in done.stdout
    assert "last used" in done.stdout


def test_revoked_key_is_refused_by_every_service_at_once(command, new, two_services):
    key, other = new(), new()
    assert statuses(two_services[3], key) == [200, 200]
    key_id = next(one["id"] for one in command("key", "list", "--workspace", "initech") if one["prefix"] == key[:12])
    assert command("key", "revoke", "--workspace", "initech", str(key_id))["changed"]
    assert statuses(two_services[3], key) == [401, 401]
    assert statuses(two_services[3], other) == [200, 200]
    assert not command("key", "revoke", "--workspace", "initech", str(key_id))["changed"]
    [state] = [one["state"] for one in command("key", "list", "--workspace", "initech") if one["id"] == key_id]
    assert state == "revoked"


def test_key_of_another_workspace_cannot_be_revoked(command, two_services):
    _, _, tenant, services = two_services
    mine = command("key", "list", "--workspace", "initech", "--user", "viewer@initech.example")[0]["id"]
    assert "Workspace bystander has no key" in command("key", "revoke", "--workspace", "bystander", str(mine))
    assert statuses(services, tenant.people["viewer"].key) == [200, 200]


async def test_deactivated_user_is_refused_at_once_and_gets_no_new_key(command, new, two_services):
    admin, _, tenant, services = two_services
    schema = tenant.workspace.schema_name
    key = new()
    assert statuses(services, key) == [200, 200]
    try:
        done = command("user", "deactivate", "--workspace", "initech", "tester@initech.example")
        assert done == {"workspace": "initech", "user": "tester@initech.example", "active": False, "changed": True}
        assert statuses(services, key) == [401, 401]
        assert "is deactivated" in command("key", "create", "initech", "--email", "tester@initech.example")
    finally:
        command("user", "activate", "--workspace", "initech", "tester@initech.example")
    assert statuses(services, key) == [200, 200]
    rows = await admin.fetch(
        f"SELECT user_id, api_key_id, tool, action, object_type, version_after - version_before AS versions, details "
        f"FROM {schema}.audit_log WHERE object_id = $1 AND object_type = 'user' ORDER BY id",
        tenant.people["tester"].id,
    )
    assert [tuple(row) for row in rows][1:] == [
        (None, None, "user deactivate", "update", "user", 1, {"active": {"from": True, "to": False}}),
        (None, None, "user activate", "update", "user", 1, {"active": {"from": False, "to": True}}),
    ]


def test_deactivating_twice_is_no_second_change(command):
    try:
        answers = [command("user", "deactivate", "--workspace", "initech", "viewer@initech.example") for _ in range(2)]
    finally:
        command("user", "activate", "--workspace", "initech", "viewer@initech.example")
    assert [answer["changed"] for answer in answers] == [True, False]


async def test_key_that_is_made_while_its_owner_is_deactivated_is_not_made(two_services):
    """Otherwise it would be one that the deactivation did not stop."""
    admin, url, tenant, _ = two_services
    second = await connect(url, name="second")
    where = await require_workspace(admin, "initech")

    async def make() -> str:
        async with second.transaction():
            return await new_key(second, where, "outsider@initech.example", label="late")

    async with admin.transaction():
        await admin.execute(
            f"UPDATE {tenant.workspace.schema_name}.users SET active = false WHERE email = 'outsider@initech.example'"
        )
        making = asyncio.create_task(make())
        while not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not making.done()
    with pytest.raises(TenancyError, match="is deactivated"):
        await making
    await second.close()


async def test_suspended_workspace_is_refused_at_once_and_its_neighbour_is_not(command, two_services):
    admin, _, tenant, services = two_services
    key = tenant.people["lead"].key
    [neighbour] = await admin.fetch("SELECT id, slug FROM control.workspaces WHERE slug = 'bystander'")
    assert statuses(services, key) == [200, 200]
    try:
        assert command("workspace", "suspend", "initech") == {
            "workspace": "initech", "state": "suspended", "changed": True,
        }  # fmt: skip
        assert not command("workspace", "suspend", "initech")["changed"]
        assert statuses(services, key) == [401, 401]
        found = command("key", "list", "--workspace", "initech", "--user", "lead@initech.example")
        assert {one["state"] for one in found} == {"workspace suspended"}
        assert {one["state"] for one in command("key", "list", "--workspace", "bystander")} == {"active"}
    finally:
        assert command("workspace", "resume", "initech")["changed"]
    assert statuses(services, key) == [200, 200]
    noted = await admin.fetch("SELECT operation FROM control.operations WHERE workspace_id = $1", tenant.workspace.id)
    assert {"workspace.suspend", "workspace.resume"} <= {row["operation"] for row in noted}
    assert not await admin.fetchval(
        "SELECT count(*) FROM control.operations WHERE workspace_id = $1 AND operation <> 'workspace.create'",
        neighbour["id"],
    )


async def test_expired_key_is_refused_by_every_service_at_once(command, new, two_services):
    admin, _, _, services = two_services
    key = new("--expires-in-days", "1")
    assert statuses(services, key) == [200, 200]
    await admin.execute(
        "UPDATE control.api_keys SET created_at = now() - interval '2 days', expires_at = now() WHERE hash = $1",
        hash_key(key),
    )
    assert statuses(services, key) == [401, 401]
    found = command("key", "list", "--workspace", "initech")
    assert [one["state"] for one in found if one["prefix"] == key[:12]] == ["expired"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["key", "list", "--workspace", "nowhere"], "no workspace 'nowhere'"),
        (["key", "list", "--workspace", "initech", "--user", "nobody@x.example"], "no user with the e-mail"),
        (["key", "revoke", "--workspace", "initech", "999999"], "has no key 999999"),
        (["user", "deactivate", "--workspace", "initech", "nobody@x.example"], "no user with the e-mail"),
        (["user", "activate", "--workspace", "nowhere", "nobody@x.example"], "no workspace 'nowhere'"),
        (["workspace", "suspend", "nowhere"], "no workspace 'nowhere'"),
        (["workspace", "resume", "nowhere"], "no workspace 'nowhere'"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(arguments, told, command):
    assert told in command(*arguments)
