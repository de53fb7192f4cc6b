"""Which workspaces a release serves while some of them have moved to another revision."""

from __future__ import annotations

import json

import pytest

from migrations.trees import Tree, declared, head, known, statements
from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.keys import hash_key
from tenancy.release import Release, this_release
from tenancy.roles import APP
from tests.conftest import make_tenant, new_database, serving


@pytest.mark.unit
@pytest.mark.parametrize(
    ("schema_version", "compatible_from", "is_served"),
    [
        ("0003", "0003", True),
        ("0002", "0001", True),
        ("0001", "0001", False),
        ("0004", "0003", True),
        ("0004", "0001", True),
        ("0004", "0004", False),
        ("0009", "0005", False),
    ],
)
def test_a_release_serves_what_it_declares_and_what_declares_it(schema_version, compatible_from, is_served):
    release = Release(known=frozenset({"0001", "0002", "0003"}), served=frozenset({"0002", "0003"}))
    assert release.serves(schema_version, compatible_from) is is_served


@pytest.mark.unit
def test_every_revision_of_a_workspace_declares_its_range():
    release = this_release()
    assert release.serves(head(Tree.WORKSPACE), head(Tree.WORKSPACE))
    for revision in known(Tree.WORKSPACE):
        for name in ("compatible_from", "serves_from"):
            assert declared(revision, name) <= revision


@pytest.mark.unit
def test_a_revision_that_declares_nothing_is_told(monkeypatch):
    monkeypatch.setattr("migrations.trees.known", lambda _: frozenset())
    with pytest.raises(RuntimeError, match="declares no serves_to"):
        declared(head(Tree.WORKSPACE), "serves_to")


async def test_a_workspace_out_of_range_is_asked_to_wait_and_others_are_served(postgres):
    async with new_database(postgres) as (name, admin):
        with serving(postgres.dsn(user=APP, database=name)) as (host, port):
            ahead = await make_tenant(admin, "ahead", host=host, port=port)
            other = await make_tenant(admin, "other", host=host, port=port)
            clients = {tenant.workspace.slug: tenant.client() for tenant in (ahead, other)}
            call = json.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_projects", "arguments": {}}}
            ).encode()
            answers = []
            for version, compatible in (("9000", head(Tree.WORKSPACE)), ("9001", "9000"), ("0000", "0000")):
                await admin.execute(
                    "UPDATE control.workspaces SET schema_version = $1, compatible_from = $2 WHERE slug = 'ahead'",
                    version,
                    compatible,
                )
                status, headers, body = clients["ahead"].post(call)
                answers.append((status, headers.get("retry-after")))
                if status != 200:
                    assert "is being upgraded" in json.loads(body)["error"]["message"]
                assert clients["other"].post(call)[0] == 200
            for client in clients.values():
                client.close()
    assert answers == [(200, None), (503, "30"), (503, "30")]


async def test_processes_of_the_first_release_still_find_out_whose_a_key_is(postgres):
    async with new_database(postgres) as (name, admin):
        tenant = await make_tenant(admin, "acme", host="", port=0)
        login = await connect(postgres.dsn(user=APP, database=name), name="the login")
        row = await login.fetchrow(
            "SELECT workspace_id, schema_name, schema_version, user_id, api_key_id, touch_due "
            "FROM control.authenticate($1)",
            hash_key(tenant.people["lead"].key),
        )
        await login.close()
    assert (row["workspace_id"], row["user_id"]) == (tenant.workspace.id, tenant.people["lead"].id)


async def test_a_database_before_its_migration_is_not_served(postgres):
    async with new_database(postgres) as (name, admin):
        await admin.execute("DROP FUNCTION control.confirm_key(bigint, bigint, text, text, text)")
        with (
            pytest.raises(TenancyError, match=r"not at this release's schema .*Run: testorchestrator migrate"),
            serving(postgres.dsn(user=APP, database=name)),
        ):
            pass


async def test_control_moves_from_the_first_revision_while_the_first_release_works(postgres):
    make = (
        "INSERT INTO control.workspaces (slug, name, schema_name, schema_version) "
        "VALUES ($1::text, $1, 'w_' || $1, '0001')"
    )
    async with new_database(postgres) as (_, admin):
        await admin.execute("DROP SCHEMA control CASCADE; CREATE SCHEMA control AUTHORIZATION testorchestrator_control")
        for statement in statements(Tree.CONTROL, until="0001"):
            await admin.execute(statement)
        await admin.execute(make, "before")
        for statement in statements(Tree.CONTROL, "0001"):
            await admin.execute(statement)
        await admin.execute(make, "meanwhile")
        rows = await admin.fetch("SELECT slug, compatible_from FROM control.workspaces ORDER BY slug")
    assert [tuple(row) for row in rows] == [("before", "0001"), ("meanwhile", "0001")]
