"""Projects of their own for these tests, and what an administrator sets up in them, by SQL as the workspace's role."""

from __future__ import annotations

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.tools.catalog import TOOLS
from tenancy.connection import connect
from tenancy.session import as_owner
from tests.conftest import ToolFailed

if TYPE_CHECKING:
    import asyncpg

    from service.tools.registry import Tool
    from tests.conftest import Client, Tenant

_COUNTER = itertools.count(1)


@dataclass(frozen=True)
class Sql:
    """Queries as the role of one workspace, each in a transaction of its own."""

    connection: asyncpg.Connection
    schema_name: str

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.connection.transaction(), as_owner(self.connection, self.schema_name) as workspace:
            return list(await workspace.fetch(query, *arguments))

    async def value(self, query: str, *arguments: Any) -> Any:
        rows = await self.rows(query, *arguments)
        return rows[0][0] if rows else None

    async def new_project(self, name: str, *, default_access: str = "GLOBAL_ROLE") -> int:
        return await self.value(
            "INSERT INTO projects (name, default_access) VALUES ($1, $2) RETURNING id",
            f"{name} {next(_COUNTER)}",
            default_access,
        )

    async def new_template(self, name: str, *, project: int | None = None, fields: tuple[int, ...] = ()) -> int:
        """Add a template, for one project or for all, with fields in it."""
        template = await self.value(
            "INSERT INTO templates (name, all_projects) VALUES ($1, $2) RETURNING id",
            f"{name} {next(_COUNTER)}",
            project is None,
        )
        if project is not None:
            await self.make_available(project, template_id=template)
        for field in fields:
            await self.rows("INSERT INTO template_fields (template_id, field_id) VALUES ($1, $2)", template, field)
        return template

    async def new_field(
        self, system_name: str, kind: str, *, label: str | None = None, options: dict[str, str] | None = None
    ) -> int:
        """Add a field of cases; *options* are labels by value."""
        field = await self.value(
            "INSERT INTO fields (system_name, label, type) VALUES ($1, $2, $3) RETURNING id",
            system_name,
            label or system_name.replace("_", " ").capitalize(),
            kind,
        )
        if options:
            await self.set_options(field, kind, options)
        if kind == "STEPS":
            await self.rows(
                """
                INSERT INTO field_slots (field_id, slot, label, position)
                SELECT $1, s.slot, s.slot, s.place
                FROM unnest(ARRAY['step', 'expectedResult', 'actualResult', 'notes']) WITH ORDINALITY AS s (slot, place)
                """,
                field,
            )
        return field

    async def set_options(
        self,
        field: int,
        kind: str,
        options: dict[str, str],
        *,
        project: int | None = None,
        template: int | None = None,
    ) -> None:
        await self.rows(
            """
            INSERT INTO field_options (field_id, type, project_id, template_id, value, label, position)
            SELECT $1, $2, $3, $4, o.value, o.label, o.place - 1
            FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS o (value, label, place)
            """,
            field,
            kind,
            project,
            template,
            list(options),
            list(options.values()),
        )

    async def make_available(self, project: int, **what: int) -> None:
        [(column, object_id)] = what.items()
        await self.rows(f"INSERT INTO project_availability (project_id, {column}) VALUES ($1, $2)", project, object_id)


@pytest.fixture(scope="module")
async def connection(world):
    """A superuser's connection to the database of the world."""
    made = await connect(world.admin_url, name="the test server")
    yield made
    await made.close()


@pytest.fixture(scope="module")
def sql(connection, acme):
    """Queries in acme."""
    return Sql(connection, acme.workspace.schema_name)


@pytest.fixture(scope="module")
def globex_sql(connection, globex):
    """Queries in globex."""
    return Sql(connection, globex.workspace.schema_name)


@pytest.fixture(scope="module")
async def project(sql, request):
    """A project of acme for the tests of one module."""
    return await sql.new_project(request.module.__name__.rpartition(".")[2])


@pytest.fixture
async def own_project(sql, request):
    """A project of acme for one test."""
    return await sql.new_project(request.node.name[:60])


