"""Passwords: the rule, changing one's own, and the links that let a person in once."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import pytest

from service.domain.passwords import password_fault
from service.domain.users import add_user
from service.links import Link, Purpose, Signer
from tenancy.accounts import issue_link, stored_hash
from tenancy.keys import set_owner_active
from tenancy.session import Actor, as_workspace
from tests.conftest import SECRET_KEY
from tests.web.browsing import Browser
from tests.web.conftest import PASSWORD, link_in, place_of_its_own

ANOTHER = "Slow-Copper-Rivers-93"
INVITATION, RESET, CHANGE = "/w/initech/invitation", "/w/initech/password/reset", "/w/initech/profile/password"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("Short-1aB", "Use 12 to 100 characters; this has 9."),
        ("Aa1-" * 26, "this has 104"),
        ("all-lower-case-1", "Add an upper-case letter."),
        ("ALL-UPPER-CASE-1", "Add a lower-case letter."),
        ("No-Digits-Here", "Add a digit."),
        ("NoSpecials1234", "Add a special character."),
        ("           1", "Add an upper-case letter, a lower-case letter."),
        ("Password1234!", "first that anybody would try"),
        ("P@ssw0rd1234!", "first that anybody would try"),
        ("Qwertyuiop12!", "first that anybody would try"),
        ("Ann.Lee-12345", "first that anybody would try"),
        ("Initech-2026-1", "first that anybody would try"),
        ("AAAAaaaa1111!", "first that anybody would try"),
        (PASSWORD, ""),
        ("Grüße aus Köln 7", ""),
        ("correct horse Battery 9 staple", ""),
    ],
)
def test_rule_of_passwords(password, told):
    fault = password_fault(password, about=("ann.lee@initech.example", "ann.lee", "Ann Lee", "initech", "Initech"))
    assert (told in fault) if told else (fault == "")


async def test_changing_the_password_ends_all_other_sessions(postgres):
    async with place_of_its_own(postgres) as (_, tenant, [browser]):
        email = tenant.people["lead"].email
        other = Browser(browser.host, browser.port)
        for one in (browser, other):
            assert one.sign_in("/w/initech", email, PASSWORD).status == 303
        for form, fault in (
            ({"current": "wrong", "password": ANOTHER, "again": ANOTHER}, "not your present password"),
            ({"current": PASSWORD, "password": "short", "again": "short"}, "Use 12 to 100"),
            ({"current": PASSWORD, "password": ANOTHER, "again": "other"}, "not the same password"),
            ({"current": PASSWORD, "password": f"{email}-A1", "again": f"{email}-A1"}, "anybody would try"),
            ({}, "Use 12 to 100"),
        ):
            answer = browser.submit(CHANGE, form)
            assert answer.status == 422
            assert fault in answer.body
            assert ANOTHER not in answer.body
            assert PASSWORD not in answer.body
        answer = browser.submit(CHANGE, {"current": PASSWORD, "password": ANOTHER, "again": ANOTHER})
        assert (answer.status, answer.location) == (303, CHANGE)
        assert "All other sessions have ended" in browser.get(CHANGE).body
        assert other.get(CHANGE).status == 303
        other.cookies.clear()
        assert other.sign_in("/w/initech", email, PASSWORD).status == 422
        assert other.sign_in("/w/initech", email, ANOTHER).status == 303


async def test_present_password_cannot_be_tried_without_end(postgres):
    async with place_of_its_own(postgres) as (_, tenant, [browser]):
        browser.sign_in("/w/initech", tenant.people["lead"].email, PASSWORD)
        for _ in range(5):
            browser.submit(CHANGE, {"current": "wrong", "password": ANOTHER, "again": ANOTHER})
        answer = browser.submit(CHANGE, {"current": PASSWORD, "password": ANOTHER, "again": ANOTHER})
        assert answer.status == 422
        assert "too many tries" in answer.body


class Late(Signer):
    """Signs as the service did *seconds* ago."""

    def __init__(self, seconds: int) -> None:
        super().__init__(SECRET_KEY)
        for serializer in self._serializers.values():

            class Signing(serializer.signer):
                def get_timestamp(self) -> int:
                    return int(time.time()) - seconds

            serializer.signer = Signing


async def test_invitation_lets_a_person_in_once(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, [browser]):
        workspace = tenant.workspace
        async with as_workspace(admin, workspace.schema_name, actor=Actor(tool="test")) as connection:
            ann = await add_user(
                connection, email="ann@initech.example", name="ann", access_level="REGULAR_USER", role="Tester"
            )
        secret = await issue_link(admin, workspace_id=workspace.id, user_id=ann, purpose=Purpose.INVITATION)
        link = Link(workspace.id, ann, secret)
        token = Signer(SECRET_KEY).token(Purpose.INVITATION, link)

        async def refused(path: str, text: str) -> None:
            page = browser.get(path)
            assert page.status == 410
            assert text in page.body
            form = {"csrf_token": browser.get("/w/initech/sign-in").hidden()["csrf_token"], "name": "Eve"}
            form |= {name: value[0] for name, value in parse_qs(urlsplit(path).query).items()}
            page = browser.post(path.partition("?")[0], {**form, "password": ANOTHER, "again": ANOTHER})
            assert page.status == 410
            assert text in page.body
            assert await stored_hash(admin, workspace_id=workspace.id, user_id=ann) is None

        elsewhere = Signer(SECRET_KEY).token(Purpose.INVITATION, Link(workspace.id + 1, ann, secret))
        nobody = Signer(SECRET_KEY).token(Purpose.INVITATION, Link(workspace.id, 987_654_321, secret))
        await refused(INVITATION, "address is not complete")
        await refused(f"{INVITATION}?token={token[:-1]}", "not valid")
        await refused(f"{INVITATION}?token=%3Cscript%3E", "not valid")
        await refused(f"{INVITATION}?token={Signer('x' * 40).token(Purpose.INVITATION, link)}", "not valid")
        await refused(f"{INVITATION}?token={Signer(SECRET_KEY).token(Purpose.RESET, link)}", "not valid")
        await refused(f"{INVITATION}?token={elsewhere}", "not valid")
        await refused(f"{INVITATION}?token={nobody}", "cancelled")
        await refused(f"{INVITATION}?token={Late(8 * 86400).token(Purpose.INVITATION, link)}", "has expired")
        await admin.execute(f"UPDATE {workspace.schema_name}.users SET active = false WHERE id = {ann}")
        await refused(f"{INVITATION}?token={token}", "cancelled")
        await admin.execute(f"UPDATE {workspace.schema_name}.users SET active = true WHERE id = {ann}")

        path = f"{INVITATION}?token={token}"
        assert "ann@initech.example" in browser.get(path).body
        name = "<b>Ann</b> Lee"
        wrong = browser.submit(path, {"name": name, "password": "short", "again": "short"})
        assert wrong.status == 422
        assert 'value="&lt;b&gt;Ann&lt;/b&gt; Lee"' in wrong.body
        for bad in ("", "x" * 101, "a\nb"):
            assert "Write your name" in browser.submit(path, {"name": bad, "password": ANOTHER, "again": ANOTHER}).body

        # Of two at once, one gets in.
        second = Browser(browser.host, browser.port)
        tries = [asyncio.to_thread(one.submit, path, {"name": name, "password": ANOTHER, "again": ANOTHER})
                 for one in (browser, second)]  # fmt: skip
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(answer.status for answer in answers if not isinstance(answer, BaseException)) in (
            [303, 410],
            [303],
        )
        assert "accepted already" in browser.get(path).body
        third = Browser(browser.host, browser.port)
        assert third.sign_in("/w/initech", "ann@initech.example", ANOTHER).status == 303
        assert "&lt;b&gt;Ann&lt;/b&gt; Lee" in third.get(CHANGE).body
        [row] = await admin.fetch(
            f"SELECT details->>'name' AS name FROM {workspace.schema_name}.audit_log "
            f"WHERE object_id = {ann} AND action = 'update'"
        )
        assert row["name"] == name


async def test_forgotten_password_is_replaced_by_a_link_that_works_once(postgres, mail_server):
    inbox, settings = mail_server
    async with place_of_its_own(postgres, **settings) as (admin, tenant, [browser]):
        lead, tester = tenant.people["lead"], tenant.people["tester"]
        await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=tester.id, active=False)
        await admin.execute(f"UPDATE {tenant.workspace.schema_name}.users SET active = false WHERE id = {tester.id}")
        # Whose Host header it is does not matter, and who does not exist is told the same.
        asking = Browser(browser.host, browser.port, named="evil.example")
        pages = {
            email: asking.submit("/w/initech/password/forgot", {"email": email})
            for email in ("nobody@initech.example", tester.email, lead.email)
        }
        told = {(page.status, page.main().replace(email, "")) for email, page in pages.items()}
        assert len(told) == 1
        [message] = await inbox.wait(1)
        assert message["To"] == lead.email
        path = link_in(message)

        signed_in = Browser(browser.host, browser.port)
        assert signed_in.sign_in("/w/initech", lead.email, PASSWORD).status == 303
        assert browser.submit(path, {"password": ANOTHER, "again": ANOTHER}).status == 303
        assert signed_in.get(CHANGE).status == 303
        assert browser.get(CHANGE).status == 200
        assert "has been used" in browser.get(path).body
        late = Late(3601).token(Purpose.RESET, Link(tenant.workspace.id, lead.id, "x"))
        assert "has expired" in browser.get(f"{RESET}?token={late}").body

        for _ in range(2):
            assert asking.submit("/w/initech/password/forgot", {"email": lead.email}).status == 200
        answer = asking.submit("/w/initech/password/forgot", {"email": lead.email.upper()})
        assert answer.status == 429
        assert lead.email.upper() in answer.body
        # Those that were sent, and no other one.
        assert {message["To"] for message in await inbox.wait(3)} == {lead.email}


async def test_address_that_would_add_headers_sends_nothing(postgres, mail_server):
    inbox, settings = mail_server
    async with place_of_its_own(postgres, **settings) as (_, tenant, [browser]):
        for email in ("a@b.example\r\nBcc: eve@evil.example", "", "x" * 5000):
            assert browser.submit("/w/initech/password/forgot", {"email": email}).status == 200
        assert browser.submit("/w/initech/password/forgot", {"email": tenant.people["lead"].email}).status == 200
        assert [message["To"] for message in await inbox.wait(1)] == [tenant.people["lead"].email]


@pytest.fixture
def unused_port():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def test_without_a_mail_server_one_is_told_who_can_help(postgres):
    async with place_of_its_own(postgres) as (_, _, [browser]):
        page = browser.get("/w/initech/password/forgot")
        assert "Ask an administrator" in page.body
        token = browser.get("/w/initech/sign-in").hidden()["csrf_token"]
        assert browser.post("/w/initech/password/forgot", {"csrf_token": token, "email": "x"}).status == 422


async def test_mail_server_that_is_away_changes_no_answer(postgres, unused_port):
    settings = {"smtp_host": "127.0.0.1", "smtp_port": unused_port, "public_url": "https://qa.initech.example"}
    async with place_of_its_own(postgres, **settings) as (_, tenant, [browser]):
        page = browser.submit("/w/initech/password/forgot", {"email": tenant.people["lead"].email})
        assert page.status == 200
        assert "on its way" in page.body
