"""Every tool that reads, over the demo and over a project that is large in every way.

What comes back is what is published; pages taken together hold what their total says, once and in one order; and no
answer floods its reader.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from service.tools.catalog import TOOLS
from tenancy.keys import create_key
from tenancy.provision import create_workspace
from tenancy.strict import open_logins
from tests.conftest import STRICT_LOGINS, Client, make_tenant
from tests.tools.conftest import Sql, each_tool, example, sort_of
from tests.tools.large_project import MANY, fill
from tests.tools.outputs import check_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.tools.registry import Tool

DEFAULT_PAGE = 5_000
LARGEST_ANSWER = 20_000
READING = [tool for tool in TOOLS if tool.read_only]
PAGED = [tool for tool in TOOLS if {"limit", "cursor"} <= {argument.name for argument in tool.arguments}]


@dataclass(frozen=True)
class Scene:
    """A project to read in, with the ids of a few objects of each sort, those with most to show first."""

    name: str
    client: Client
    project: int
    ids: dict[str, list[int]]
    texts: dict[str, list[str]]


# What there is in a project to name in arguments; what has most below it first.
OBJECTS = {
    "case": "SELECT c.id FROM cases c WHERE c.project_id = $1 AND c.deleted_at IS NULL ORDER BY "
    "(SELECT count(*) FROM comments m WHERE m.case_id = c.id) DESC, c.number LIMIT 3",
    "folder": "SELECT f.id FROM folders f WHERE f.project_id = $1 ORDER BY f.depth, f.id LIMIT 2",
    "run": "SELECT r.id FROM runs r WHERE r.project_id = $1 ORDER BY "
    "(SELECT count(*) FROM run_cases rc WHERE rc.run_id = r.id) DESC, r.id LIMIT 3",
    "cycle": "SELECT c.id FROM cycles c WHERE c.project_id = $1 ORDER BY "
    "(SELECT count(*) FROM runs r WHERE r.cycle_id = c.id) DESC, c.id LIMIT 3",
    "tag": "SELECT t.id FROM tags t JOIN case_tags ct ON ct.tag_id = t.id JOIN cases c ON c.id = ct.case_id "
    "WHERE c.project_id = $1 GROUP BY t.id ORDER BY count(*) DESC, t.id LIMIT 1",
    "template": "SELECT t.id FROM templates t WHERE $1 > 0 AND t.is_default",
    "lifecycle_state": "SELECT l.id FROM lifecycle_states l WHERE $1 > 0 AND l.include_in_runs ORDER BY l.id LIMIT 1",
    "environment": "SELECT e.id FROM environments e WHERE $1 > 0 AND e.all_projects ORDER BY e.id LIMIT 2",
    "status": "SELECT s.id FROM statuses s WHERE $1 > 0 AND s.failure ORDER BY s.id LIMIT 1",
    "user": "SELECT rc.assignee_id FROM run_cases rc WHERE rc.project_id = $1 AND rc.assignee_id IS NOT NULL "
    "GROUP BY rc.assignee_id ORDER BY count(*) DESC, rc.assignee_id LIMIT 2",
    "source": "SELECT i.source_id FROM issues i WHERE i.project_id = $1 GROUP BY i.source_id ORDER BY count(*) DESC "
    "LIMIT 1",
}
ISSUES = (
    "SELECT i.key FROM issues i WHERE i.project_id = $1 "
    "ORDER BY (SELECT count(*) FROM links k WHERE k.issue_id = i.id) DESC, i.id LIMIT 3"
)


async def make_scene(sql: Sql, client: Client, project: int, name: str) -> Scene:
    ids = {sort: [row[0] for row in await sql.rows(query, project)] for sort, query in OBJECTS.items()}
    texts = {"query": ["case", "in o"], "issueKey": [row[0] for row in await sql.rows(ISSUES, project)]}
    return Scene(name, client, project, ids, texts)


@pytest.fixture(scope="module")
async def demo(world, connection):
    """The demo's projects, as its owner sees them."""
    workspace = await create_workspace(connection, slug="demo", name=DEMO_NAME, reserved=True, populate=populate_demo)
    await open_logins(connection, STRICT_LOGINS, [workspace.schema_name])
    sql = Sql(connection, workspace.schema_name)
    owner = await sql.value("SELECT id FROM users WHERE email = $1", demo_owner_email())
    client = Client(
        world.host,
        world.port,
        await create_key(connection, workspace_id=workspace.id, user_id=owner, label="lists"),
    )
    yield [
        await make_scene(sql, client, project["id"], f"demo, {project['name']}")
        for project in client.call("get_projects", includeCompleted=True)["items"]
    ]
    client.close()


