"""The commands that print the links by which a person gets in, and that these links do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tenancy.keys import set_owner_active
from tests.conftest import SECRET_KEY
from tests.web.browsing import Browser
from tests.web.conftest import PASSWORD, place_of_its_own

COMMAND = [sys.executable, "-P", "-m", "service.cli", "user"]
PATIENCE = 60
SETTINGS = {"TESTORCHESTRATOR_SECRET_KEY": SECRET_KEY, "TESTORCHESTRATOR_PUBLIC_URL": "https://qa.example.com"}


@pytest.fixture(scope="module")
async def place(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, [browser]):
        name = await admin.fetchval("SELECT current_database()")
        yield admin, tenant, browser, postgres.dsn(database=name)


@pytest.fixture
def command(place):
    """Runs a command and returns what it prints, or its one line on standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TESTORCHESTRATOR_")}

    def run(*arguments: str, **changed: str) -> str:
        environment = clean | SETTINGS | {"DATABASE_URL": place[3]} | changed
        done = subprocess.run(  # noqa: S603 - our own program
            [*COMMAND, *arguments, "--workspace", "initech"],
            env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode:
            assert (done.returncode, done.stdout) == (1, "")
            [line] = done.stderr.splitlines()
            return line
        assert done.stderr == ""
        return done.stdout.strip()

    return run


def follow(browser: Browser, link: str, **form: str):
    parts = urlsplit(link)
    return browser.submit(f"{parts.path}?{parts.query}", {"password": PASSWORD, "again": PASSWORD, **form})


def test_printed_links_let_a_person_in_once(place, command):
    _, tenant, at, _ = place
    email = tenant.people["tester"].email
    link = command("invite", email)
    assert link.startswith("https://qa.example.com/w/initech/invitation?token=")
    browser = Browser(at.host, at.port)
    assert follow(browser, link, name="Tess Ter").status == 303
    assert "Tess Ter" in browser.get("/w/initech/profile/keys").body
    assert "has a password already" in command("invite", email)

    told = json.loads(command("reset-password", email.upper(), "--json"))
    assert told["expiresInSeconds"] == 3600
    assert follow(browser, told["link"]).status == 303
    parts = urlsplit(told["link"])
    assert browser.get(f"{parts.path}?{parts.query}").status == 410


def test_link_leads_to_the_sub_domain_where_there_is_one(place, command):
    link = command("invite", place[1].people["viewer"].email, TESTORCHESTRATOR_BASE_DOMAIN="example.com")
    assert link.startswith("https://initech.example.com/invitation?token=")


async def test_what_is_missing_is_told_in_one_line(place, command):
    admin, tenant, *_ = place
    outsider = tenant.people["outsider"]
    assert "no active user with the e-mail nobody@x.example" in command("invite", "nobody@x.example")
    assert "TESTORCHESTRATOR_SECRET_KEY" in command("invite", outsider.email, TESTORCHESTRATOR_SECRET_KEY="short")
    assert "TESTORCHESTRATOR_PUBLIC_URL" in command("invite", outsider.email, TESTORCHESTRATOR_PUBLIC_URL="")
    await admin.execute(f"UPDATE {tenant.workspace.schema_name}.users SET active = false WHERE id = {outsider.id}")
    await set_owner_active(admin, workspace_id=tenant.workspace.id, user_id=outsider.id, active=False)
    assert "no active user" in command("reset-password", outsider.email)
