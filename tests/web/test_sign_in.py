"""Signing in and out, what a session is worth, and what nobody learns from it."""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
import re

import pytest
from itsdangerous import URLSafeTimedSerializer

import service.domain.passwords as passwords_of_domain
from service.web.addresses import is_local_path
from tenancy.catalog import set_state
from tenancy.keys import set_owner_active
from tests.conftest import SECRET_KEY
from tests.web.browsing import Browser
from tests.web.conftest import PASSWORD, give_password, place_of_its_own

KEYS = "/w/acme/profile/keys"


@pytest.fixture
def lead(world, passwords):
    """The lead of acme, signed in."""
    browser = Browser(world.host, world.port)
    assert browser.sign_in("/w/acme", world.acme.people["lead"].email, passwords).status == 303
    return browser


def test_right_password_signs_in_with_a_cookie_for_this_workspace_alone(browser, acme, passwords):
    answer = browser.sign_in("/w/acme", acme.people["lead"].email.upper(), passwords)
    assert (answer.status, answer.location) == (303, "/w/acme/")
    cookie = answer.cookies["session"]
    assert {"HttpOnly", "Path=/w/acme", "SameSite=Lax"} <= set(cookie.split("; "))
    # This machine's own address is the only one without TLS; a cookie of that session ends with the browser.
    assert "Secure" not in cookie
    assert "Expires" not in cookie
    page = browser.get(KEYS)
    assert page.status == 200
    assert "lead@acme.example" in page.body


def test_cookie_travels_over_tls_only_anywhere_but_on_this_machine(world, passwords):
    browser = Browser(world.host, world.port, named="qa.example.com")
    answer = browser.sign_in("/w/acme", world.acme.people["lead"].email, passwords)
    assert "Secure" in answer.cookies["session"].split("; ")
    assert "strict-transport-security" not in answer.headers
    assert "strict-transport-security" in browser.get(KEYS, X_Forwarded_Proto="https").headers


def test_remember_me_keeps_the_cookie_for_thirty_days(browser, acme, passwords):
    answer = browser.sign_in("/w/acme", acme.people["lead"].email, passwords, remember="on")
    expires = email.utils.parsedate_to_datetime(re.search("Expires=([^;]+)", answer.cookies["session"])[1])
    assert dt.timedelta(days=29) < expires - dt.datetime.now(dt.UTC) < dt.timedelta(days=31)


async def test_whatever_is_wrong_the_answer_and_the_work_are_the_same(postgres, monkeypatch):
    computed = []
    right = passwords_of_domain.hash_secret

    def counting(*arguments, **cost):
        computed.append(cost)
        return right(*arguments, **cost)

    monkeypatch.setattr(passwords_of_domain, "hash_secret", counting)
    async with place_of_its_own(postgres) as (admin, tenant, [browser]):
        await give_password(admin, tenant, "tester")
        tester = tenant.people["tester"]
        await admin.execute(f"UPDATE {tenant.workspace.schema_name}.users SET active = false WHERE id = {tester.id}")
        await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=tester.id, active=False)
        answers = {}
        for what, (address, password) in {
            "unknown": ("nobody@initech.example", PASSWORD),
            "wrong password": (tenant.people["lead"].email, "wrong"),
            "no password set": (tenant.people["viewer"].email, PASSWORD),
            "deactivated": (tester.email, PASSWORD),
            "nothing": ("", ""),
            "no text": ("\x00\ud800\U0001f600".encode("utf-8", "replace").decode(), "\x00"),
            "injection": ("' OR 1=1 --", "' OR 1=1 --"),
        }.items():
            before = len(computed)
            answer = browser.sign_in("/w/initech", address, password)
            # But for what was typed, which is kept.
            main = re.sub('(name="email"[^>]* value=)"[^"]*"', r"\1", answer.main())
            answers[what] = (answer.status, len(computed) - before, main)
        assert set(answers.values()) == {answers["unknown"]}
        status, work, main = answers["unknown"]
        assert (status, work) == (422, 1)
        assert "do not belong together" in main


