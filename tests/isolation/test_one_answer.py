"""What may not be seen is not there: another workspace's id, another project's, a deleted one and one that never was.

Byte by byte the same answer, after the same number of queries: neither what comes back nor the work done tells which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise

import pytest

from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.connection import connect
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.session import Gateway
from tests.conftest import MISSING, borrowed
from tests.tools.conftest import SORTS, Sql, example, make_objects, sort_of

# What can be deleted, and how an agent or an administrator does it.
DELETED = {
    "case": "UPDATE cases SET deleted_at = now() WHERE id = $1",
    "comment": "UPDATE comments SET deleted_at = now() WHERE id = $1",
    "folder": "DELETE FROM folders WHERE id = $1",
    "link": "DELETE FROM links WHERE id = $1",
    "tag": "DELETE FROM tags WHERE id = $1",
    "run_tag": "DELETE FROM tags WHERE id = $1",
    "user": "UPDATE users SET active = false WHERE id = $1",
    "status": "UPDATE statuses SET enabled = false WHERE id = $1",
    "environment": "UPDATE environments SET enabled = false WHERE id = $1",
    "lifecycle_state": "UPDATE lifecycle_states SET enabled = false WHERE id = $1",
    "run_state": "UPDATE lifecycle_states SET enabled = false WHERE id = $1",
    "cycle_type": "UPDATE cycle_types SET enabled = false WHERE id = $1",
    "source": "UPDATE sources SET enabled = false WHERE id = $1",
    "relation": "UPDATE relations SET enabled = false WHERE id = $1",
    "template": "UPDATE templates SET enabled = false WHERE id = $1",
}
# These know no projects, so that there is none of another project's.
OF_ALL_PROJECTS = {"tag", "run_tag", "user"}
# Filters go on finding what was recorded before it was disabled.
HISTORY = {
    ("get_test_run", "statusIds"),
    ("get_test_run", "assigneeId"),
    ("list_test_runs", "environmentId"),
    ("get_reverse_traceability", "sourceId"),
}


def places(schema, path=()):
    """Yield the paths of the id arguments in a schema; in arrays, of the first item."""
    for name, inner in schema.get("properties", {}).items():
        if name == "project" or name in SORTS:
            yield (*path, name, *([0] if inner.get("type") == "array" else []))
        elif inner.get("type") == "array":
            yield from places(inner["items"], (*path, name, 0))


PLACES = [(tool, path) for tool in TOOLS for path in places(tool.listing()["inputSchema"])]


@dataclass
class Counted:
    """A host of all tools in this process, and how many queries its connections have sent."""

    host: ToolHost
    key: str
    queries: int = 0

    async def outcome(self, tool, arguments):
        # As the endpoint does: whom the transaction of the call has not confirmed is looked up after it.
        caller = self.host.recall(self.key)
        before = self.queries
        result = await self.host.call(caller, tool, arguments)
        await self.host.confirm(caller)
        assert result.is_error
        return json.dumps(result.structured), result.text, self.queries - before


@pytest.fixture(scope="module")
async def counted(world, acme):
    pool = Pool(world.service_url, size=1)
    made = Counted(ToolHost(Gateway(pool), TOOLS, release=this_release()), acme.people["lead"].key)
    await made.host.authenticate(made.key)

    def count(_query) -> None:
        made.queries += 1

    # The one connection of this pool, which is idle now.
    async with borrowed(pool) as lent:
        connection = lent.connection
        connection.add_query_logger(count)
    yield made
    await pool.close()


@pytest.fixture(scope="module")
async def root(world):
    connection = await connect(world.admin_url, name="root")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def ids(root, acme, globex):
    """Objects of the caller's project, and by sort the ids that the caller must not tell apart."""
    sql = Sql(root, acme.workspace.schema_name)
    own = await make_objects(sql, acme, await sql.new_project("one answer"))
    other = await make_objects(sql, acme, await sql.new_project("one answer, hidden", default_access="NO_ACCESS"))
    gone = await make_objects(sql, acme, await sql.new_project("one answer, gone"))
    there = Sql(root, globex.workspace.schema_name)
    foreign = await make_objects(there, globex, await there.new_project("one answer"))
    # What is deleted was the caller's own project's.
    deleted = await make_objects(sql, acme, own.project, first_number=101)
    for sort, statement in DELETED.items():
        await sql.rows(statement, deleted.ids[sort])

    def of(sort: str) -> dict[str, int]:
        if sort == "project":
            return {"never was": MISSING, "another workspace's": foreign.project, "hidden": other.project}
        found = {"never was": MISSING, "another workspace's": foreign.ids[sort]}
        if sort not in OF_ALL_PROJECTS:
            found["another project's"] = other.ids[sort]
            found["an open project's"] = gone.ids[sort]
        if sort in DELETED:
            found["deleted"] = deleted.ids[sort]
        return found

    return own, of


def put(tool, own, path, value):
    """Return the arguments of the tool's example with ids of the project, and *value* at *path*."""

    def right(given, name):
        if isinstance(given, dict):
            return {key: right(inner, key) for key, inner in given.items()}
        if isinstance(given, list):
            return [right(inner, name) for inner in given[:1]]
        if name == "project":
            return own.project
        return own.ids[sort_of(tool, name)] if name in SORTS else given

    arguments = right(example(tool), "")
    holder = arguments
    for part, following in pairwise(path):
        empty = [None] if isinstance(following, int) else {}
        holder = holder.setdefault(part, empty) if isinstance(holder, dict) else holder[part]
    holder[path[-1]] = value
    return arguments


@pytest.mark.parametrize(
    ("tool", "path"), PLACES, ids=[f"{tool.name}-{'.'.join(map(str, path))}" for tool, path in PLACES]
)
async def test_nothing_tells_which_it_is(tool, path, counted, ids, figure):
    own, of = ids
    name = next(part for part in reversed(path) if isinstance(part, str))
    candidates = of("project" if name == "project" else sort_of(tool, name))
    if (tool.name, name) in HISTORY:
        candidates.pop("deleted", None)
    outcomes = {}
    for which, value in candidates.items():
        arguments = put(tool, own, path, value)
        # Twice, since the first call of its kind lets the driver learn types.
        await counted.outcome(tool.name, arguments)
        document, text, queries = await counted.outcome(tool.name, arguments)
        outcomes[which] = document.replace(str(value), "ID"), text.replace(str(value), "ID"), queries
    assert len(set(outcomes.values())) == 1, outcomes
    [(document, _, _)] = set(outcomes.values())
    assert "not found or access denied" in document
    figure("wrong ids in id arguments of tools, answered alike", len(candidates))


def test_there_is_something_to_test():
    assert len(PLACES) > 60