@pytest.fixture
async def own_sources_only(sql):
    """Takes away the issue trackers that other tests have given to all projects."""
    others = await sql.rows("UPDATE sources SET enabled = false WHERE all_projects AND enabled RETURNING id")
    yield
    await sql.rows("UPDATE sources SET enabled = true WHERE id = ANY ($1::bigint[])", [row["id"] for row in others])


@pytest.fixture(scope="module")
def person(acme):
    """Returns the client of a person of acme, or of another tenant."""
    clients: dict[tuple[str, str], Client] = {}

    def client(name: str, tenant: Tenant = acme) -> Client:
        return clients.setdefault((tenant.workspace.slug, name), tenant.client(name))

    yield client
    for made in clients.values():
        made.close()


@pytest.fixture(scope="module")
def lead(person):
    """A Lead of acme."""
    return person("lead")


@pytest.fixture
def failing(lead):
    """Calls a tool that must fail, and returns the error's document."""

    def fail(tool: str, **arguments: Any) -> dict[str, Any]:
        with pytest.raises(ToolFailed) as raised:
            lead.call(tool, **arguments)
        assert raised.value.text == raised.value.error["message"]
        return raised.value.error

    return fail


@pytest.fixture
def at_once(acme):
    """Runs functions at the same time, each with a client of its own, and returns results or the errors raised."""

    def run(functions):
        def one(function):
            client = acme.client()
            try:
                return function(client)
            except ToolFailed as failed:
                return failed
            finally:
                client.close()

        with ThreadPoolExecutor(len(functions)) as threads:
            return list(threads.map(one, functions))

    return run


EXAMPLE = re.compile(r"Example: (\{.*\})$", re.DOTALL)


def example(tool: Tool) -> dict[str, Any]:
    """Return the arguments of the example in the tool's description."""
    found = EXAMPLE.search(tool.description)
    assert found, f"the description of {tool.name} must end with: Example: {{…}}"
    return json.loads(found[1])


@dataclass(frozen=True)
class Objects:
    """One object of each sort in a project, by sort."""

    project: int
    ids: dict[str, int]


# Which sort of object an argument names. A new id argument is to be taught here.
SORTS = {
    "caseId": "case",
    "caseIds": "case",
    "addCaseIds": "case",
    "removeCaseIds": "case",
    "assignCaseIds": "case",
    "folderId": "folder",
    "folderIds": "folder",
    "parentId": "folder",
    "templateId": "template",
    "lifecycleStateId": "lifecycle_state",
    "environmentId": "environment",
    "environmentIds": "environment",
    "tags": "tag",
    "addTags": "tag",
    "removeTags": "tag",
    "commentId": "comment",
    "runId": "run",
    "cycleId": "cycle",
    "typeId": "cycle_type",
    "statusId": "status",
    "statusIds": "status",
    "runTags": "run_tag",
    "assigneeId": "user",
    "sourceId": "source",
    "relationId": "relation",
    "linkId": "link",
}
# Arguments whose sort depends on the tool.
SORTS_OF_TOOLS = {
    ("create_cycle", "parentId"): "cycle",
    ("update_cycle", "parentId"): "cycle",
    ("start_test_run", "lifecycleStateId"): "run_state",
    ("update_test_run", "lifecycleStateId"): "run_state",
}


def sort_of(tool: Tool, argument: str) -> str:
    """Return the sort of object that an id argument of the tool names."""
    if special := SORTS_OF_TOOLS.get((tool.name, argument)):
        return special
    assert argument in SORTS, f"teach tests/tools/conftest.py what {argument} of {tool.name} names"
    return SORTS[argument]