@pytest.fixture(scope="module")
async def large(world, connection):
    """A project with three hundred of everything, and the longest texts."""
    tenant = await make_tenant(connection, "large", host=world.host, port=world.port)
    sql = Sql(connection, tenant.workspace.schema_name)
    await fill(sql, tenant.project, tenant.people["lead"].id)
    client = tenant.client()
    yield await make_scene(sql, client, tenant.project, "large")
    client.close()


def values_of(name: str, schema: dict[str, Any], tool: Tool, scene: Scene) -> list[Any]:
    """Return values for an argument that name something in the scene."""
    if name in scene.texts:
        return list(scene.texts[name])
    kind = schema.get("type")
    if kind == "array":
        return [scene.ids[sort_of(tool, name)][:1]]
    if kind is None or (kind == "integer" and "minimum" not in schema):
        return list(scene.ids[sort_of(tool, name)])
    least = schema.get("minimum")
    return schema.get("enum") or {
        "boolean": [True, False], "object": [{"priority": "High"}], "string": ["2026-01-01"], "integer": [least]
    }[kind]  # fmt: skip


def calls(tool: Tool, scene: Scene, *, only_choices: bool = False) -> list[dict[str, Any]]:
    """Return arguments of a tool that reads: what it must have, and beside it each thing (or word) it may have."""
    published = tool.listing()["inputSchema"].get("properties", {})
    needed, options = {}, {}
    for argument in tool.arguments:
        if argument.name in {"project", "limit", "cursor"}:
            continue
        values = values_of(argument.name, published[argument.name], tool, scene)
        if argument.required:
            needed[argument.name] = values
        elif "enum" in published[argument.name] or not only_choices:
            options[argument.name] = values
    base = {"project": scene.project} if tool.in_project else {}
    made = []
    for chosen in itertools.product(*needed.values()):
        given = base | dict(zip(needed, chosen, strict=True))
        made.append(given)
        narrower = [given | {name: value} for name, values in options.items() for value in values]
        # Not every object is in every other, such as a case in a run.
        made += [each for each in narrower if not scene.client.result(tool.name, **each).get("isError")]
    return made