async def test_five_wrong_tries_lock_the_account_on_every_process_for_fifteen_minutes(postgres):
    async with place_of_its_own(postgres, services=2) as (admin, tenant, browsers):
        for address in (tenant.people["lead"].email, "nobody@initech.example"):
            for number in range(5):
                assert browsers[number % 2].sign_in("/w/initech", address, "wrong").status == 422
            for browser in browsers:
                # For who does not exist as for who does, and whatever the case.
                assert browser.sign_in("/w/initech", address.title(), PASSWORD).status == 422
        await admin.execute("UPDATE control.sign_in_attempts SET last_at = last_at - interval '14 minutes'")
        assert browsers[0].sign_in("/w/initech", tenant.people["lead"].email, PASSWORD).status == 422
        # Trying on has not made it longer.
        await admin.execute("UPDATE control.sign_in_attempts SET last_at = last_at - interval '61 seconds'")
        assert browsers[1].sign_in("/w/initech", tenant.people["lead"].email, PASSWORD).status == 303
        # One that succeeds takes the count back.
        for _ in range(2):
            for _ in range(4):
                assert browsers[0].sign_in("/w/initech", tenant.people["lead"].email, "wrong").status == 422
            browsers[0].cookies.clear()
            assert browsers[0].sign_in("/w/initech", tenant.people["lead"].email, PASSWORD).status == 303
            browsers[0].cookies.clear()


async def test_old_tries_are_cleared_away(postgres):
    async with place_of_its_own(postgres) as (admin, _, [browser]):
        for number in range(4):
            browser.sign_in("/w/initech", f"nobody-{number}@initech.example", "wrong")
        await admin.execute("UPDATE control.sign_in_attempts SET last_at = last_at - interval '2 hours'")
        browser.sign_in("/w/initech", "nobody@initech.example", "wrong")
        assert await admin.fetchval("SELECT count(*) FROM control.sign_in_attempts") == 1


async def test_too_many_tries_from_one_address_are_put_off(postgres):
    async with place_of_its_own(postgres, sign_ins_per_minute=2) as (_, tenant, [browser]):
        for _ in range(2):
            assert browser.sign_in("/w/initech", "nobody@initech.example", "wrong").status == 422
        answer = browser.sign_in("/w/initech", tenant.people["lead"].email, PASSWORD)
        assert answer.status == 429
        assert tenant.people["lead"].email in answer.body
        assert PASSWORD not in answer.body


async def test_session_ends_for_the_very_next_request(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, [browser]):
        keys, lead = "/w/initech/profile/keys", tenant.people["lead"]

        async def signed_in() -> Browser:
            browser.cookies.clear()
            await admin.execute("DELETE FROM control.sign_in_attempts")
            assert browser.sign_in("/w/initech", lead.email, PASSWORD).status == 303
            assert browser.get(keys).status == 200
            return browser

        def is_out() -> bool:
            return browser.get(keys).headers.get("location", "").startswith("/w/initech/sign-in")

        await signed_in()
        await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=lead.id, active=False)
        assert is_out()
        await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=lead.id, active=True)

        # Were the mirror wrong, the workspace's own word counts.
        await signed_in()
        users = f"{tenant.workspace.schema_name}.users"
        await admin.execute(f"UPDATE {users} SET active = false WHERE id = {lead.id}")
        assert is_out()
        await admin.execute(f"UPDATE {users} SET active = true WHERE id = {lead.id}")

        await signed_in()
        await give_password(admin, tenant, "lead")
        assert is_out()

        await signed_in()
        await set_state(admin, "initech", "suspended")
        assert browser.get(keys).status == 404
        await set_state(admin, "initech", "active")
        assert browser.get(keys).status == 200

        await admin.execute("UPDATE control.workspaces SET slug = 'initrode' WHERE slug = 'initech'")
        assert browser.get(keys).status == 404
        await admin.execute("UPDATE control.workspaces SET slug = 'initech' WHERE slug = 'initrode'")


def signed_cookie(**changes) -> str:
    """A cookie as only the service can sign it."""
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    key = changes.pop("key", SECRET_KEY)
    return URLSafeTimedSerializer(key, salt="cookie-session", signer_kwargs=options).dumps(changes)


