"""Guards over the whole catalogue: what every tool must say of itself, and that what it says is true."""

from __future__ import annotations

import json
import re
import sys

import jsonschema
import pytest
import structlog

from service.access import Permission
from service.tools.arguments import Faults, read_object, required, text
from service.tools.catalog import INSTRUCTIONS, TOOLS
from service.tools.host import ToolHost
from service.tools.registry import LONGEST_DESCRIPTION, Tool, read_tool
from service.tools.results import INTEGER, record
from tenancy.keys import create_key
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.session import Gateway
from tests.conftest import MISSING, RpcFailed, ToolFailed
from tests.tools.conftest import each_tool, example
from tests.tools.outputs import check_output

ORDER = [
    *("get_projects", "get_folders", "get_fields", "get_external_sources", "get_cycles", "get_environments"),
    *("get_lifecycles", "get_statuses", "get_tags", "get_users"),
    *("list_test_cases", "search_test_cases", "get_test_case", "create_test_case", "create_test_cases"),
    *("update_test_case", "update_test_cases"),
    *("create_folder", "update_folder", "delete_folder"),
    *("get_comments", "add_comment", "update_comment", "delete_comment"),
    *("list_test_runs", "get_test_run", "start_test_run", "update_test_run", "record_test_result"),
    *("record_test_results", "get_test_run_summary", "close_test_run"),
    *("create_cycle", "update_cycle", "reopen_cycle"),
    *("link_to_issue", "unlink_from_issue", "get_coverage_gaps", "get_reverse_traceability"),
]
# Of the contract, for what needs more than access to the project.
PERMISSIONS = {
    "list_test_cases": {"VIEW_TEST_CASES"},
    "search_test_cases": {"VIEW_TEST_CASES"},
    "get_test_case": {"VIEW_TEST_CASES"},
    "create_test_case": {"CREATE_TEST_CASES"},
    "create_test_cases": {"CREATE_TEST_CASES"},
    "update_test_case": {"EDIT_TEST_CASES"},
    "update_test_cases": {"EDIT_TEST_CASES", "BULK_EDIT_TEST_CASES"},
    "create_folder": {"MANAGE_FOLDERS"},
    "update_folder": {"MANAGE_FOLDERS"},
    "delete_folder": {"MANAGE_FOLDERS"},
    "get_comments": {"VIEW_TEST_CASES"},
    "add_comment": {"ADD_COMMENTS"},
    "update_comment": {"ADD_COMMENTS"},
    "delete_comment": {"VIEW_TEST_CASES"},
    "list_test_runs": {"VIEW_TEST_RUNS"},
    "get_test_run": {"VIEW_TEST_RUNS"},
    "start_test_run": {"CREATE_TEST_RUNS"},
    "update_test_run": {"CREATE_TEST_RUNS"},
    "record_test_result": {"EXECUTE_TESTS"},
    "record_test_results": {"EXECUTE_TESTS"},
    "get_test_run_summary": {"VIEW_TEST_RUNS"},
    "close_test_run": {"CREATE_TEST_RUNS"},
    "create_cycle": {"MANAGE_CYCLES"},
    "update_cycle": {"MANAGE_CYCLES"},
    "reopen_cycle": {"MANAGE_CYCLES"},
    "link_to_issue": {"MANAGE_EXTERNAL_REFERENCES"},
    "unlink_from_issue": {"MANAGE_EXTERNAL_REFERENCES"},
    "get_coverage_gaps": {"VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"},
    "get_reverse_traceability": {"VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"},
}
# Tools of which some arguments, given without others, need something else than what is declared.
PERMISSIONS_BY_ARGUMENT = {"update_test_run": ({"assigneeId", "assignCaseIds"}, {"EXECUTE_TESTS"})}
# Tools that are also for the author alone, of which only the deletion can be permitted to others.
OF_THE_AUTHOR = {"update_comment": None, "delete_comment": "MANAGE_COMMENTS"}
DISCOVERY = set(ORDER[:10])
TOOL_NAME = re.compile(r"\b(?:get|list|search|create|update|delete|start|record|close|add|link)_[a-z_]+")
MOST_TOKENS = 800
MOST_TOKENS_OF_ALL = 14_000
LARGEST_LIST = 120_000


