"""A key that does not work gets one answer whatever the reason, and costs the database as much."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import secrets

import pytest

from tenancy.catalog import set_state
from tenancy.keys import create_key, hash_key, revoke_key, set_owner_active
from tenancy.roles import APP, GATE
from tests.conftest import Client, make_tenant, new_database, serving

PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
#: Those that the database is asked about; the others could not be keys.
WELL_FORMED = {"unknown", "revoked", "expired", "owner deactivated", "workspace suspended", "workspace being deleted"}


@pytest.fixture(scope="module")
async def world(watched_server):
    """A database, a service, and a key for each reason to refuse one."""
    async with new_database(watched_server) as (name, admin):
        await admin.execute("CREATE SCHEMA statistics; CREATE EXTENSION pg_stat_statements SCHEMA statistics")
        with serving(watched_server.dsn(user=APP, database=name)) as (host, port):
            made = {slug: await make_tenant(admin, slug, host=host, port=port) for slug in ("here", "shut", "going")}
            people = made["here"].people

            async def key(person: str, **options) -> str:
                where = {"workspace_id": made["here"].workspace.id, "user_id": people[person].id}
                return await create_key(admin, **where, label="refused", **options)

            now = dt.datetime.now(dt.UTC)
            keys = {
                "unknown": "to_live_" + secrets.token_urlsafe(32),
                "revoked": await key("lead"),
                "expired": await key("lead", expires_at=now + dt.timedelta(hours=1)),
                "owner deactivated": await key("tester"),
                "workspace suspended": made["shut"].people["lead"].key,
                "workspace being deleted": made["going"].people["lead"].key,
                "malformed": "correct horse",
                "cut off": people["lead"].key[:-1],
                "too long": people["lead"].key + "A",
                "of another make": "sk_live_" + secrets.token_urlsafe(32),
                "in other letters": people["lead"].key.swapcase(),
            }
            found = "SELECT id FROM control.api_keys WHERE hash = $1"
            await revoke_key(admin, await admin.fetchval(found, hash_key(keys["revoked"])))
            await admin.execute(
                "UPDATE control.api_keys SET created_at = $2, expires_at = $3 WHERE hash = $1",
                hash_key(keys["expired"]),
                now - dt.timedelta(hours=2),
                now - dt.timedelta(hours=1),
            )
            await set_owner_active(
                admin, workspace_id=made["here"].workspace.id, user_id=people["tester"].id, active=False
            )
            await set_state(admin, "shut", "suspended")
            await set_state(admin, "going", "deleting")
            # So that what a connection does once is done.
            working = made["here"].client()
            assert working.post(PING)[0] == 200
            working.close()
            yield admin, (host, port), keys, people["lead"].key


def answer(service: tuple[str, int], key: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all that comes back, but the date, and whether the connection is kept: if the body was there in time."""
    client = Client(*service, key)
    status, headers, body = client.post(PING)
    client.close()
    return status, told(headers), body


def told(headers: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name not in {"date", "connection"}]


def test_answer_is_the_same_byte_for_byte(world):
    _, service, keys, _ = world
    answers = {reason: answer(service, key) for reason, key in keys.items()}
    assert {status for status, *_ in answers.values()} == {401}
    assert len({(status, tuple(headers), body) for status, headers, body in answers.values()}) == 1
    assert not {reason for reason, key in keys.items() if key in str(answers[reason])}


def test_no_key_gets_the_same_body_and_a_challenge_without_an_error(world):
    """RFC 6750, 3.1: who sent no credentials is not told of an error in them."""
    _, service, keys, _ = world
    _, refused, body = answer(service, keys["unknown"])
    for sent in ("", "Bearer", "Basic dXNlcjpwYXNzd29yZA=="):
        client = Client(*service, "")
        status, headers, said = client.post(PING, Authorization=sent)
        assert (status, said) == (401, body)
        assert told(headers) == refused
        client.close()
    client = http.client.HTTPConnection(*service, timeout=30)
    client.request("POST", "/mcp", body=PING, headers={"Content-Type": "application/json"})
    response = client.getresponse()
    headers = dict(told({name.lower(): value for name, value in response.getheaders()}))
    assert (response.status, response.read()) == (401, body)
    client.close()
    assert headers == dict(refused) | {"www-authenticate": 'Bearer realm="testorchestrator"'}


async def test_database_is_asked_the_same_and_once(world):
    admin, service, keys, working = world

    async def asked(key: str) -> list[tuple[str, int]]:
        await admin.execute("SELECT statistics.pg_stat_statements_reset()")
        answer(service, key)
        rows = await admin.fetch(
            "SELECT query, calls, rows FROM statistics.pg_stat_statements WHERE userid = ANY ($1::regrole[]) "
            "AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY query",
            [APP, GATE],
        )
        return [tuple(row) for row in rows]

    asked_for = {reason: await asked(key) for reason, key in keys.items()}
    assert {reason for reason, queries in asked_for.items() if queries} == WELL_FORMED
    [once] = {json.dumps(asked_for[reason]) for reason in WELL_FORMED}
    statements = {query: (calls, rows) for query, calls, rows in json.loads(once)}
    [looked_up] = [query for query in statements if "control." in query]
    assert "control.authenticate" in looked_up
    assert statements[looked_up] == (1, 0)
    # That it is counted at all
    assert (1, 1) in [(calls, rows) for query, calls, rows in await asked(working) if query == looked_up]
