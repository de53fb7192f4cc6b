"""What the pages show beyond what the tools answer: against plain counts of what was recorded over MCP."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from service.domain.case_history import version_and_before
from service.domain.coverage import VERDICTS, list_issues, reverse_traceability, trace_issue
from service.domain.cycles import cycles_with_counts
from service.domain.dashboard import project_figures, recent_activity, results_by_day
from service.domain.folders import folder_tree
from service.domain.projects import get_project
from service.domain.runs import list_executions
from service.domain.work import Work
from service.errors import NotFoundOrDenied, Refused
from tenancy.connection import connect
from tenancy.session import Actor, as_owner, as_workspace
from tests.conftest import MISSING

_NAMES = itertools.count(1)


@pytest.fixture(scope="module")
async def connection(world):
    made = await connect(world.admin_url, name="the test server")
    yield made
    await made.close()


@pytest.fixture
def working(connection, acme):
    """Enters acme as one of its people, in a transaction that is rolled back."""

    @asynccontextmanager
    async def enter(person="lead"):
        transaction = connection.transaction()
        await transaction.start()
        try:
            actor = Actor(user_id=acme.people[person].id, tool="test")
            async with as_workspace(connection, acme.workspace.schema_name, actor=actor) as workspace:
                yield Work(connection=workspace)
        finally:
            await transaction.rollback()

    return enter


@pytest.fixture
async def project(connection, acme):
    async with connection.transaction(), as_owner(connection, acme.workspace.schema_name) as workspace:
        return await workspace.fetchval(
            "INSERT INTO projects (name) VALUES ($1) RETURNING id", f"Figures {next(_NAMES)}"
        )


@pytest.fixture
def cases(client, project):
    drafts = [{"title": f"Case {number}"} for number in range(1, 5)]
    return [case["id"] for case in client.call("create_test_cases", project=project, cases=drafts)["items"]]


def start(client, project, cases, **arguments):
    return client.call("start_test_run", project=project, title="Run", caseIds=cases, **arguments)["id"]


def record(client, project, run, *results):
    given = [{"caseId": case, "statusId": status} for case, status in results]
    client.call("record_test_results", project=project, runId=run, results=given)


async def test_results_are_counted_by_the_day_on_which_they_were_recorded(client, project, cases, working):
    run = start(client, project, cases)
    record(client, project, run, (cases[0], "Passed"), (cases[1], "Failed"), (cases[2], "Blocked"))
    record(client, project, run, (cases[0], "Passed"))
    async with working() as work:
        days = await results_by_day(work, project, days=3)
    today = dt.datetime.now(dt.UTC).date()
    assert [day["day"] for day in days] == [today - dt.timedelta(days=n) for n in (2, 1, 0)]
    assert sum((Counter(day["counts"]) for day in days), Counter()) == {"Passed": 2, "Failed": 1, "Blocked": 1}
    assert (sum(day["completed"] for day in days), sum(day["success"] for day in days)) == (3, 2)


async def test_results_of_other_projects_and_of_earlier_days_are_not_counted(client, project, cases, acme, working):
    record(client, project, start(client, project, cases), (cases[0], "Passed"))
    async with working() as work:
        assert not any(day["counts"] for day in await results_by_day(work, acme.projects["secret"], days=3))
        await work.connection.execute(
            "UPDATE runs SET closed_at = now() - interval '9 days', closed_by = created_by WHERE project_id = $1",
            project,
        )
        assert not any(day["counts"] for day in await results_by_day(work, project, days=3))
        assert sum(sum(day["counts"].values()) for day in await results_by_day(work, project, days=30)) == 1


async def test_the_changes_of_one_call_are_one_entry_of_the_activity(client, project, cases, acme, working):
    run = start(client, project, cases)
    record(client, project, run, (cases[0], "Passed"), (cases[1], "Failed"))
    client.call("add_comment", project=project, caseId=cases[3], body="Hello")
    async with working() as work:
        entries = await recent_activity(work, project, limit=10)
    told = [(entry["objectType"], entry["action"], entry["count"]) for entry in entries if entry["action"] == "create"]
    assert told == [("comment", "create", 1), ("result", "create", 2), ("run", "create", 1), ("case", "create", 4)]
    comment, results = entries[0], next(entry for entry in entries if entry["objectType"] == "result")
    assert comment["user"]["id"] == acme.people["lead"].id
    assert comment["apiKeyId"]
    assert comment["case"]["id"] == cases[3]
    assert results["run"]["id"] == run
    assert "case" not in results


async def test_figures_count_cases_and_open_runs(client, project, cases, working):
    start(client, project, cases)
    client.call("close_test_run", project=project, runId=start(client, project, cases))
    async with working() as work:
        assert await project_figures(work, [project]) == {project: {"cases": 4, "openRuns": 1}}


async def test_a_project_is_found_by_those_who_may_enter_it(acme, project, working):
    async with working() as work:
        assert (await get_project(work, project))["role"] == "Lead"
        for hidden in (acme.projects["secret"], MISSING):
            with pytest.raises(NotFoundOrDenied):
                await get_project(work, hidden)


async def test_a_tree_shows_what_is_beside_above_and_below_the_open_folder(client, project, working, monkeypatch):
    def folder(name, parent=0):
        return client.call("create_folder", project=project, name=name, parentId=parent)["id"]

    top, other = folder("Top"), folder("Other")
    middle, beside = folder("Middle", top), folder("Beside", top)
    leaf = folder("Leaf", middle)
    hidden = folder("Hidden", other)
    for place in (top, leaf, leaf, hidden):
        client.call("create_test_case", project=project, title="Case", folderId=place)
    async with working() as work:
        whole = await folder_tree(work, project)
        assert [node["id"] for node in whole] == [top, middle, leaf, beside, other, hidden]
        assert [node["depth"] for node in whole] == [1, 2, 3, 2, 1, 2]
        assert [node["caseCount"] for node in whole] == [3, 2, 2, 0, 1, 1]
        monkeypatch.setattr("service.domain.folders._SMALL_TREE", 0)
        assert [node["id"] for node in await folder_tree(work, project)] == [top, other]
        assert [node["id"] for node in await folder_tree(work, project, opened=middle)] == [
            *(top, middle, leaf, beside),
            other,
        ]
        with pytest.raises(NotFoundOrDenied):
            await folder_tree(work, project, opened=MISSING)


async def test_the_counts_of_a_cycle_are_those_of_its_runs_and_of_those_below(client, project, cases, working):
    release = client.call("create_cycle", project=project, name="Release")["id"]
    sprint = client.call("create_cycle", project=project, name="Sprint", parentId=release)["id"]
    empty = client.call("create_cycle", project=project, name="Empty")["id"]
    record(client, project, start(client, project, cases, cycleId=sprint), (cases[0], "Passed"), (cases[1], "Failed"))
    start(client, project, cases[:1], cycleId=release)
    async with working() as work:
        found = await cycles_with_counts(work, project)
    assert {cycle["id"]: cycle["counts"] for cycle in found} == {
        release: {"Passed": 1, "Failed": 1, "Untested": 3},
        sprint: {"Passed": 1, "Failed": 1, "Untested": 2},
        empty: {},
    }


async def test_results_of_a_case_in_all_runs_are_paged_the_latest_first(client, project, cases, working):
    first, second = start(client, project, cases), start(client, project, cases)
    for run, status in ((first, "Passed"), (second, "Failed"), (first, "Blocked")):
        record(client, project, run, (cases[0], status))
    async with working() as work:
        page = await list_executions(work, project, cases[0], limit=2)
        rest = await list_executions(work, project, cases[0], limit=2, cursor=page["nextCursor"])
        assert [item["status"] for item in page["items"] + rest["items"]] == ["Blocked", "Failed", "Passed"]
        assert [item["run"]["id"] for item in page["items"] + rest["items"]] == [first, second, first]
        assert page["total"] == 3
        assert (await list_executions(work, project, cases[1]))["items"] == []


@pytest.fixture
async def source(connection, acme, project):
    async with connection.transaction(), as_owner(connection, acme.workspace.schema_name) as workspace:
        source = await workspace.fetchval(
            "INSERT INTO sources (name, system, key_pattern, all_projects) "
            "VALUES ($1, 'JIRA', '[A-Z]+-[0-9]+', false) RETURNING id",
            f"Figures {next(_NAMES)}",
        )
        await workspace.execute(
            "INSERT INTO project_availability (project_id, source_id) VALUES ($1, $2)", project, source
        )
    return source


async def test_issues_are_paged_in_the_order_of_their_keys_and_by_verdict(client, project, cases, source, working):
    keys = ["AB-2", "AB-9", "AB-10", "AB-101", "B-1"]
    for key, case in zip(reversed(keys), itertools.cycle(cases), strict=False):
        client.call("link_to_issue", project=project, caseId=case, sourceId=source, issueKey=key)
    record(client, project, start(client, project, cases), *((case, "Passed") for case in cases))
    async with working() as work:
        shown, cursor = [], None
        while True:
            page = await list_issues(work, project, limit=2, cursor=cursor)
            assert page["total"] == len(keys)
            assert page["verdicts"] == {**dict.fromkeys(VERDICTS, 0), "PASSING": 5}
            shown += page["items"]
            if (cursor := page.get("nextCursor")) is None:
                break
        assert [item["issueKey"] for item in shown] == keys
        assert (await list_issues(work, project, verdict="FAILING"))["items"] == []
        by_id = await trace_issue(work, project, shown[0]["id"])
        assert by_id == await reverse_traceability(work, project, issue_key=keys[0], source_id=source)
        with pytest.raises(NotFoundOrDenied):
            await trace_issue(work, MISSING, shown[0]["id"])
        with pytest.raises(Refused):
            await list_issues(work, project, verdict="PASSING", cursor=page.get("nextCursor") or "x")


async def test_a_version_is_told_from_the_one_before(client, project, cases, working):
    client.call("update_test_case", project=project, caseId=cases[0], title="Another title")
    async with working() as work:
        before, after = await version_and_before(work, project, cases[0], 2)
        assert (before["title"], after["title"]) == ("Case 1", "Another title")
        assert (await version_and_before(work, project, cases[0], 1))[0] is None
        for wrong in (0, 3):
            with pytest.raises(NotFoundOrDenied):
                await version_and_before(work, project, cases[0], wrong)
