"""The operator's commands for workspaces, one or all: create from a file, list, show, rename, delete, migrate."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from migrations.trees import Tree, head
from service.cli.main import app
from tenancy.catalog import find_workspace
from tenancy.connection import connect
from tenancy.roles import APP
from tests.conftest import Client, make_tenant, new_database, serving
from tests.releases import next_release

NOW = head(Tree.WORKSPACE)


@dataclass(frozen=True)
class Operator:
    """The command line on a database of its own, without a process for each command."""

    url: str
    admin: Any

    async def run(self, *arguments: str, given: str | None = None):
        environment = {"DATABASE_URL": self.url, "SERVICE_DATABASE_URL": None, "TESTORCHESTRATOR_STRICT_SECRET": None}
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment, input=given)

    async def done(self, *arguments: str) -> Any:
        """Return the JSON that a command printed."""
        result = await self.run(*arguments, "--json")
        assert result.exit_code == 0, (result.stderr, result.exception)
        return json.loads(result.stdout)

    async def refused(self, *arguments: str) -> str:
        """Return what a command said when it refused."""
        result = await self.run(*arguments)
        assert result.exit_code != 0
        return f"{result.exception} {result.stderr}"


@pytest.fixture
async def operator(postgres):
    async with new_database(postgres) as (name, admin):
        yield Operator(postgres.dsn(database=name), admin)


CUSTOMERS = """slug,name,admin_email,admin_name
acme,Acme GmbH,ann@acme.example,Ann Lee
globex,,gus@globex.example,Gus
initech,Initech,no e-mail,Ina
"""


async def test_many_are_created_from_a_file_and_a_second_run_makes_only_what_is_missing(operator, postgres, tmp_path):
    file, keys_file = tmp_path / "customers.csv", tmp_path / "keys.jsonl"
    file.write_text(CUSTOMERS)
    command = ("workspace", "create", "--from", str(file), "--connections", "2")
    first = await operator.run(*command)
    assert first.exit_code == 1
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    assert {line["workspace"]: line["user"] for line in lines} == {
        "acme": "ann@acme.example",
        "globex": "gus@globex.example",
    }
    assert "initech: This is no e-mail address" in first.stderr
    assert [(one["workspace"], one["name"]) for one in await operator.done("workspace", "list")] == [
        ("acme", "Acme GmbH"),
        ("globex", "globex"),
    ]
    file.write_text(CUSTOMERS.replace("no e-mail", "ina@initech.example"))
    second = await operator.run(*command, "--keys-to", str(keys_file))
    assert (second.exit_code, second.stdout) == (0, "")
    assert "left as they are: acme, globex" in second.stderr
    [kept] = map(json.loads, keys_file.read_text().splitlines())
    assert kept["workspace"] == "initech"
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600

    with serving(postgres.dsn(user=APP, database=operator.url.split("/")[-1].split("?")[0])) as (host, port):
        for line in (*lines, kept):
            client = Client(host, port, line["key"])
            assert client.call("get_projects")["total"] == 0
            client.close()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "slug,admin_email\nacme,a@b.example\n", "entry 1: admin_name is missing"),
        ("a.csv", "slug,admin_email,admin_name,colour\nacme,a@b.example,Ann,red\n", "'colour' is not known"),
        ("a.csv", "slug,admin_email,admin_name\nA B,a@b.example,Ann\n", "entry 1: 'A B' is no workspace name"),
        ("a.csv", "slug,admin_email,admin_name\n" + 2 * "acme,a@b.example,Ann\n", "'acme' more than once"),
        ("a.json", '{"slug": "acme"}', "give a list of objects"),
        ("a.json", "[", "neither CSV nor JSON"),
        ("a.json", '[{"slug": 7, "admin_email": "a@b.example", "admin_name": "Ann"}]', "entry 1: slug is missing"),
        ("none.csv", None, "No such file"),
    ],
)
async def test_a_file_that_is_not_right_creates_nothing(name, text, told, operator, tmp_path):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    assert told in await operator.refused("workspace", "create", "--from", str(file))
    assert await operator.admin.fetchval("SELECT count(*) FROM control.workspaces") == 0


async def test_a_json_file_does_too(operator, tmp_path):
    file = tmp_path / "customers.json"
    file.write_text(json.dumps([{"slug": "acme", "admin_email": "ann@acme.example", "admin_name": "Ann"}]))
    assert (await operator.run("workspace", "create", "--from", str(file))).exit_code == 0
    assert await find_workspace(operator.admin, "acme") is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["workspace", "create"], "it is missing"),
        (["workspace", "create", "acme", "--from", "x.csv"], "stands alone"),
        (["workspace", "rename", "acme"], "say what to change"),
        (["workspace", "list", "--state", "asleep"], "asleep"),
        (["workspace", "stats", "--sort", "colour"], "colour"),
        (["migrate", "--sql"], "goes with --dry-run"),
        (["migrate", "--connections", "0"], "--connections"),
    ],
)
async def test_wrong_usage_is_code_2(arguments, told, operator):
    result = await operator.run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


async def test_list_filters(operator):
    for slug in ("acme-eu", "acme-us", "globex"):
        await make_tenant(operator.admin, slug, host="", port=0)
    await operator.done("workspace", "suspend", "acme-us")
    await operator.admin.execute("UPDATE control.workspaces SET schema_version = 'old' WHERE slug = 'globex'")

    async def found(*options: str) -> list[str]:
        return [one["workspace"] for one in await operator.done("workspace", "list", *options)]

    assert await found("--state", "suspended") == ["acme-us"]
    assert await found("--search", "ACME") == ["acme-eu", "acme-us"]
    assert await found("--search", "ACME", "--state", "active") == ["acme-eu"]
    assert await found("--version", "old") == ["globex"]
    assert await found("--search", "%") == []


async def test_show_and_stats_tell_what_is_there(operator, postgres):
    database = await operator.admin.fetchval("SELECT current_database()")
    with serving(postgres.dsn(user=APP, database=database)) as (host, port):
        acme = await make_tenant(operator.admin, "acme", host=host, port=port)
        idle = await make_tenant(operator.admin, "idle", host=host, port=port)
        client = acme.client()
        for title in ("First", "Second"):
            client.call("create_test_case", project=acme.project, title=title)
        client.close()
    shown = await operator.done("workspace", "show", "acme")
    told = ("state", "schemaVersion", "users", "activeUsers", "projects", "cases", "runs", "keys", "migrationError")
    assert [shown[name] for name in told] == ["active", NOW, 4, 4, 2, 2, 0, 4, None]
    assert shown["bytes"] > 500_000
    assert shown["lastUsedAt"] >= shown["createdAt"]
    for tenant in (acme, idle):
        # Rows are told by statistics, which backends report at their leisure.
        schema = tenant.workspace.schema_name
        await operator.admin.execute(f"ANALYZE {schema}.users, {schema}.cases, {schema}.case_versions")
    by_use = await operator.done("workspace", "stats", "--sort", "last-use")
    assert [(one["workspace"], one["keys"]) for one in by_use] == [("acme", 4), ("idle", 4)]
    assert by_use[0]["rows"] > by_use[1]["rows"] > 0
    assert by_use[0]["bytes"] > 0
    assert by_use[1]["lastUsedAt"] is None
    for command in (["workspace", "show", "acme"], ["workspace", "stats"]):
        text = await operator.run(*command)
        assert "acme" in text.stdout
        assert " MB" in text.stdout
    assert "no workspace 'nobody'" in await operator.refused("workspace", "show", "nobody")


async def test_a_renamed_workspace_keeps_its_keys(operator, postgres):
    database = await operator.admin.fetchval("SELECT current_database()")
    with serving(postgres.dsn(user=APP, database=database)) as (host, port):
        acme = await make_tenant(operator.admin, "acme", host=host, port=port)
        await make_tenant(operator.admin, "taken", host=host, port=port)
        renamed = await operator.done("workspace", "rename", "acme", "--to", "acme-eu", "--name", "Acme Europe")
        assert renamed == {"workspace": "acme-eu", "was": "acme", "name": "Acme Europe"}
        client = acme.client()
        assert client.call("get_projects")["total"] == 1
        client.close()
    for bad, told in (("taken", "is a workspace 'taken' already"), ("www", "reserved"), ("A", "no workspace name")):
        assert told in await operator.refused("workspace", "rename", "acme-eu", "--to", bad)
    assert "no workspace 'acme'" in await operator.refused("workspace", "rename", "acme", "--name", "X")
    found = await find_workspace(operator.admin, "acme-eu")
    assert (found.name, found.schema_name) == ("Acme Europe", acme.workspace.schema_name)
    noted = await operator.admin.fetchval("SELECT details FROM control.operations WHERE operation = 'workspace.rename'")
    assert noted == {"slug": ["acme", "acme-eu"], "name": ["Acme", "Acme Europe"]}


async def test_delete_comes_after_suspend_and_leaves_nothing(operator, postgres):
    database = await operator.admin.fetchval("SELECT current_database()")
    acme = await make_tenant(operator.admin, "acme", host="", port=0)
    schema = acme.workspace.schema_name
    delete = ("workspace", "delete", "acme", "--confirm", "acme")
    assert "suspend acme comes first" in await operator.refused(*delete)
    await operator.done("workspace", "suspend", "acme")
    for confirm in ([], ["--confirm", "acne"]):
        assert "Nothing is deleted" in await operator.refused("workspace", "delete", "acme", *confirm)
    assert await operator.admin.fetchval("SELECT state FROM control.workspaces") == "suspended"

    # Somebody still reads in it: it is closed to requests, and can be deleted later.
    busy = await connect(postgres.dsn(database=database), name="busy")
    await busy.execute(f"BEGIN; SELECT count(*) FROM {schema}.cases")
    assert "delete it again when they have ended" in await operator.refused(*delete)
    await busy.close()
    assert await operator.admin.fetchval("SELECT state FROM control.workspaces") == "deleting"
    assert "is being deleted" in await operator.refused("workspace", "resume", "acme")
    assert "is being deleted" in await operator.refused("workspace", "rename", "acme", "--name", "X")

    assert await operator.done(*delete) == {"workspace": "acme", "state": "deleted"}
    for query in (
        "SELECT count(*) FROM control.workspaces",
        "SELECT count(*) FROM control.api_keys",
        f"SELECT count(*) FROM pg_roles WHERE rolname = '{schema}'",
        f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'",
    ):
        assert await operator.admin.fetchval(query) == 0
    noted = await operator.admin.fetchval("SELECT details FROM control.operations WHERE operation = 'workspace.delete'")
    assert noted == {"slug": "acme", "name": "Acme", "schema": schema}
    assert "no workspace 'acme'" in await operator.refused(*delete)


async def test_keys_of_a_workspace_that_is_being_deleted_are_refused_at_once(operator, postgres):
    database = await operator.admin.fetchval("SELECT current_database()")
    with serving(postgres.dsn(user=APP, database=database)) as (host, port):
        acme = await make_tenant(operator.admin, "acme", host=host, port=port)
        other = await make_tenant(operator.admin, "other", host=host, port=port)
        clients = [acme.client(), other.client()]
        assert [client.call("get_projects")["total"] for client in clients] == [1, 1]
        await operator.done("workspace", "suspend", "acme")
        await operator.done("workspace", "delete", "acme", "--confirm", "acme")
        assert [client.post(b"{}")[0] for client in clients] == [401, 400]
        for client in clients:
            client.close()


async def test_migrate_tells_what_it_does(operator):
    await make_tenant(operator.admin, "acme", host="", port=0)
    await operator.admin.execute("UPDATE control.workspaces SET schema_version = 'newer'")
    dry = await operator.done("migrate", "--dry-run", "--sql")
    assert (dry["controlStatements"], dry["skipped"]) == (0, {})
    assert dry["stages"] == [{"stage": "canary", "workspaces": ["acme"]}]
    done = await operator.done("migrate", "--connections", "2")
    assert (done["revision"], done["done"], done["failed"], done["stoppedAfter"]) == (NOW, 1, {}, None)
    text = await operator.run("migrate", "--dry-run")
    assert "No workspace has to move" in text.stdout


async def test_a_migration_that_fails_says_where_why_and_what_next(operator, tmp_path):
    for slug in ("acme", "globex"):
        await make_tenant(operator.admin, slug, host="", port=0)
    with next_release(tmp_path, 'op.execute("SELECT 1 / 0")'):
        result = await operator.run("migrate", "--canary", "globex", "--json")
        report = json.loads(result.stdout)
        assert (result.exit_code, report["done"], report["stoppedAfter"]) == (1, 0, "canary")
        assert report["failed"] == {"globex": "division by zero"}
        assert report["skipped"] == {"acme": "not tried after the stage canary"}
        shown = await operator.done("workspace", "show", "globex")
        assert (shown["schemaVersion"], shown["migrationError"]) == (NOW, "division by zero")
        text = await operator.run("migrate")
        assert text.exit_code == 1
        assert "failed acme: division by zero" in text.stderr
        assert "Stopped after the stage canary. When the reason is gone: testorchestrator migrate" in text.stderr
        assert "Skipped, not tried after the stage canary: globex" in text.stdout