async def test_cookie_is_worth_nothing_elsewhere_or_when_it_was_made_by_others(world, world_admin, lead, acme):
    [session] = [value for (_, name), value in lead.cookies.items() if name == "session"]
    stamp = await world_admin.fetchval(
        "SELECT stamp FROM control.passwords WHERE workspace_id = $1 AND user_id = $2",
        acme.workspace.id,
        acme.people["lead"].id,
    )
    good = {
        "workspace": acme.workspace.id,
        "user": acme.people["lead"].id,
        "stamp": stamp,
        "until": int(dt.datetime.now(dt.UTC).timestamp()) + 60,
    }
    browser = Browser(world.host, world.port)
    assert browser.get(KEYS, Cookie=f"session={session}").status == 200
    assert browser.get(KEYS, Cookie=f"session={signed_cookie(**good)}").status == 200
    for what, path, cookie in (
        ("another workspace's page", "/w/globex/profile/keys", session),
        ("another workspace's page, all else right", "/w/globex/profile/keys", signed_cookie(**good)),
        ("another workspace", KEYS, signed_cookie(**good | {"workspace": world.globex.workspace.id})),
        ("another user", KEYS, signed_cookie(**good | {"user": acme.people["tester"].id})),
        ("another stamp", KEYS, signed_cookie(**good | {"stamp": "x"})),
        ("over", KEYS, signed_cookie(**good | {"until": good["until"] - 120})),
        ("incomplete", KEYS, signed_cookie(workspace=1)),
        ("signed by others", KEYS, signed_cookie(**good, key="x" * 40)),
        ("changed", KEYS, session[:-2]),
        ("no cookie", KEYS, "hello"),
    ):
        answer = browser.get(path, Cookie=f"session={cookie}")
        assert (what, answer.status) == (what, 303)
        assert "/sign-in" in answer.location


def test_session_is_another_one_after_signing_in(browser, acme, passwords):
    token = browser.get("/w/acme/sign-in").hidden()["csrf_token"]
    browser.sign_in("/w/acme", acme.people["lead"].email, passwords)
    assert browser.get(KEYS).hidden()["csrf_token"] != token


def test_signing_out_ends_it_and_takes_a_form(lead):
    assert lead.get("/w/acme/sign-out").status == 404
    assert lead.post("/w/acme/sign-out", {}).status == 400
    assert lead.get(KEYS).status == 200
    answer = lead.submit(KEYS, {}, to="/w/acme/sign-out")
    assert (answer.status, answer.location) == (303, "/w/acme/sign-in")
    assert "You are signed out." in lead.get("/w/acme/sign-in").body
    assert lead.get(KEYS).status == 303


@pytest.mark.parametrize("path", ["sign-in", "profile/keys", "profile/password", "sign-out", "theme", "invitation"])
def test_form_without_the_token_of_this_session_is_refused(lead, browser, path):
    own = lead.get(KEYS).hidden()["csrf_token"]
    foreign = browser.get("/w/acme/sign-in").hidden()["csrf_token"]
    form = {"label": "Forged", "email": "x", "password": "x"}
    for headers, token in (({}, ""), ({}, foreign), ({}, own[:-1]), ({}, " "), ({"Sec_Fetch_Site": "same-site"}, own)):
        answer = lead.post(f"/w/acme/{path}", {**form, "csrf_token": token}, **headers)
        assert answer.status == 400
        assert "form is too old" in answer.body
    # Nor where there is no session at all.
    assert Browser(lead.host, lead.port).post(f"/w/acme/{path}", form).status in {303, 400}
    assert "Forged" not in lead.get(KEYS).body


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/w/acme/profile/password", "/w/acme/profile/password"),
        ("/w/acme/projects/1?q=a%20b", "/w/acme/projects/1?q=a%20b"),
        ("https://evil.example/", "/w/acme/"),
        ("//evil.example/w/acme/", "/w/acme/"),
        ("/\\evil.example/w/acme/", "/w/acme/"),
        ("/w/acme/\\..\\..", "/w/acme/"),
        ("/w/acme/\r\nSet-Cookie: a=b", "/w/acme/"),
        ("/\t/evil.example", "/w/acme/"),
        ("/w/globex/profile/keys", "/w/acme/"),
        ("/w/acme.evil.example/", "/w/acme/"),
        ("javascript:alert(1)", "/w/acme/"),
        ("profile/keys", "/w/acme/"),
    ],
)
def test_one_is_led_on_within_the_workspace_only(browser, acme, passwords, asked, led_to):
    answer = browser.sign_in("/w/acme", acme.people["lead"].email, passwords, next=asked)
    assert (answer.status, answer.location) == (303, led_to)


