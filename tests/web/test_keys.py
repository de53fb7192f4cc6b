"""Profile → API Keys: made, shown once, used, revoked; by their owner alone."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape

import pytest

from service.links import Purpose
from tenancy.accounts import Accounts, Session
from tenancy.pool import Pool
from tenancy.session import Gateway
from tests.conftest import Client
from tests.web.browsing import Browser, Page

KEYS = "/w/acme/profile/keys"
HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>{{ 7777 * 7 }}"
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
_KEY = re.compile(r"to_live_[A-Za-z0-9_-]{43}")


@pytest.fixture
def visit(world, passwords):
    """Signs somebody of acme in."""

    def sign_in(name: str = "tester") -> Browser:
        browser = Browser(world.host, world.port)
        assert browser.sign_in("/w/acme", world.acme.people[name].email, passwords).status == 303
        return browser

    return sign_in


def make(browser: Browser, **form: str) -> Page:
    return browser.submit(KEYS, form)


def key_of(page: Page) -> str:
    [key] = set(_KEY.findall(page.body))
    return key


def id_of(browser: Browser, label: str) -> str:
    """The id of the key of that label that works."""
    found = re.search(rf"<h3>{re.escape(label)}</h3>.*?/profile/keys/(\d+)/revoke", browser.get(KEYS).body, re.DOTALL)
    return found[1]


def test_key_is_shown_once_with_snippets_and_works_until_it_is_revoked(visit, acme):
    browser = visit()
    made = make(browser, label="Claude Desktop")
    assert (made.status, made.headers["cache-control"]) == (200, "no-store")
    key = key_of(made)
    text = unescape(made.body)
    url = f"http://{acme.host}:{acme.port}/mcp"
    assert f"claude mcp add --transport http testorchestrator {url} --header 'Authorization: Bearer {key}'" in text
    assert text.count(f'"Authorization": "Bearer {key}"') >= 2
    assert f'"AUTHORIZATION": "Bearer {key}"' in text
    assert '"command": "npx"' in text

    client = Client(acme.host, acme.port, key)
    assert "main" in [project["name"] for project in client.call("get_projects")["items"]]
    listed = browser.get(KEYS).body
    assert "Claude Desktop" in listed
    assert f"{key[:12]}…" in listed
    assert key not in listed
    assert key not in str(browser.cookies)
    assert "Last used</dt><dd><time" in listed

    path = f"{KEYS}/{id_of(browser, 'Claude Desktop')}/revoke"
    assert browser.post(path, {}).status == 400
    assert client.post(PING)[0] == 200
    answer = browser.submit(path, {})
    assert (answer.status, answer.location) == (303, KEYS)
    assert client.post(PING)[0] == 401
    client.close()
    assert "is revoked" in browser.get(KEYS).body
    assert "is revoked" not in browser.get(KEYS).body
    assert browser.get(path).status == 404


def test_label_is_shown_as_text_and_what_was_typed_is_kept(visit):
    browser = visit()
    made = make(browser, label=HOSTILE)
    assert made.status == 200
    for page in (made, browser.get(KEYS)):
        assert HOSTILE in unescape(page.body)
        assert "<script>alert" not in page.body
        assert "<img" not in page.body
    wrong = make(browser, label=HOSTILE, expires="tomorrow")
    assert wrong.status == 422
    assert f'value="{HOSTILE}"' in unescape(wrong.body)
    assert 'value="tomorrow"' in wrong.body
    assert 'aria-invalid="true"' in wrong.body


@pytest.mark.parametrize("label", ["", "   ", "x" * 101, "a\nb", "\x00"])
def test_key_needs_a_label_of_one_line(visit, label):
    answer = make(visit(), label=label)
    assert answer.status == 422
    assert "Write what the key is for" in answer.body
    assert not _KEY.search(answer.body)


@pytest.mark.parametrize(
    "expires",
    [
        "31.12.2027",
        "2027-02-30",
        "2020-01-01",
        "9999-12-31",
        "-1",
        "2027-12-31T00:00",
        "<b>",
        "\u0662\u0660\u0662\u0667-01-01",
    ],
)
def test_last_day_that_is_none_makes_no_key(visit, expires):
    answer = make(visit(), label="Wrong", expires=expires)
    assert answer.status == 422
    assert not _KEY.search(answer.body)


async def test_key_works_through_its_last_day(visit, acme, world_admin):
    browser = visit()
    today = dt.datetime.now(dt.UTC).date()
    key = key_of(make(browser, label="For today", expires=today.isoformat()))
    key_id = int(id_of(browser, "For today"))
    expires_at = await world_admin.fetchval("SELECT expires_at FROM control.api_keys WHERE id = $1", key_id)
    assert expires_at == dt.datetime.combine(today + dt.timedelta(days=1), dt.time(), dt.UTC)
    client = Client(acme.host, acme.port, key)
    assert client.post(PING)[0] == 200
    await world_admin.execute(
        "UPDATE control.api_keys SET created_at = now() - interval '2 days', expires_at = now() WHERE id = $1", key_id
    )
    assert client.post(PING)[0] == 401
    client.close()
    listed = browser.get(KEYS).body
    assert "expired" in listed
    assert browser.get(f"{KEYS}/{key_id}/revoke").status == 404


def test_nobody_sees_or_revokes_anothers_key(visit, acme):
    lead = visit("lead")
    key = key_of(make(lead, label="The lead's own"))
    key_id = id_of(lead, "The lead's own".replace("'", "&#39;"))
    tester = visit("tester")
    assert "own" not in tester.get(KEYS).body.partition('class="keys"')[2].partition("Create API key")[0]
    path = f"{KEYS}/{key_id}/revoke"
    missing = tester.get(f"{KEYS}/987654321/revoke")
    assert (tester.get(path).status, tester.get(path).body) == (404, missing.body)
    token = tester.get(KEYS).hidden()
    assert tester.post(path, token).body == missing.body
    client = Client(acme.host, acme.port, key)
    assert client.post(PING)[0] == 200
    client.close()


@pytest.mark.usefixtures("passwords")
async def test_functions_of_accounts_take_nobodys_word_for_who_asks(world, acme, globex, world_admin):
    """Were a page wrong about the user, the database would not be: it wants the stamp of their password."""
    lead, workspace_id = acme.people["lead"], acme.workspace.id
    stamp = await world_admin.fetchval(
        "SELECT stamp FROM control.passwords WHERE workspace_id = $1 AND user_id = $2", workspace_id, lead.id
    )
    pool = Pool(world.service_url, size=1)
    accounts = Accounts(Gateway(pool))
    try:
        right = Session(workspace_id=workspace_id, user_id=lead.id, stamp=stamp)
        found = await accounts.list_own_keys(right)
        assert found
        assert (await accounts.find_place("acme", right)).signed_in
        for wrong in (
            Session(workspace_id=workspace_id, user_id=lead.id, stamp="x"),
            Session(workspace_id=workspace_id, user_id=acme.people["tester"].id, stamp=stamp),
            Session(workspace_id=globex.workspace.id, user_id=lead.id, stamp=stamp),
        ):
            assert await accounts.list_own_keys(wrong) == []
            assert await accounts.create_own_key(wrong, label="Stolen", expires_at=None) is None
            assert not await accounts.revoke_own_key(wrong, found[0].id)
            assert await accounts.name_keys(wrong, [found[0].id]) == {}
            assert not (await accounts.find_place("acme", wrong)).signed_in
            where = (wrong.workspace_id, wrong.user_id)
            assert await accounts.prove_password(*where, wrong.stamp) is None
            assert await accounts.change_password(*where, computed_hash=wrong.stamp, new_hash="x") is None
            assert await accounts.use_link(*where, Purpose.RESET, wrong.stamp, new_hash="x") is None
        assert await accounts.name_keys(right, [found[0].id]) == {found[0].id: found[0].label}
        assert await accounts.find_place("nosuch", right) is None
    finally:
        await pool.close()


async def test_a_hundred_keys_are_enough(visit, acme, world_admin):
    browser = visit("outsider")
    await world_admin.execute(
        "INSERT INTO control.api_keys (workspace_id, user_id, label, prefix, hash) "
        "SELECT $1, $2, 'many', 'many', sha256(convert_to(n::text, 'UTF8')) FROM generate_series(1, 99) n",
        acme.workspace.id,
        acme.people["outsider"].id,
    )
    answer = make(browser, label="One too many")
    assert answer.status == 422
    assert "You have 100 keys" in answer.body
    await world_admin.execute("DELETE FROM control.api_keys WHERE label = 'many'")
    assert make(browser, label="Not any more").status == 200


async def test_making_and_revoking_is_noted_for_operators(visit, world_admin):
    browser = visit()
    make(browser, label="Noted")
    key_id = int(id_of(browser, "Noted"))
    browser.submit(f"{KEYS}/{key_id}/revoke", {})
    rows = await world_admin.fetch(
        "SELECT operation FROM control.operations WHERE (details->>'api_key_id')::bigint = $1 ORDER BY id", key_id
    )
    assert [row["operation"] for row in rows] == ["key.create", "key.revoke"]
