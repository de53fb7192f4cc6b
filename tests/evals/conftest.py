"""A demo workspace of its own for each task, since tasks change what is in it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from tenancy.connection import connect
from tenancy.keys import create_key
from tenancy.provision import create_workspace
from tenancy.strict import open_logins
from tests.conftest import STRICT_LOGINS, Client
from tests.tools.conftest import Sql

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Demo:
    """A demo workspace: what an agent reaches with its owner's key, and what the database says."""

    client: Client
    sql: Sql


@pytest.fixture
async def demo(world):
    admin = await connect(world.admin_url, name="the test server")
    slug = f"eval-{next(_NUMBERS)}"
    workspace = await create_workspace(admin, slug=slug, name=DEMO_NAME, populate=populate_demo)
    await open_logins(admin, STRICT_LOGINS, [workspace.schema_name])
    sql = Sql(admin, workspace.schema_name)
    owner = await sql.value("SELECT id FROM users WHERE email = $1", demo_owner_email())
    key = await create_key(admin, workspace_id=workspace.id, user_id=owner, label="An agent")
    client = Client(world.host, world.port, key)
    yield Demo(client, sql)
    client.close()
    await admin.close()
