"""An agent's whole job through the official SDK: author, execute, report, trace and close out, in a fresh workspace.

It remembers what it did, and what the service tells afterwards must be that; then a Viewer sees the same and changes
nothing.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from service.tools.catalog import TOOLS
from tenancy.connection import connect
from tenancy.session import as_owner
from tests.conftest import make_tenant

AREAS = {
    "Shop": {"Cart": ("Prices", "Vouchers"), "Checkout": ("Cards", "Invoices")},
    "Account": {"Sign-in": ("Password", "MFA"), "Profile": ("Address", "Privacy")},
}
CASES = 120
IN_FOLDER = CASES // 8
DRAFTS = 5
COVERED = 60
REQUIREMENTS = 20
EXAMPLE = re.compile(r"Example: (\{.*\})$", re.DOTALL)
DICE = random.Random(2026)  # noqa: S311 - the same outcomes in every run
OUTCOMES = ("Passed", "Failed", "Blocked", "Skipped")
WEIGHTS = (76, 14, 5, 5)


class Refused(Exception):
    """A tool's error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.error = error


@dataclass
class Agent:
    """A connected client that counts what it reads."""

    client: Client
    project: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    characters: int = 0

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        given = arguments if tool == "get_projects" else {"project": self.project, **arguments}
        result = await self.client.call_tool(tool, given)
        self.calls[tool] += 1
        [content] = result.content
        self.characters += len(content.text)
        if result.is_error:
            assert content.text == result.structured_content["error"]["message"]
            raise Refused(result.structured_content["error"])
        assert json.loads(content.text) == result.structured_content
        return result.structured_content

    async def refusal(self, tool: str, **arguments: Any) -> dict[str, Any]:
        with pytest.raises(Refused) as raised:
            await self(tool, **arguments)
        return raised.value.error

    async def all_items(self, tool: str, **arguments: Any) -> list[dict[str, Any]]:
        items, cursor = [], {}
        while True:
            page = await self(tool, **arguments, **cursor)
            items += page["items"]
            if "nextCursor" not in page:
                assert len(items) == page["total"]
                return items
            cursor = {"cursor": page["nextCursor"]}


@asynccontextmanager
async def connected(tenant, person):
    headers = {"Authorization": f"Bearer {tenant.people[person].key}"}
    url = f"http://{tenant.host}:{tenant.port}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield Agent(client, tenant.project)


@dataclass
class Known:
    """What the agent has done, from its own notes."""

    folders: dict[str, int] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)
    cases: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    cycle: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    source: int = 0
    # The requirement that a case covers, by case.
    covers: dict[int, str] = field(default_factory=dict)
    # The outcome by run and case.
    outcomes: dict[tuple[str, int], str] = field(default_factory=dict)
    # The last outcome, by case.
    latest: dict[int, str] = field(default_factory=dict)
    # The issue of a failed case, by run and case.
    defects: dict[tuple[str, int], str] = field(default_factory=dict)
    comment: int = 0
    link: int = 0

    def failed(self, run: str) -> list[int]:
        return [case for case in self.cases if self.outcomes[run, case] == "Failed"]

    def covering(self, issue: str) -> list[int]:
        return [case for case, covered in self.covers.items() if covered == issue]

    def verdict(self, issue: str) -> str:
        seen = [self.latest.get(case) for case in self.covering(issue)]
        if not seen:
            return "NOT_COVERED"
        if "Failed" in seen:
            return "FAILING"
        return "PASSING" if set(seen) == {"Passed"} else "UNTESTED"


