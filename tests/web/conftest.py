"""What the tests of the pages work with besides the world."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import SMTP

from tenancy.accounts import set_password
from tenancy.connection import connect
from tenancy.roles import APP
from tests.conftest import make_tenant, new_database, serving
from tests.tools.conftest import connection, sql
from tests.web.browsing import Browser, quick_hash

__all__ = ["connection", "sql"]

PASSWORD = "Quiet-Harbour-Lamps-47"


@pytest.fixture(scope="module")
async def world_admin(world):
    """A superuser's connection to the world's database."""
    connection = await connect(world.admin_url, name="the test server")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def passwords(world, world_admin):
    """Everybody in both workspaces has the same password, but for the viewers, who have none."""
    for tenant in (world.acme, world.globex):
        for name in tenant.people:
            if name != "viewer":
                await give_password(world_admin, tenant, name)
    return PASSWORD


@pytest.fixture
def browser(world):
    """A browser that nobody has used yet."""
    return Browser(world.host, world.port)


@asynccontextmanager
async def place_of_its_own(postgres, *, services: int = 1, **settings):
    """A database with the workspace initech, whose lead has a password, and services over it."""
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(user=APP, database=name)
        with ExitStack() as stack:
            places = [stack.enter_context(serving(url, **settings)) for _ in range(services)]
            tenant = await make_tenant(admin, "initech", host=places[0][0], port=places[0][1])
            await give_password(admin, tenant, "lead")
            yield admin, tenant, [Browser(*place) for place in places]


async def give_password(admin, tenant, name: str) -> None:
    await set_password(
        admin, workspace_id=tenant.workspace.id, user_id=tenant.people[name].id, password_hash=quick_hash(PASSWORD)
    )


class Inbox(Message):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = []

    def handle_message(self, message) -> None:
        self.messages.append(message)

    async def wait(self, count: int):
        for _ in range(200):
            if len(self.messages) >= count:
                return self.messages
            await asyncio.sleep(0.05)
        raise AssertionError(f"{len(self.messages)} of {count} messages came")


@pytest.fixture
async def mail_server():
    """A real SMTP server on loopback; what it got, and the settings for it."""
    inbox, loop = Inbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop), "127.0.0.1", 0)
    settings = {
        "smtp_host": "127.0.0.1",
        "smtp_port": server.sockets[0].getsockname()[1],
        "smtp_security": "none",
        "mail_from": "TestOrchestrator <qa@initech.example>",
        "public_url": "https://qa.initech.example",
    }
    async with server:
        yield inbox, settings


def link_in(message) -> str:
    [address] = re.findall(r"https://\S+", message.get_payload(decode=True).decode())
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("https", "qa.initech.example")
    return f"{parts.path}?{parts.query}"
