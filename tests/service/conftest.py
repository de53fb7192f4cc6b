"""Work in acme's workspace as an operator does it."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager, suppress

import pytest

from service.audit import Actor
from service.domain.work import Work
from tenancy.connection import connect
from tenancy.session import as_workspace


class _Undone(Exception):
    """Ends the work of a test, of which nothing stays; some tests end in a transaction that takes no query any more."""


@pytest.fixture
async def work(world, acme):
    """An operator's work in acme."""
    connection = await connect(world.admin_url, name="the test server")
    with suppress(_Undone):
        async with as_workspace(connection, acme.workspace.schema_name) as entered:
            yield Work(connection=entered, actor=Actor(user_id=None, api_key_id=None, tool="test"))
            raise _Undone
    await connection.close()


@asynccontextmanager
async def undone(work):
    """The same work with no change so far; what is done inside is undone."""
    with suppress(_Undone):
        async with work.connection.savepoint():
            yield dataclasses.replace(work, changes=[])
            raise _Undone