async def author(agent: Agent, known: Known) -> None:
    """Look around, then write folders, cases with steps, and which requirement each covers."""
    [template] = (await agent("get_fields"))["items"]
    assert {"priority", "steps"} <= {each["systemName"] for each in template["fields"]}
    assert (await agent("get_folders"))["items"] == []
    [source] = (await agent("get_external_sources"))["items"]
    known.source = source["id"]
    for root, branches in AREAS.items():
        top = (await agent("create_folder", name=root))["id"]
        for branch, leaves in branches.items():
            middle = (await agent("create_folder", name=branch, parentId=top))["id"]
            for leaf in leaves:
                folder = (await agent("create_folder", name=leaf, parentId=middle))["id"]
                known.leaves.append(folder)
                known.folders[f"{root} / {branch} / {leaf}"] = folder
            known.folders[f"{root} / {branch}"] = middle
        known.folders[root] = top
    drafts = [
        {
            "title": f"{leaf} behaves in situation {number}",
            "folderId": known.folders[path],
            "tags": ["smoke"] if number == 1 else [],
            "fields": {
                "priority": "High" if number < 4 else "Low",
                "steps": [
                    {"step": f"Open {path}", "expectedResult": "It shows"},
                    {"step": f"Do {number}", "expectedResult": f"{leaf} is right"},
                ],
            },
        }
        for path, leaf in [(path, path.rpartition(" / ")[2]) for path in known.folders if path.count(" / ") == 2]
        for number in range(1, IN_FOLDER + 1)
    ]
    tried = await agent("create_test_cases", cases=drafts, dryRun=True)
    assert (tried["total"], tried["dryRun"]) == (CASES, True)
    made = await agent("create_test_cases", cases=drafts, idempotencyKey="cases")
    assert await agent("create_test_cases", cases=drafts, idempotencyKey="cases") == made
    cases = await agent.all_items("list_test_cases", limit=200)
    assert len(cases) == made["total"] == CASES
    known.cases = [case["id"] for case in cases]
    [draft] = [state for state in (await agent("get_lifecycles"))["items"] if state["name"] == "Draft"]
    for number in range(DRAFTS):
        case = await agent("create_test_case", title=f"To be written {number}", lifecycleStateId=draft["id"])
        known.drafts.append(case["id"])
    for place, case in enumerate(known.cases[:COVERED]):
        issue = f"SHOP-{place % REQUIREMENTS + 1}"
        link = await agent("link_to_issue", caseId=case, sourceId=known.source, issueKey=issue.lower())
        assert (link["issueKey"], link["created"]) == (issue, True)
        known.covers[case] = issue
        known.link = link["id"]
    again = await agent("link_to_issue", caseId=known.cases[0], sourceId=known.source, issueKey="SHOP-1")
    assert again["created"] is False
    known.comment = (await agent("add_comment", caseId=known.cases[0], body="Reviewed: **good**."))["id"]


async def execute(agent: Agent, known: Known) -> None:
    """Start two runs in a cycle, and record a result for every case in both."""
    known.cycle = (await agent("create_cycle", name="Release 1", startDate="2026-11-01", endDate="2026-12-01"))["id"]
    assert (await agent("update_cycle", cycleId=known.cycle, state="ACTIVE"))["state"] == "ACTIVE"
    top = [known.folders[root] for root in AREAS]
    for name in ("Firefox", "Chrome"):
        run = await agent("start_test_run", title=name, cycleId=known.cycle, folderIds=top)
        assert run["caseCount"] == CASES
        known.runs[name] = run["id"]
    half = CASES // 2
    # Which run has the last word on a case is not the same for all of them.
    parts = [("Firefox", 0), ("Chrome", 0), ("Chrome", half), ("Firefox", half)]
    for run, first in parts:
        for number, case in enumerate(known.cases[first : first + half]):
            outcome = DICE.choices(OUTCOMES, WEIGHTS)[0]
            known.outcomes[run, case] = outcome
            known.latest[case] = outcome
            # In Firefox some defects are known at once.
            if outcome == "Failed" and run == "Firefox" and number % 2:
                known.defects[run, case] = f"BUG-{case % 3 + 1}"
        results = [
            result(known, run, case) | {"comment": f"Seen in {run}"} for case in known.cases[first : first + half]
        ]
        single, many = results[:5], results[5:]
        for one in single:
            recorded = await agent("record_test_result", runId=known.runs[run], **one)
            assert recorded["status"] == one["statusId"]
        recorded = await agent("record_test_results", runId=known.runs[run], results=many)
        assert [item["status"] for item in recorded["items"]] == [one["statusId"] for one in many]