def compact(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def tokens(listed):
    """Return what a model is shown of a tool, in characters divided by four."""
    return len(listed["name"] + listed["description"] + compact(listed["inputSchema"])) / 4


@pytest.fixture(scope="module")
def listed(lead):
    return {tool["name"]: tool for tool in lead.rpc("tools/list")["tools"]}


def test_tools_are_listed_in_the_order_of_the_contract(listed):
    assert list(listed) == [name for name in ORDER if name in listed]
    assert list(listed.values()) == [tool.listing() for tool in TOOLS]


def test_every_key_gets_the_same_list(person, globex, listed):
    for client in (person("viewer"), person("outsider"), person("lead", globex)):
        assert client.rpc("tools/list")["tools"] == list(listed.values())


def test_the_first_tool_can_be_called_without_arguments(lead, listed):
    assert lead.call(next(iter(listed)))["total"] > 0


def test_a_model_is_shown_few_tokens(listed, capsys):
    counts = {name: tokens(tool) for name, tool in listed.items()}
    size = len(json.dumps({"tools": list(listed.values())}, separators=(",", ":")).encode())
    with capsys.disabled():
        largest = max(counts, key=counts.__getitem__)
        print(  # noqa: T201 - the number is worth seeing in every run
            f"\n{len(counts)} tools, {sum(counts.values()):,.0f} tokens; the largest is {largest} with "
            f"{counts[largest]:,.0f}; tools/list has {size:,} bytes"
        )
    assert {name: count for name, count in counts.items() if count > MOST_TOKENS} == {}
    assert sum(counts.values()) <= MOST_TOKENS_OF_ALL
    assert size <= LARGEST_LIST


def test_the_instructions_name_only_tools_that_exist():
    assert set(TOOL_NAME.findall(INSTRUCTIONS)) <= {tool.name for tool in TOOLS}


@each_tool()
def test_a_tool_says_what_it_is(tool, listed):
    shown = listed[tool.name]
    assert re.fullmatch(r"[a-z0-9_]{1,45}", tool.name)
    assert shown["title"].strip()
    assert 40 < len(shown["description"]) <= LONGEST_DESCRIPTION
    annotations = shown["annotations"]
    assert annotations.pop("title") == shown["title"]
    assert annotations.pop("openWorldHint") is False
    assert annotations["readOnlyHint"] is tool.read_only
    assert not (tool.read_only and annotations["destructiveHint"])
    assert all(isinstance(annotations[name], bool) for name in ("readOnlyHint", "destructiveHint", "idempotentHint"))


@each_tool()
def test_a_description_names_only_tools_that_exist(tool):
    assert set(TOOL_NAME.findall(tool.description)) <= {tool.name for tool in TOOLS}


def nested(schema):
    yield schema
    for inner in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from nested(inner)


@each_tool()
def test_the_published_schemas_are_flat_and_valid(tool, listed):
    for name in ("inputSchema", "outputSchema"):
        schema = listed[tool.name][name]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        for inner in nested(schema):
            assert not {"$ref", "oneOf", "allOf", "not"} & set(inner)
            assert inner.get("type") != "null"
            assert isinstance(inner.get("type", ""), str)
    inputs = listed[tool.name]["inputSchema"]
    assert set(inputs) <= {"type", "properties", "required", "additionalProperties"}
    assert all(inner["additionalProperties"] is False for inner in nested(inputs) if "properties" in inner)


@each_tool()
def test_the_published_schema_takes_an_error_but_nothing_incomplete(tool, listed, lead, runnable):
    published = jsonschema.Draft202012Validator(listed[tool.name]["outputSchema"])
    failed = lead.result(tool.name, **{**runnable(tool), **({"project": MISSING} if tool.in_project else {})})
    published.validate(failed["structuredContent"])
    assert failed.get("isError", False) is tool.in_project
    for incomplete in ({}, {"error": {"code": "BUSY"}}, dict.fromkeys(tool.returns["required"][1:], 1)):
        assert not published.is_valid(incomplete)


@each_tool()
def test_an_argument_explains_itself(tool):
    for argument in tool.arguments:
        assert re.fullmatch(r"[a-z][A-Za-z]*", argument.name)
        assert argument.kind.expected


@each_tool()
def test_the_example_reads_against_the_schema(tool, listed):
    given = example(tool)
    faults = Faults()
    read_object(tool.arguments, given, "", faults)
    assert (faults.shape, faults.value) == ([], [])
    jsonschema.Draft202012Validator(listed[tool.name]["inputSchema"]).validate(given)
    assert tool.description.endswith(f"Example: {json.dumps(given)}")


@each_tool()
def test_the_example_runs_and_answers_as_published(tool, lead, runnable):
    check_output(tool, lead.call(tool.name, **runnable(tool)))


def test_an_answer_with_what_is_not_published_is_found():
    [tool] = [tool for tool in TOOLS if tool.name == "list_test_cases"]
    times = {"updatedAt": "2026-11-22T09:00:00+00:00"}
    case = {"id": 1, "number": "C-1", "title": "t", "lifecycleState": "Ready", "tags": [], "version": 1, **times}
    check_output(tool, {"items": [case], "total": 1})
    wrong = [{"other": 1}, {"folder": {"id": 1, "name": "f", "path": "f"}}, {"updatedAt": "yesterday"}, {"id": None}]
    for part in [*wrong, {"updatedAt": "2026-11-22T09:00:00"}, {"priority": ""}, {"tags": [""]}]:
        with pytest.raises((jsonschema.ValidationError, AssertionError)):
            check_output(tool, {"items": [{**case, **part}], "total": 1})


@each_tool(where=lambda tool: not tool.read_only)
async def test_a_write_leaves_audit_rows_and_its_dry_run_none(*, tool, lead, runnable, sql, acme):
    arguments = runnable(tool)
    last = await sql.value("SELECT coalesce(max(id), 0) FROM audit_log")
    dry = lead.call(tool.name, **arguments, dryRun=True)
    check_output(tool, dry)
    assert dry["dryRun"] is True
    assert await sql.value("SELECT coalesce(max(id), 0) FROM audit_log") == last
    # A change that is there already would change nothing, and leave no row.
    another = dict.fromkeys(("title", "name", "body"), f"Another {last}") | {"issueKey": f"ANOTHER-{last + 1}"}
    known = {argument.name for argument in tool.arguments} if tool.name.startswith("update") else set(arguments)
    arguments |= {name: value for name, value in another.items() if name in known}
    answer = lead.call(tool.name, **arguments)
    assert "dryRun" not in answer
    rows = await sql.rows(
        "SELECT user_id, api_key_id, tool, action, object_id, project_id, version_before, version_after "
        "FROM audit_log WHERE id > $1",
        last,
    )
    assert rows
    for row in rows:
        assert (row["user_id"], row["tool"]) == (acme.people["lead"].id, tool.name)
        assert row["api_key_id"] is not None
        assert row["project_id"] == arguments["project"]
        assert row["action"] in {"create", "update", "delete"}
        assert (row["version_before"] is None) == (row["action"] == "create")
        assert (row["version_after"] is None) == (row["action"] == "delete")
    if "id" in answer:
        assert rows[0]["object_id"] == answer["id"]


EVERYTHING = frozenset(Permission)


class Probe:
    """A person whose permissions are given for every call."""

    def __init__(self, sql, client, role):
        self.sql, self.client, self.role = sql, client, role

    async def outcome(self, tool, arguments, permissions):
        await self.sql.rows("UPDATE roles SET permissions = $2 WHERE id = $1", self.role, sorted(permissions))
        return self.client.result(tool.name, **arguments)

    async def comment(self, project):
        """Return the id of a new comment of that person."""
        await self.sql.rows("UPDATE roles SET permissions = $2 WHERE id = $1", self.role, sorted(EVERYTHING))
        return self.client.call("add_comment", project=project, caseId="C-1", body="Mine")["id"]


@pytest.fixture(scope="module")
async def probe(sql, connection, acme):
    role = await sql.value("INSERT INTO roles (name) VALUES ('Probe') RETURNING id")
    user = await sql.value(
        "INSERT INTO users (email, name, role_id) VALUES ('probe@acme.example', 'Probe', $1) RETURNING id", role
    )
    key = await create_key(connection, workspace_id=acme.workspace.id, user_id=user, label="probe")
    client = acme.client()
    client.key = key
    yield Probe(sql, client, role)
    client.close()


@each_tool()
def test_a_tool_declares_the_permissions_of_the_contract(tool):
    expected = set() if tool.name in DISCOVERY else PERMISSIONS[tool.name]
    assert set(tool.permissions) == expected
    special, permissions = PERMISSIONS_BY_ARGUMENT.get(tool.name, (set(), set()))
    always = {argument.python_name for argument in tool.arguments if argument.required}
    assert set(tool.needed(always)) == expected
    for argument in tool.arguments:
        alone, beside = {argument.python_name}, {other.python_name for other in tool.arguments}
        assert set(tool.needed(always | alone)) == (permissions if argument.name in special else expected)
        assert set(tool.needed(always | beside)) == expected | permissions


@pytest.fixture
def permitted(runnable, probe):
    """Arguments of a tool that work for the probe, once it has the permissions."""

    async def make(tool):
        arguments = runnable(tool)
        if tool.name in OF_THE_AUTHOR:
            arguments["commentId"] = await probe.comment(arguments["project"])
        return arguments

    return make


@each_tool(where=lambda tool: tool.permissions)
async def test_a_tool_needs_exactly_its_permissions(tool, probe, permitted, lead):
    arguments = await permitted(tool)
    missing = lead.result(tool.name, **{**arguments, "project": MISSING})
    assert missing["structuredContent"]["error"]["code"] == "NOT_FOUND_OR_DENIED"
    assert missing["content"][0]["text"] == "not found or access denied"
    for permission in tool.permissions:
        assert await probe.outcome(tool, arguments, EVERYTHING - {permission}) == missing
    assert await probe.outcome(tool, arguments, frozenset()) == missing
    allowed = await probe.outcome(tool, arguments, frozenset(tool.permissions))
    assert not allowed.get("isError"), allowed


@each_tool(where=lambda tool: tool.name in PERMISSIONS_BY_ARGUMENT)
async def test_arguments_with_permissions_of_their_own_need_those(tool, probe, runnable, lead, objects):
    special, permissions = PERMISSIONS_BY_ARGUMENT[tool.name]
    values = {"assigneeId": objects.ids["user"], "assignCaseIds": [objects.ids["case"]]}
    usual = runnable(tool)
    alone = {argument.name: usual[argument.name] for argument in tool.arguments if argument.required} | values
    assert set(values) == special
    missing = lead.result(tool.name, **{**usual, "project": MISSING})
    both = {**usual, **values}
    for arguments, needed in ((alone, permissions), (both, permissions | set(tool.permissions))):
        for permission in needed:
            assert await probe.outcome(tool, arguments, EVERYTHING - {permission}) == missing
        allowed = await probe.outcome(tool, arguments, needed)
        assert not allowed.get("isError"), allowed


@each_tool(where=lambda tool: tool.name in OF_THE_AUTHOR)
async def test_what_is_for_the_author_is_refused_to_others(tool, probe, runnable):
    arguments, permission = runnable(tool), OF_THE_AUTHOR[tool.name]
    without = EVERYTHING - {permission}
    assert (await probe.outcome(tool, arguments, without))["isError"]
    if permission:
        allowed = await probe.outcome(tool, arguments, {*tool.permissions, permission})
        assert not allowed.get("isError"), allowed


@each_tool(where=lambda tool: tool.in_project and not tool.permissions)
async def test_a_tool_without_permissions_needs_access_to_the_project(tool, probe, runnable, acme, person):
    assert tool.read_only
    allowed = await probe.outcome(tool, runnable(tool), frozenset())
    assert not allowed.get("isError"), allowed
    with pytest.raises(ToolFailed, match="not found or access denied"):
        person("outsider").call(tool.name, project=acme.project)


@read_tool(
    title="Lie",
    description="Write although it says that it reads.",
    arguments=(required("name", text(maximum=50)),),
    returns=record({"id": INTEGER}),
)
async def lying_tool(work, *, project, name):
    query = "INSERT INTO folders (project_id, name) VALUES ($1, $2) RETURNING id"
    return {"id": await work.connection.fetchval(query, project, name)}


@pytest.fixture
async def host_of(world, acme):
    """Makes a host of given tools over the world's database, and acme's Lead as who calls."""
    pool = Pool(world.service_url, size=2)
    gateway = Gateway(pool)
    caller = await ToolHost(gateway, (), release=this_release()).authenticate(acme.people["lead"].key)

    def make(*tools):
        return ToolHost(gateway, tools, release=this_release()), caller

    yield make
    await pool.close()


async def test_a_read_tool_that_writes_fails_and_only_the_log_says_why(host_of, acme, sql):
    host, caller = host_of(lying_tool)
    assert isinstance(lying_tool, Tool)
    with structlog.testing.capture_logs() as logs:
        result = await host.call(caller, "lying_tool", {"project": acme.project, "name": "a lie"})
    assert result.is_error
    error = result.structured["error"]
    assert (error["code"], result.text) == ("SERVER_FAULT", error["message"])
    [log] = [log for log in logs if log["event"] == "tool_failed"]
    assert log["reference"] in error["message"]
    assert log["exc_info"]
    assert "read-only" not in error["message"]
    assert "a lie" not in json.dumps([{k: str(v) for k, v in entry.items()} for entry in logs])
    assert await sql.value("SELECT count(*) FROM folders WHERE name = 'a lie'") == 0


async def test_the_cause_of_that_failure_is_the_read_only_transaction(host_of, acme, monkeypatch):
    host, caller = host_of(lying_tool)
    causes = []
    monkeypatch.setattr("service.tools.host._LOG", Recorder(causes))
    await host.call(caller, "lying_tool", {"project": acme.project, "name": "a lie"})
    assert [getattr(cause, "sqlstate", None) for cause in causes] == ["25006"]


class Recorder:
    """A log that keeps the exception being handled."""

    def __init__(self, causes):
        self.causes = causes

    def __getattr__(self, _level):
        return lambda *_, **__: self.causes.append(sys.exception())


def test_an_unknown_tool_names_the_nearest(lead):
    with pytest.raises(RpcFailed) as raised:
        lead.rpc("tools/call", {"name": "get_project", "arguments": {}})
    assert raised.value.code == -32602
    assert "get_projects" in raised.value.error["message"]