def walk(client: Client, tool: Tool, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield page after page."""
    given, seen = dict(arguments), set()
    while True:
        page = client.call(tool.name, **given)
        yield page
        if "nextCursor" not in page:
            return
        given["cursor"] = page["nextCursor"]
        assert given["cursor"] not in seen, f"{arguments} never end"
        seen.add(given["cursor"])


def tokens(document: Any) -> float:
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False)) / 4


def check_pages(tool: Tool, scene: Scene, *limits: int | None, only_choices: bool = False) -> int:
    """Fail unless every limit gives the same items, each once, as many as their total; return how many there were."""
    most = 0
    for arguments in calls(tool, scene, only_choices=only_choices):
        told = f"{scene.name}: {arguments}"
        walks = {
            limit: list(walk(scene.client, tool, arguments | ({"limit": limit} if limit else {}))) for limit in limits
        }
        items = {limit: [item for page in pages for item in page.get("items", ())] for limit, pages in walks.items()}
        first = items[limits[0]]
        keys = [json.dumps([item.get(name) for name in ("id", "caseId", "issueKey", "source")]) for item in first]
        assert len(set(keys)) == len(keys), told
        for limit, pages in walks.items():
            assert items[limit] == first, (told, limit)
            assert all(page.get("items") for page in pages[1:]), (told, limit)
            assert all(len(page.get("items", ())) <= (limit or 50) for page in pages), (told, limit)
            assert {page.get("total", 0) for page in pages} == {len(first)}, (told, limit)
        most = max(most, len(first))
    return most


@each_tool(where=lambda tool: tool in PAGED)
def test_pages_of_the_demo_hold_what_their_total_says_once_and_in_one_order(tool, demo):
    assert tool.read_only
    assert max([check_pages(tool, scene, 200, 7, 1) for scene in demo]) > 1


@each_tool(where=lambda tool: tool in PAGED)
def test_pages_of_a_large_project_hold_what_their_total_says_once_and_in_one_order(tool, large):
    assert check_pages(tool, large, 200, None, only_choices=True) >= MANY


@each_tool(where=lambda tool: tool in READING)
def test_every_answer_over_the_demo_is_as_published_and_short(tool, demo):
    for scene in demo:
        for arguments in calls(tool, scene):
            answer = scene.client.call(tool.name, **arguments)
            check_output(tool, answer)
            assert tokens(answer) < DEFAULT_PAGE, arguments
            assert "truncated" not in answer, arguments


@each_tool(where=lambda tool: tool in READING)
def test_no_answer_over_a_large_project_floods_its_reader(tool, large):
    for arguments in calls(tool, large):
        limits = [({}, DEFAULT_PAGE), ({"limit": 200}, LARGEST_ANSWER)]
        # One case of a run is told in full.
        if tool not in PAGED or "caseId" in arguments.keys() - example(tool).keys():
            limits = [({}, LARGEST_ANSWER)]
        for limit, most in limits:
            pages = itertools.islice(walk(large.client, tool, arguments | limit), 2)
            for answer in pages:
                check_output(tool, answer)
                assert tokens(answer) <= most, (arguments, limit)


LONG = '"' * 255
# What is written or refused many at a time; numbers are those of cases.
MANY_AT_A_TIME = {
    "cases created": ("create_test_cases", lambda _: {"cases": [{"title": LONG, "tags": TAGS}] * 200}),
    "cases changed": ("update_test_cases", lambda _: {"caseIds": numbers(200), "addTags": TAGS, "title": LONG}),
    "cases that are none": ("update_test_cases", lambda _: {"caseIds": numbers(200, 1_000), "title": LONG}),
    "cases refused": (
        "create_test_cases",
        lambda _: {"cases": [{"title": LONG, "tags": [LONG], "estimate": "x"}] * 200},
    ),
    "a run of all": ("start_test_run", lambda _: {"title": LONG, "notes": LONG, "includeAll": True, "runTags": TAGS}),
    "cases that are not in the run": (
        "update_test_run",
        lambda scene: {"runId": scene.ids["run"][1], "assignCaseIds": numbers(300), "assigneeId": 0},
    ),
    "results": (
        "record_test_results",
        lambda scene: {
            "runId": scene.ids["run"][0],
            "results": [
                {"caseId": number, "statusId": "status-1", "comment": "c" * 1_000, **defect(scene)}
                for number in numbers(300)
            ],
        },
    ),
    "results refused": (
        "record_test_results",
        lambda scene: {"runId": scene.ids["run"][0], "results": [{"caseId": "C-1", "statusId": LONG}] * 500},
    ),
    "a run with failures": ("close_test_run", lambda scene: {"runId": scene.ids["run"][0]}),
    "a run with failures, closed": ("close_test_run", lambda scene: {"runId": scene.ids["run"][0], "force": True}),
}
REFUSED = {
    *("cases that are none", "cases refused", "cases that are not in the run", "results refused"),
    "a run with failures",
}
TAGS = [f"{f'tag-{number}-':x<50}" for number in range(1, 51)]


def numbers(count: int, first: int = 1) -> list[str]:
    return [f"C-{number}" for number in range(first, first + count)]


def defect(scene: Scene) -> dict[str, Any]:
    return {"issueKey": scene.texts["issueKey"][0], "sourceId": scene.ids["source"][0]}


@pytest.mark.parametrize("what", MANY_AT_A_TIME)
def test_no_answer_to_a_write_of_many_floods_its_reader(what, large):
    name, arguments = MANY_AT_A_TIME[what]
    [tool] = [tool for tool in TOOLS if tool.name == name]
    result = large.client.result(name, project=large.project, **arguments(large), dryRun=True)
    assert tokens(result["structuredContent"]) <= LARGEST_ANSWER
    assert result.get("isError", False) is (what in REFUSED), result["content"][0]["text"][:500]
    if what in REFUSED:
        assert result["structuredContent"]["error"]["code"] in {"BULK_REFUSED", "CLOSE_GUARD", "INVALID_VALUE"}
    else:
        check_output(tool, result["structuredContent"])


def test_every_argument_that_narrows_a_list_has_been_tried(demo):
    for tool in READING:
        tried = {name for scene in demo for arguments in calls(tool, scene) for name in arguments}
        assert tried == {argument.name for argument in tool.arguments} - {"limit", "cursor"}, tool.name
        assert example(tool).keys() <= tried | {"limit"}
