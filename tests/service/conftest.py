"""Work in acme's workspace as an operator does it."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager, suppress

import pytest

from service.domain.work import Work
from tenancy.session import Actor, as_workspace
from tests.conftest import make_tenant, new_database


class _Undone(Exception):
    """Ends the work of a test, of which nothing stays; some tests end in a transaction that takes no query any more."""


@pytest.fixture(scope="module")
async def alone(postgres):
    """An administrator's connection to a database with a workspace acme as the world has one, and that tenant."""
    async with new_database(postgres) as (_, connection):
        yield connection, await make_tenant(connection, "acme", host="", port=0)


@pytest.fixture
async def work(alone):
    """An operator's work in that acme."""
    connection, tenant = alone
    with suppress(_Undone):
        async with as_workspace(connection, tenant.workspace.schema_name, actor=Actor(tool="test")) as entered:
            yield Work(connection=entered)
            raise _Undone


@asynccontextmanager
async def undone(work):
    """The same work with no change so far; what is done inside is undone."""
    with suppress(_Undone):
        async with work.connection.savepoint():
            yield dataclasses.replace(work, changes=[])
            raise _Undone