def result(known: Known, run: str, case: int) -> dict[str, Any]:
    outcome = known.outcomes[run, case]
    given: dict[str, Any] = {"caseId": case, "statusId": outcome, "elapsedSeconds": 30}
    if outcome == "Failed":
        given["stepResults"] = [{"position": 1, "status": "pass"}, {"position": 2, "status": "fail"}]
    if (run, case) in known.defects:
        given |= {"issueKey": known.defects[run, case], "sourceId": known.source}
    return given


async def close(agent: Agent, known: Known) -> None:
    """Close one run once all its failures have defects, the other by force, and then the cycle."""
    for run in known.runs:
        refused = await agent.refusal("close_test_run", runId=known.runs[run])
        without = [case for case in known.failed(run) if (run, case) not in known.defects]
        assert (refused["code"], refused["total"]) == ("CLOSE_GUARD", len(without))
        assert {case["caseId"] for case in refused["cases"]} <= set(without)
    firefox = known.runs["Firefox"]
    for case in known.failed("Firefox"):
        if ("Firefox", case) not in known.defects:
            # A requirement can turn out to be a defect too.
            known.defects["Firefox", case] = "SHOP-1" if case % 4 == 0 else f"BUG-{case % 5 + 1}"
            await agent(
                "link_to_issue",
                caseId=case,
                sourceId=known.source,
                issueKey=known.defects["Firefox", case],
                runId=firefox,
            )
    assert (await agent("close_test_run", runId=firefox))["closed"] is True
    assert (await agent("close_test_run", runId=known.runs["Chrome"], force=True))["closed"] is True
    late = await agent.refusal("record_test_result", runId=firefox, caseId=known.cases[0], statusId="Passed")
    assert late["code"] == "RUN_CLOSED"
    done = await agent("update_cycle", cycleId=known.cycle, state="COMPLETED")
    assert done["state"] == "COMPLETED"


@dataclass(frozen=True)
class Done:
    tenant: Any
    known: Known
    figures: dict[str, int]


@pytest.fixture(scope="module")
async def done(world):
    """The agent's work, done with one key in a workspace of its own."""
    connection = await connect(world.admin_url, name="the test server")
    tenant = await make_tenant(connection, "agent", host=world.host, port=world.port)
    async with connection.transaction(), as_owner(connection, tenant.workspace.schema_name) as workspace:
        await workspace.execute(
            "INSERT INTO sources (name, system, base_url, key_pattern) "
            "VALUES ('Jira', 'JIRA', 'https://shop.example', '[A-Z][A-Z0-9]+-[1-9][0-9]*')"
        )
    await connection.close()
    known = Known()
    async with connected(tenant, "lead") as agent:
        shown = [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True)
            for tool in (await agent.client.list_tools()).tools
        ]
        await author(agent, known)
        await execute(agent, known)
        await close(agent, known)
        catalogue = sum(
            len(tool["name"] + tool["description"] + json.dumps(tool["inputSchema"], separators=(",", ":")))
            for tool in shown
        )
    figures = {
        "scripted agent: calls": agent.calls.total(),
        "scripted agent: tokens of results": agent.characters // 4,
        "scripted agent: tokens of tools": catalogue // 4,
    }
    return Done(tenant, known, figures)


@pytest.fixture
async def as_lead(done):
    return lambda: connected(done.tenant, "lead")


def shares(outcomes):
    counts = Counter(outcomes)
    completed = counts["Passed"] + counts["Failed"] + counts["Skipped"]
    return dict(counts), completed / len(outcomes), counts["Passed"] / completed


@pytest.mark.parametrize("run", ["Firefox", "Chrome"])
async def test_a_run_says_of_itself_what_was_recorded(done, as_lead, run):
    known = done.known
    counts, progress, pass_rate = shares([known.outcomes[run, case] for case in known.cases])
    async with as_lead() as agent:
        summary = await agent("get_test_run_summary", runId=known.runs[run])
        assert {name: count for name, count in summary["counts"].items() if count} == counts
        assert summary["progress"] == pytest.approx(progress, abs=0.001)
        assert summary["passRate"] == pytest.approx(pass_rate, abs=0.001)
        assert summary["elapsedSeconds"] == 30 * CASES
        with_defect = {case for failed_in, case in known.defects if failed_in == run}
        assert {case["caseId"]: case["defects"] for case in summary["failedWithDefect"]} == {
            case: [known.defects[run, case]] for case in with_defect
        }
        assert {case["caseId"] for case in summary["failedWithoutDefect"]} == set(known.failed(run)) - with_defect
        items = await agent.all_items("get_test_run", runId=known.runs[run], limit=50)
        assert {item["caseId"]: item["status"] for item in items} == {
            case: known.outcomes[run, case] for case in known.cases
        }
        failed = await agent.all_items("get_test_run", runId=known.runs[run], failedOnly=True)
        assert [item["caseId"] for item in failed] == known.failed(run)