async def make_objects(sql: Sql, tenant: Tenant, project: int, *, first_number: int = 1) -> Objects:
    """Make one object of each sort in a project, seen nowhere else if the sort knows projects; and 12 cases, C-1 on."""
    user = tenant.people["lead"].id
    mark = f"{project}-{first_number}"
    ids = {
        "folder": await sql.value("INSERT INTO folders (project_id, name) VALUES ($1, 'Sample') RETURNING id", project),
        "template": await sql.new_template("Sample", project=project),
        "tag": await sql.value(
            "INSERT INTO tags (context, name) VALUES ('REPOSITORY', 'sample-' || $1::text) RETURNING id", mark
        ),
        "run_tag": await sql.value(
            "INSERT INTO tags (context, name) VALUES ('RUNS', 'sample-' || $1::text) RETURNING id", mark
        ),
        "run_state": await sql.value(
            "INSERT INTO lifecycle_states (name, context, all_projects) VALUES ($1, 'RUNS', false) RETURNING id",
            f"sample-{mark}",
        ),
        "user": await sql.value(
            "INSERT INTO users (email, name, role_id) SELECT $1, 'Sample', r.id FROM roles r WHERE r.is_default "
            "RETURNING id",
            f"sample-{mark}@{tenant.workspace.slug}.example",
        ),
    }
    await sql.make_available(project, lifecycle_state_id=ids["run_state"])
    for sort, query in {
        "lifecycle_state": "INSERT INTO lifecycle_states (name, context, all_projects) "
        "VALUES ($1, 'REPOSITORY', false)",
        "environment": "INSERT INTO environments (name, all_projects) VALUES ($1, false)",
        "status": "INSERT INTO statuses (system_name, name, all_projects) VALUES ($1, $1, false)",
        "cycle_type": "INSERT INTO cycle_types (name, all_projects) VALUES ($1, false)",
        "source": "INSERT INTO sources (name, system, key_pattern, all_projects) "
        "VALUES ($1, 'JIRA', '[A-Z]+-[0-9]+', false)",
        "relation": "INSERT INTO relations (name, semantic, all_projects) VALUES ($1, 'GENERAL', false)",
    }.items():
        ids[sort] = await sql.value(f"{query} RETURNING id", f"sample-{mark}")
        await sql.make_available(project, **{f"{sort}_id": ids[sort]})
    cases = await sql.rows(
        """
        INSERT INTO cases (project_id, number, title, template_id, lifecycle_state_id, created_by, updated_by)
        SELECT $1, n, 'Sample case ' || n, t.id, l.id, $2, $2
        FROM generate_series($3, $3 + 11) n, templates t, lifecycle_states l
        WHERE t.is_default AND l.is_default AND l.context = 'REPOSITORY'
        RETURNING id
        """,
        project,
        user,
        first_number,
    )
    await sql.rows("UPDATE projects SET last_case_number = $2 WHERE id = $1", project, first_number + 11)
    ids["case"] = cases[0]["id"]
    await sql.rows(
        """
        INSERT INTO case_versions (case_id, version, snapshot, created_by)
        SELECT c.id, 1, jsonb_build_object(
            'title', c.title, 'template', jsonb_build_object('id', t.id, 'name', t.name),
            'lifecycleState', jsonb_build_object('id', l.id, 'name', l.name),
            'fields', jsonb_build_object(), 'tags', jsonb_build_array(), 'environments', jsonb_build_array()
        ), c.created_by
        FROM cases c
        JOIN templates t ON t.id = c.template_id
        JOIN lifecycle_states l ON l.id = c.lifecycle_state_id
        WHERE c.project_id = $1
        ON CONFLICT DO NOTHING
        """,
        project,
    )
    ids["cycle"] = await sql.value(
        "INSERT INTO cycles (project_id, type_id, name) VALUES ($1, $2, 'Sample') RETURNING id",
        project,
        ids["cycle_type"],
    )
    ids["run"] = await sql.value(
        """
        INSERT INTO runs (project_id, lifecycle_state_id, title, created_by)
        SELECT $1, l.id, 'Sample', $2 FROM lifecycle_states l WHERE l.is_default AND l.context = 'RUNS' RETURNING id
        """,
        project,
        user,
    )
    await sql.rows(
        """
        INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id)
        SELECT $2, c.id, $1, 1, s.id FROM cases c, statuses s WHERE c.project_id = $1 AND s.is_initial
        """,
        project,
        ids["run"],
    )
    ids["comment"] = await sql.value(
        "INSERT INTO comments (project_id, case_id, author_id, body) VALUES ($1, $2, $3, 'Sample') RETURNING id",
        project,
        ids["case"],
        user,
    )
    issue = await sql.value(
        "INSERT INTO issues (project_id, source_id, key) VALUES ($1, $2, 'SAMPLE-1') RETURNING id",
        project,
        ids["source"],
    )
    ids["link"] = await sql.value(
        "INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by) "
        "VALUES ($1, $2, $3, $4, $5) RETURNING id",
        project,
        issue,
        ids["relation"],
        ids["case"],
        user,
    )
    return Objects(project, ids)


