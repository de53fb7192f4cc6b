"""A person with a real browser: Chromium signs in, makes a key, uses and revokes it; axe looks at each page."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import async_playwright

from tests.conftest import Client
from tests.web.offices import PAGES as ADMIN_PAGES
from tests.web.offices import make_office
from tests.web.stages import PAGES, make_stage

PATIENCE_MS = 20_000
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_NUMBERS = itertools.count(1)
SEVERE = {"serious", "critical"}
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
async def chromium():
    """One browser for all tests, with few processes."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*sandbox, "--disable-gpu", "--renderer-process-limit=1"]
        )
        yield browser
        await browser.close()


@pytest.fixture(params=["light", "dark"])
async def tab(chromium, world, request):
    """A tab of a person who has not been here before; it fails on whatever the browser complains about."""
    context = await chromium.new_context(
        base_url=f"http://{world.host}:{world.port}",
        color_scheme=request.param,
        viewport={"width": 390, "height": 844},
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    # What the tests make the server refuse is told here too.
    assert [said for said in complaints if not re.search("status of 4(04|10|22)", said)] == []


async def look(page) -> None:
    """Let axe look at the page."""
    await page.evaluate(await asyncio.to_thread(AXE_FILE_PATH.read_text))
    found = await page.evaluate("() => axe.run({resultTypes: ['violations']})")
    severe = [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in found["violations"]
        if violation["impact"] in SEVERE
    ]
    assert severe == [], page.url
    # Nothing is wider than a phone.
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url


async def sign_in(page, person, password: str) -> None:
    await page.goto("/w/acme/sign-in")
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("main").wait_for()


async def test_person_makes_a_key_uses_it_and_revokes_it(tab, acme, passwords):
    page = tab
    await page.goto("/w/acme/profile/keys")
    await look(page)
    await page.get_by_label("E-mail").fill(acme.people["tester"].email)
    await page.get_by_label("Password", exact=True).fill("not this one")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("alert").wait_for()
    await look(page)
    assert await page.get_by_label("E-mail").input_value() == acme.people["tester"].email
    await page.get_by_label("Password", exact=True).fill(passwords)
    await page.get_by_role("button", name="Sign in").click()

    await page.get_by_label("Label").wait_for()
    await look(page)
    await page.get_by_label("Label").fill("Claude Code <b>here</b>")
    await page.get_by_role("button", name="Create API key").click()
    await page.get_by_role("heading", name="Your new API key").wait_for()
    await look(page)
    key = await page.locator("#key").inner_text()
    await page.locator("[data-copy=key]").click()
    await page.get_by_text("Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == key

    client = Client(acme.host, acme.port, key)
    assert "main" in [project["name"] for project in client.call("get_projects")["items"]]
    await page.get_by_role("link", name="Done").click()
    await page.get_by_role("heading", name="Claude Code <b>here</b>").first.wait_for()
    assert key not in await page.content()
    await page.get_by_role("link", name="Revoke Claude Code").first.click()
    await page.get_by_role("button", name="Revoke the key").wait_for()
    await look(page)
    assert client.post(PING)[0] == 200
    await page.get_by_role("button", name="Revoke the key").click()
    await page.get_by_text("is revoked").wait_for()
    assert client.post(PING)[0] == 401
    client.close()
    await look(page)


async def test_other_pages_are_fit_for_everybody(tab, acme, passwords):
    page = tab
    for path in ("/", "/w/acme/password/forgot", "/w/acme/invitation", "/w/nosuch/"):
        await page.goto(path)
        await look(page)
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto("/w/acme/profile/password")
    await look(page)
    await page.get_by_role("button", name="Dark").click()
    await page.locator("[data-theme=dark]").wait_for()
    await look(page)
    await page.locator("summary").first.click()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("heading", name="Sign in").wait_for()
    await page.goto("/w/acme/profile/keys")
    assert "/sign-in" in page.url


async def test_works_without_javascript(chromium, world, acme, passwords):
    context = await chromium.new_context(base_url=f"http://{world.host}:{world.port}", java_script_enabled=False)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await sign_in(page, acme.people["tester"], passwords)
    await page.goto("/w/acme/profile/keys")
    await page.get_by_label("Label").fill("No script")
    await page.get_by_role("button", name="Create API key").click()
    assert (await page.locator("#key").inner_text()).startswith("to_live_")
    await page.get_by_role("link", name="Done").click()
    await page.get_by_role("link", name="Revoke No script").click()
    await page.get_by_role("button", name="Revoke the key").click()
    await page.get_by_text("is revoked").wait_for()
    await context.close()


@pytest.fixture(scope="module")
async def stage(sql, acme):
    client = acme.client()
    yield await make_stage(sql, client), client
    client.close()


async def test_every_page_of_a_project_is_fit_for_everybody(tab, acme, passwords, stage):
    page, (project, _) = tab, stage
    await sign_in(page, acme.people["lead"], passwords)
    for path in ("", *(project.path(path) for path in PAGES)):
        # A part of a page is no page.
        if not path.endswith("/progress"):
            await page.goto(f"/w/acme/{path}")
            await look(page)


@pytest.fixture(scope="module")
async def office(sql, connection, acme):
    return await make_office(connection, sql, acme)


async def test_every_page_of_the_administration_is_fit_for_everybody(tab, acme, passwords, office):
    page = tab
    await sign_in(page, acme.people["lead"], passwords)
    for path in ("", *(office.path(path) for path in ADMIN_PAGES), "admin/audit?user=nobody@x.example&key=x"):
        await page.goto(f"/w/acme/{path}")
        await look(page)


async def test_administrator_invites_somebody_who_comes_in(chromium, tab, acme, passwords):
    page, email = tab, f"{next(_NUMBERS)}@invited.example"
    await sign_in(page, acme.people["lead"], passwords)
    await page.get_by_role("link", name="Admin").click()
    await page.get_by_role("link", name="Invite a user").click()
    await page.get_by_label("Name").fill("Ida <b>Invited</b>")
    await page.get_by_label("E-mail").fill("ida @ nowhere")
    await page.evaluate("document.querySelector('main form').noValidate = true")
    await page.get_by_role("button", name="Invite").click()
    await page.get_by_text("This is no e-mail address").wait_for()
    await look(page)
    assert await page.get_by_label("Name").input_value() == "Ida <b>Invited</b>"
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_role("button", name="Invite").click()
    link = await page.locator("#link").inner_text()
    await look(page)
    context = await chromium.new_context(base_url=f"http://{acme.host}:{acme.port}", java_script_enabled=False)
    guest = await context.new_page()
    guest.set_default_timeout(PATIENCE_MS)
    await guest.goto(link)
    await guest.get_by_label("Password", exact=True).fill(passwords)
    await guest.get_by_label("again").fill(passwords)
    await guest.locator("main button").click()
    await guest.get_by_text("Welcome to Acme.").wait_for()
    await page.get_by_role("link", name="Done").click()
    await page.get_by_role("link", name="Deactivate").click()
    await look(page)
    await page.get_by_role("button", name="Deactivate").click()
    await page.get_by_role("status").get_by_text("is deactivated").wait_for()
    await guest.goto("/w/acme/profile/keys")
    assert "/sign-in" in guest.url
    await context.close()


async def test_the_progress_of_a_run_follows_the_agents(tab, acme, passwords, stage):
    page, (project, client) = tab, stage
    case = client.call("create_test_case", project=project.project, title="Followed")["id"]
    run = client.call("start_test_run", project=project.project, title="Followed", caseIds=[case])["id"]
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto(f"/w/acme/projects/{project.project}/runs/{run}")
    await page.get_by_role("row", name="Untested 1 100%").wait_for()
    await page.evaluate("window.isTheSame = true")
    client.call("record_test_result", project=project.project, runId=run, caseId=case, statusId="Passed")
    await page.get_by_role("row", name="Passed 1 100%").wait_for()
    assert await page.evaluate("window.isTheSame")
    assert await page.get_by_role("img", name="Cases by status").count() == 1


async def test_coverage_comes_after_the_dashboard(tab, acme, passwords, stage):
    page, (project, _) = tab, stage
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto(f"/w/acme/projects/{project.project}")
    await page.get_by_role("link", name="cases never run").wait_for()


async def test_an_empty_place_offers_what_to_ask_for(tab, acme, passwords, sql):
    page = tab
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto(f"/w/acme/projects/{await sql.new_project('Ask')}/cycles")
    await page.get_by_role("button", name="Copy").click()
    await page.get_by_role("button", name="Copied").wait_for()
    assert (await page.evaluate("navigator.clipboard.readText()")).startswith("Create a two-week sprint")


async def test_another_workspaces_pages_are_refused(tab, acme, globex, passwords):
    page = tab
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto(f"/w/globex/projects/{globex.project}")
    assert "/w/globex/sign-in" in page.url
    answer = await page.goto(f"/w/acme/projects/{globex.project + 5_000_000}")
    assert answer.status == 404


async def test_pages_work_without_javascript(chromium, world, acme, passwords, stage):
    project, _ = stage
    context = await chromium.new_context(base_url=f"http://{world.host}:{world.port}", java_script_enabled=False)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await sign_in(page, acme.people["lead"], passwords)
    await page.goto(f"/w/acme/projects/{project.project}")
    await page.get_by_role("link", name="Show the figures").click()
    await page.get_by_role("link", name="cases never run").wait_for()
    await page.goto(f"/w/acme/{project.path('/cases/{case}')}")
    await page.get_by_label("Add a comment").fill("By hand")
    await page.get_by_role("button", name="Comment").click()
    comment = page.locator("ol.comments > li", has_text="By hand")
    await comment.get_by_text("Delete", exact=True).click()
    await comment.get_by_role("button", name="Delete this comment").click()
    await page.get_by_text("The comment was deleted.").wait_for()
    await context.close()