def test_page_that_was_asked_for_comes_after_signing_in(browser, acme, passwords):
    answer = browser.get("/w/acme/profile/password?a=1")
    assert (answer.status, answer.location) == (303, "/w/acme/sign-in?next=%2Fw%2Facme%2Fprofile%2Fpassword%3Fa%3D1")
    answer = browser.submit(answer.location, {"email": acme.people["lead"].email, "password": passwords})
    assert answer.location == "/w/acme/profile/password?a=1"


@pytest.mark.unit
@pytest.mark.parametrize("target", ["", "//x", "/\\x", "\\/x", "/a b", "/a\nb", "/a\u2028b", "http://x", "x"])
def test_what_is_no_path_of_ours_is_known(target):
    assert not is_local_path(target)


@pytest.mark.parametrize(
    "path", ["sign-in", "password/forgot", "profile/keys", "nowhere", "invitation", "projects/1", "../../nowhere"]
)
def test_every_page_has_the_headers_that_protect_it(lead, path):
    headers = lead.get(f"/w/acme/{path}").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_static_files_are_kept_for_ever_by_what_is_in_them(browser):
    path = re.search(r'href="(/static/[^"]+\.css)"', browser.get("/w/acme/sign-in").body)[1]
    answer = browser.get(path)
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    other = browser.get(f"/static/0123456789ab/{path.rpartition('/')[2]}")
    assert (other.status, other.headers["cache-control"]) == (200, "no-cache")
    assert browser.get("/static/x/../../visitors.py").status == 404
    assert browser.get("/static/x/%2e%2e%2fvisitors.py").status == 404


def test_what_may_not_be_seen_and_what_is_not_there_are_one_page(lead):
    missing = lead.get("/w/acme/nowhere")
    assert missing.status == 404
    assert lead.get("/w/acme/profile/keys/987654321/revoke").body == missing.body
    assert lead.get(f"/w/acme/profile/keys/{10**30}/revoke").body == missing.body
    assert lead.get("/w/acme/profile/keys/-1/revoke").body == missing.body
    assert lead.post("/w/acme/nowhere", {}).body == missing.body
    assert lead.get("/w/nosuch/").body.replace("/w/nosuch/", "/w/acme/") == missing.body
    assert lead.get("/w/%00/").status == 404
    assert "acme" not in missing.body.replace("/w/acme/", "")


def test_colours_are_kept_in_a_cookie(browser):
    answer = browser.submit("/w/acme/sign-in", {"theme": "dark", "next": "/w/acme/sign-in"}, to="/w/acme/theme")
    assert answer.location == "/w/acme/sign-in"
    assert 'data-theme="dark"' in browser.get("/w/acme/sign-in").body
    browser.submit("/w/acme/sign-in", {"theme": '"><script>'}, to="/w/acme/theme")
    assert "data-theme" not in browser.get("/w/acme/sign-in").body


def test_front_page_leads_to_a_workspace(browser):
    assert browser.get("/").status == 200
    assert browser.get("/?workspace=Acme").location == "/w/acme/sign-in"
    assert browser.get("/?workspace=//evil.example").location.startswith("/w/")


async def test_workspaces_have_sub_domains_where_there_is_a_base_domain(postgres):
    async with place_of_its_own(postgres, base_domain="qa.example") as (_, tenant, [browser]):
        at_home = Browser(browser.host, browser.port, named="Initech.QA.example:443")
        answer = at_home.sign_in("", tenant.people["lead"].email, PASSWORD, next="/profile/keys")
        assert (answer.status, answer.location) == (303, "/profile/keys")
        assert {"Path=/", "Secure"} <= set(answer.cookies["session"].split("; "))
        page = at_home.get("/profile/keys")
        assert page.status == 200
        assert 'href="/profile/password"' in page.body
        assert "/w/initech" not in page.body
        assert "https://api.qa.example/mcp" in page.body
        assert at_home.get("/w/initech/profile/keys").status == 404
        assert at_home.get("/mcp").headers["allow"] == "POST"
        # The path works everywhere; a reserved name and a host of others are no workspaces.
        assert browser.sign_in("/w/initech", tenant.people["lead"].email, PASSWORD).status == 303
        for host in ("api.qa.example", "initech.qa.example.evil", "a.initech.qa.example", "qa.example"):
            assert Browser(browser.host, browser.port, named=host).get("/sign-in").status == 404


async def test_without_a_secret_key_there_are_no_pages(postgres):
    async with place_of_its_own(postgres, secret_key=None) as (_, _, [browser]):
        answer = browser.get("/w/initech/sign-in")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
