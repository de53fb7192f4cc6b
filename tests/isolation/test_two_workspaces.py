"""Over HTTP: another workspace's objects are not there, and a key that stops working does so everywhere at once."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest

from service.tools.catalog import TOOLS
from tenancy.catalog import set_state
from tenancy.connection import connect
from tenancy.keys import create_key, hash_key, revoke_key, set_owner_active
from tenancy.provision import create_workspace
from tests.conftest import Client, make_tenant, new_database, serving
from tests.tools.conftest import SORTS, Sql, example, make_objects, sort_of

PLACES = [
    (tool, argument)
    for tool in TOOLS
    for argument in [
        *["project"][: tool.in_project],
        *[name for name in tool.listing()["inputSchema"]["properties"] if name in SORTS or name == "parentId"],
    ]
]


@pytest.fixture(scope="module")
async def root(world):
    connection = await connect(world.admin_url, name="root")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def own(root, acme):
    sql = Sql(root, acme.workspace.schema_name)
    return await make_objects(sql, acme, await sql.new_project("two workspaces"))


@pytest.fixture(scope="module")
async def foreign(root, globex):
    sql = Sql(root, globex.workspace.schema_name)
    # The first projects of both workspaces have the same ids.
    return await make_objects(sql, globex, await sql.new_project("two workspaces"))


def answer(client: Client, tool: str, arguments: dict, asked: int) -> tuple[int, dict[str, str], bytes]:
    """Return everything that comes back, with the id that was asked for blotted out."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    status, headers, body = client.post(json.dumps(call).encode())
    del headers["date"]
    return status, headers, re.sub(rb"\b%d\b" % asked, b"ID", body)


@pytest.mark.parametrize(("tool", "argument"), PLACES, ids=[f"{tool.name}-{argument}" for tool, argument in PLACES])
def test_id_of_another_workspace_is_a_missing_id(tool, argument, client, own, foreign):
    arguments = example(tool)
    for name in arguments.keys() & {*SORTS, "project", "parentId"}:
        mine = own.project if name == "project" else own.ids[sort_of(tool, name)]
        arguments[name] = [mine] if isinstance(arguments[name], list) else mine
    theirs = foreign.project if argument == "project" else foreign.ids[sort_of(tool, argument)]
    missing = theirs + 4_000_000  # as many digits
    listed = tool.listing()["inputSchema"]["properties"][argument].get("type") == "array"
    answers = [
        answer(client, tool.name, {**arguments, argument: [asked] if listed else asked}, asked)
        for asked in (theirs, missing)
    ]
    assert answers[0] == answers[1]
    document = json.loads(answers[0][2])
    assert document["result"]["isError"], document


def test_lists_and_searches_hold_only_the_own_workspace(acme, globex, own, foreign):
    for tenant, objects, other in ((acme, own, foreign), (globex, foreign, own)):
        client = tenant.client()
        projects = {item["id"] for item in client.call("get_projects")["items"]}
        assert objects.project in projects
        assert not projects & ({other.project} - {objects.project})
        users = {item["email"] for item in client.call("get_users", project=objects.project)["items"]}
        assert {email.partition("@")[2] for email in users} == {f"{tenant.workspace.slug}.example"}
        found = client.call("search_test_cases", project=objects.project, query="Sample")["items"]
        assert other.ids["case"] not in {item["id"] for item in found}
        client.close()


@pytest.fixture(scope="module")
async def two_services(postgres):
    """A database of its own with a tenant, and two services of one database."""
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(user="testorchestrator_app", database=name)
        with serving(url) as first, serving(url) as second:
            tenant = await make_tenant(admin, "initech", host=first[0], port=first[1])
            await create_workspace(admin, slug="bystander", name="Bystander")
            yield admin, tenant, (first, second)


async def suspend(admin, tenant, _key):
    await set_state(admin, tenant.workspace.slug, "suspended")


async def resume(admin, tenant, _key):
    await set_state(admin, tenant.workspace.slug, "active")


async def revoke(admin, _tenant, key):
    await revoke_key(admin, await admin.fetchval("SELECT id FROM control.api_keys WHERE hash = $1", hash_key(key)))


async def expire(admin, _tenant, key):
    await admin.execute(
        "UPDATE control.api_keys SET created_at = now() - interval '2 hours', expires_at = now() WHERE hash = $1",
        hash_key(key),
    )


async def deactivate(admin, tenant, _key):
    await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=tenant.people["tester"].id, active=False)


async def activate(admin, tenant, _key):
    await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=tenant.people["tester"].id, active=True)


async def delete(admin, _tenant, key):
    await admin.execute("DELETE FROM control.api_keys WHERE hash = $1", hash_key(key))


@pytest.mark.parametrize(
    ("stop", "undo"),
    [(suspend, resume), (revoke, None), (expire, None), (deactivate, activate), (delete, None)],
    ids=["suspended workspace", "revoked key", "expired key", "deactivated owner", "deleted key"],
)
async def test_key_that_stops_working_does_so_in_every_service_from_the_next_request(stop, undo, two_services):
    admin, tenant, services = two_services
    key = await create_key(
        admin,
        workspace_id=tenant.workspace.id,
        user_id=tenant.people["tester"].id,
        label="to be stopped",
        expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
    )
    clients = [Client(host, port, key) for host, port in services]
    ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'

    def statuses() -> list[int]:
        return [client.post(ping)[0] for client in clients]

    # Twice, so that both have the key in whatever they might remember.
    assert statuses() + statuses() == [200] * 4
    await stop(admin, tenant, key)
    assert statuses() == [401, 401]
    if undo:
        await undo(admin, tenant, key)
        assert statuses() == [200, 200]
    for client in clients:
        client.close()


async def test_suspending_one_workspace_leaves_the_other_at_work(two_services):
    admin, tenant, _ = two_services
    client = tenant.client()
    await set_state(admin, "bystander", "suspended")
    assert client.call("get_projects")["total"] > 0
    await set_state(admin, "bystander", "active")
    client.close()