@pytest.fixture(scope="module")
async def objects(sql, acme):
    """One object of each sort in a project of acme's own for the whole catalogue."""
    made = await make_objects(sql, acme, await sql.new_project("catalogue"))
    await sql.rows(
        "INSERT INTO project_members (project_id, user_id, mode) VALUES ($1, $2, 'NO_ACCESS')",
        made.project,
        acme.people["outsider"].id,
    )
    return made


@pytest.fixture(scope="module")
async def secret_objects(sql, acme):
    """The same in acme's project that nobody may enter."""
    return await make_objects(sql, acme, acme.projects["secret"])


@pytest.fixture(scope="module")
async def globex_objects(globex_sql, globex):
    """The same in another workspace."""
    # A project of its own, since the first ones of both workspaces have the same ids.
    return await make_objects(globex_sql, globex, await globex_sql.new_project("catalogue"))


# Which tools use up the object that they are called with, so that each call gets a new one.
CONSUMED = {
    "delete_folder": "folder",
    "update_folder": "folder",
    "delete_comment": "comment",
    "close_test_run": "run",
    "reopen_cycle": "cycle",
    "unlink_from_issue": "link",
}


def new_object(client: Client, objects: Objects, sort: str) -> int:
    """Make an object for a tool that uses it up; a cycle is completed."""
    project, case = objects.project, objects.ids["case"]
    if sort == "folder":
        return new_folder(client, project)["id"]
    if sort == "comment":
        return client.call("add_comment", project=project, caseId=case, body="Sample")["id"]
    if sort == "run":
        return client.call("start_test_run", project=project, title="Sample", caseIds=[case])["id"]
    if sort == "link":
        key, source = f"SAMPLE-{next(_COUNTER)}", objects.ids["source"]
        return client.call("link_to_issue", project=project, caseId=case, sourceId=source, issueKey=key)["id"]
    assert sort == "cycle"
    cycle = client.call("create_cycle", project=project, name="Sample")["id"]
    for state in ("ACTIVE", "COMPLETED"):
        client.call("update_cycle", project=project, cycleId=cycle, state=state)
    return cycle


@pytest.fixture
def runnable(objects, lead):
    """Returns arguments of a tool that work: its example, with ids that exist; a new object where it is used up."""

    def put_ids(tool: Tool, given: dict[str, Any]) -> dict[str, Any]:
        for name, value in given.items():
            if name == "project":
                given[name] = objects.project
            elif isinstance(value, int) and name.endswith("Id") and value:
                sort = sort_of(tool, name)
                given[name] = new_object(lead, objects, sort) if CONSUMED.get(tool.name) == sort else objects.ids[sort]
            elif isinstance(value, list) and name.endswith("Ids") and name in SORTS:
                given[name] = [objects.ids[SORTS[name]] if isinstance(item, int) else item for item in value]
            elif isinstance(value, list):
                given[name] = [put_ids(tool, item) if isinstance(item, dict) else item for item in value]
        return given

    def arguments(tool: Tool) -> dict[str, Any]:
        return put_ids(tool, example(tool))

    return arguments


def new_folder(client: Client, project: int, name: str = "Folder", **arguments: Any) -> dict[str, Any]:
    return client.call("create_folder", project=project, name=name, **arguments)


def new_case(client: Client, project: int, title: str = "Case", **arguments: Any) -> dict[str, Any]:
    return client.call("create_test_case", project=project, title=title, **arguments)


def each_tool(*, where=lambda _: True):
    """Parametrize a test with the tools of the catalogue."""
    tools = [tool for tool in TOOLS if where(tool)]
    return pytest.mark.parametrize("tool", tools, ids=[tool.name for tool in tools])
