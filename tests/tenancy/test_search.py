"""Words by an index: where the extension is, who can reach it, and that all goes well without it."""

from __future__ import annotations

import asyncpg
import pytest

from service.domain.cases import search_cases
from service.domain.work import Work
from tenancy.migrate import migrate
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.search import INDEX, SCHEMA, workspaces_without_index
from tenancy.session import Actor, as_workspace
from tests.bench.large import make_large


async def found(admin, large, query: str) -> tuple[int, list[str]]:
    """The total and the first numbers that a search answers."""
    actor = Actor(user_id=large.user, tool="test")
    async with as_workspace(admin, large.workspace.schema_name, actor=actor) as connection:
        page = await search_cases(Work(connection=connection), large.project, query=query, limit=20)
    return page["total"], [item["number"] for item in page["items"]]


async def test_answers_are_the_same_without_the_extension_and_the_next_migration_brings_it_back(admin):
    large = await make_large(admin, cases=300, neighbour=30)
    queries = ["cart", "CART pri", "zebra", "C-17", "17", "ca", "no such word", "%", "_ae", "after 2"]
    with_index = [await found(admin, large, query) for query in queries]
    assert with_index[0][0] > with_index[1][0] > 0
    assert (await look(admin)).settings["search"] == "by index"

    await admin.execute("DROP EXTENSION pg_trgm CASCADE")
    assert await workspaces_without_index(admin) == [large.workspace.schema_name]
    assert [await found(admin, large, query) for query in queries] == with_index
    assert "run migrate" in (await look(admin)).settings["search"]
    await create_workspace(admin, slug="without", name="Without")

    await migrate(admin)
    assert await workspaces_without_index(admin) == []
    assert [await found(admin, large, query) for query in queries] == with_index
    posture = await look(admin)
    assert posture.is_sound
    assert posture.settings["search"] == "by index"


async def test_an_index_whose_making_was_interrupted_is_made_anew(admin):
    workspace = await create_workspace(admin, slug="half", name="Half")
    index = f"{workspace.schema_name}.{INDEX}"
    await admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", index)
    assert (await look(admin)).settings["search"] == "by index but in 1 workspaces: run migrate"
    await migrate(admin)
    assert await workspaces_without_index(admin) == []


async def test_an_extension_that_is_there_already_moves_to_where_only_the_owner_reaches_it(admin):
    await admin.execute("DROP EXTENSION pg_trgm")
    await admin.execute("CREATE EXTENSION pg_trgm SCHEMA public")
    await migrate(admin)
    schema = await admin.fetchval("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'")
    assert schema == SCHEMA
    await create_workspace(admin, slug="moved", name="Moved")
    assert await workspaces_without_index(admin) == []
    assert (await look(admin)).is_sound


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT {SCHEMA}.set_limit(0.1)",
        f"SELECT {SCHEMA}.similarity('a', 'b')",
        f"SELECT 'a' OPERATOR({SCHEMA}.%) 'b'",
    ],
)
async def test_a_workspace_can_call_nothing_of_it(admin, query):
    workspace = await create_workspace(admin, slug="acme", name="Acme")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=SCHEMA):
        async with as_workspace(admin, workspace.schema_name) as connection:
            await connection.fetch(query)