async def test_the_cycle_is_complete_and_has_both_runs(done, as_lead, figure):
    known = done.known
    for what, number in done.figures.items():
        figure(what, number)
    async with as_lead() as agent:
        [cycle] = (await agent("get_cycles"))["items"]
        both = list(known.outcomes.values())
        assert (cycle["id"], cycle["state"]) == (known.cycle, "COMPLETED")
        assert cycle["progress"] == pytest.approx(shares(both)[1], abs=0.001)
        runs = await agent.all_items("list_test_runs", cycleId=known.cycle)
        assert {run["title"]: run["closed"] for run in runs} == {"Firefox": True, "Chrome": True}


async def test_every_case_shows_its_last_result(done, as_lead):
    known = done.known
    async with as_lead() as agent:
        for case in known.cases[:: CASES // 12]:
            assert (await agent("get_test_case", caseId=case))["latestResult"]["status"] == known.latest[case]
        assert "latestResult" not in await agent("get_test_case", caseId=known.drafts[0])


def expected_gaps(known: Known) -> dict[str, tuple[set[Any], int]]:
    """Return what is missing, and of how many, by kind."""
    requirements = set(known.covers.values())
    issues = requirements | set(known.defects.values())
    cases = set(known.cases + known.drafts)
    return {
        "CASES_WITHOUT_ISSUE": (cases - set(known.covers), len(cases)),
        "ISSUES_WITHOUT_CASE": (issues - requirements, len(issues)),
        "ISSUES_NOT_PASSING": (
            {issue for issue in requirements if known.verdict(issue) != "PASSING"},
            len(requirements),
        ),
        "CASES_NEVER_RUN": (set(known.drafts), len(cases)),
    }


async def test_the_coverage_gaps_are_those_that_were_left(done, as_lead):
    expected = expected_gaps(done.known)
    assert all(0 < len(missing) < of for missing, of in expected.values())
    async with as_lead() as agent:
        gaps = {gap["kind"]: gap for gap in (await agent("get_coverage_gaps"))["gaps"]}
        assert {kind: (gap["count"], gap["of"]) for kind, gap in gaps.items()} == {
            kind: (len(missing), of) for kind, (missing, of) in expected.items()
        }
        for kind, (missing, of) in expected.items():
            key = "caseId" if kind.startswith("CASES") else "issueKey"
            items = await agent.all_items("get_coverage_gaps", kind=kind, limit=7)
            assert sorted(item[key] for item in items) == sorted(missing)
            assert gaps[kind]["percentage"] == pytest.approx(100 * len(missing) / of, abs=0.1)


async def test_every_issue_traces_back_to_what_was_done_with_it(done, as_lead):
    known = done.known
    issues = sorted(set(known.covers.values()) | set(known.defects.values()))
    assert {known.verdict(issue) for issue in issues} == {"PASSING", "FAILING", "UNTESTED", "NOT_COVERED"}
    async with as_lead() as agent:
        for issue in issues:
            trace = await agent("get_reverse_traceability", issueKey=issue)
            assert trace["verdict"] == known.verdict(issue), issue
            assert sorted(case["caseId"] for case in trace["cases"]) == sorted(known.covering(issue))
            for case in trace["cases"]:
                assert case["latestResult"]["status"] == known.latest[case["caseId"]]
            raised = {(known.runs[run], case) for (run, case), key in known.defects.items() if key == issue}
            assert {(defect["runId"], defect["caseId"]) for defect in trace["defects"]} == raised
            # The runs are those of the covering cases; a defect tells its own.
            is_covered = bool(known.covering(issue))
            assert {run["id"] for run in trace["runs"]} == (set(known.runs.values()) if is_covered else set())
            assert [cycle["id"] for cycle in trace["cycles"]] == ([known.cycle] if is_covered else [])


def named(known: Known, project: int) -> dict[str, Any]:
    """Return an object of the agent's for every argument that names one."""
    return {
        "project": project,
        "caseId": known.cases[0],
        "folderId": known.leaves[0],
        "parentId": known.leaves[0],
        "runId": known.runs["Chrome"],
        "cycleId": known.cycle,
        "commentId": known.comment,
        "linkId": known.link,
        "sourceId": known.source,
    }


def with_objects(given: Any, objects: dict[str, Any]) -> Any:
    """Return an example with the agent's objects in it."""
    if isinstance(given, dict):
        return {name: objects.get(name, with_objects(value, objects)) for name, value in given.items()}
    return [with_objects(item, objects) for item in given] if isinstance(given, list) else given


async def everything(agent: Agent, known: Known) -> dict[str, Any]:
    """Return the answers to calls of every tool that reads, by call."""
    first, draft = known.cases[0], known.drafts[0]
    runs = list(known.runs.values())
    calls: dict[str, list[dict[str, Any]]] = {
        "get_projects": [{}],
        "get_folders": [{}, {"parentId": known.folders["Shop"]}],
        "get_fields": [{}],
        "get_external_sources": [{}],
        "get_cycles": [{}],
        "get_environments": [{}],
        "get_lifecycles": [{}],
        "get_statuses": [{}],
        "get_tags": [{}],
        "get_users": [{}],
        "list_test_cases": [{}, {"folderId": known.folders["Account"], "sort": "-title"}, {"tags": ["smoke"]}],
        "search_test_cases": [{"query": "situation 7"}, {"query": "C-3"}],
        "get_test_case": [{"caseId": first}, {"caseId": draft}, {"caseId": "C-60"}],
        "get_comments": [{"caseId": first}],
        "list_test_runs": [{}, {"cycleId": known.cycle, "closed": True}],
        "get_test_run": [
            {"runId": run, **more} for run in runs for more in ({}, {"failedOnly": True}, {"caseId": first})
        ],
        "get_test_run_summary": [{"runId": run} for run in runs],
        "get_coverage_gaps": [{}, *({"kind": kind} for kind in expected_gaps(known)), {"folderId": known.leaves[0]}],
        "get_reverse_traceability": [{"issueKey": "SHOP-1"}, {"issueKey": "BUG-1"}, {"issueKey": "NEW-1"}],
    }
    assert set(calls) == {tool.name for tool in TOOLS if tool.read_only}
    return {f"{tool} {json.dumps(given)}": await agent(tool, **given) for tool in calls for given in calls[tool]}


def without_what_is_personal(answers: dict[str, Any]) -> dict[str, Any]:
    for call, answer in answers.items():
        personal = {"get_projects": ("role", "permissions"), "get_comments": ("own",)}.get(call.partition(" ")[0], ())
        for item, name in itertools.product(answer["items"] if personal else (), personal):
            assert name in item
            del item[name]
    return answers


async def test_a_viewer_reads_all_that_the_lead_reads_and_changes_nothing(done, as_lead):
    known, objects = done.known, named(done.known, done.tenant.project)
    async with as_lead() as lead, connected(done.tenant, "viewer") as viewer:
        before = await everything(lead, known)
        seen = await everything(viewer, known)
        assert seen["get_projects {}"]["items"][0]["role"] == "Viewer"
        assert without_what_is_personal(seen) == without_what_is_personal(before)

        tools = (await viewer.client.list_tools()).tools
        writing = [tool for tool in tools if not tool.annotations.read_only_hint]
        assert [tool.name for tool in writing] == [tool.name for tool in TOOLS if not tool.read_only]
        for tool in writing:
            arguments = with_objects(json.loads(EXAMPLE.search(tool.description)[1]), objects)
            refused = await viewer.refusal(tool.name, **arguments)
            assert refused == {"code": "NOT_FOUND_OR_DENIED", "message": "not found or access denied"}, tool.name
        assert without_what_is_personal(await everything(lead, known)) == before
