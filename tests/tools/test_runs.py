"""Test runs: what starting selects, what a run shows of the versions it executes, changing, closing, summaries."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.conftest import MISSING, ToolFailed
from tests.tools.conftest import new_case, new_folder


@pytest.fixture
def cases(lead, own_project):
    """Four cases, C-1 to C-4, the first two in a folder and the folder below it."""
    above = new_folder(lead, own_project, "Checkout")["id"]
    below = new_folder(lead, own_project, "Payment", parentId=above)["id"]
    made = [new_case(lead, own_project, f"Case {n}", folderId=f) for n, f in ((1, above), (2, below), (3, 0), (4, 0))]
    return {"ids": [case["id"] for case in made], "above": above, "below": below}


def start(lead, project, **arguments):
    return lead.call("start_test_run", project=project, title=arguments.pop("title", "Run"), **arguments)


def numbers(lead, project, run, **arguments):
    page = lead.call("get_test_run", project=project, runId=run["id"], **arguments)
    assert page["total"] >= len(page["items"])
    return [item["number"] for item in page["items"]]


def record(lead, project, run, case, status, **arguments):
    return lead.call("record_test_result", project=project, runId=run["id"], caseId=case, statusId=status, **arguments)


async def add_defect(sql, acme, project, result):
    """Link a defect to a result, by SQL: these tests are about runs."""
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern) VALUES ('t' || nextval('ids'), 'JIRA', '.+') RETURNING id"
    )
    issue = await sql.value(
        "INSERT INTO issues (project_id, source_id, key) VALUES ($1, $2, 'BUG-1') RETURNING id", project, source
    )
    await sql.rows(
        "INSERT INTO links (project_id, issue_id, relation_id, result_id, created_by) "
        "SELECT $1, $2, r.id, $3, $4 FROM relations r WHERE r.is_default AND r.semantic = 'DEFECT'",
        project,
        issue,
        result,
        acme.people["lead"].id,
    )
    # Other tests link by the project's only source.
    await sql.rows("UPDATE sources SET enabled = false WHERE id = $1", source)


class TestStarting:
    @pytest.mark.usefixtures("cases")
    def test_a_run_starts_planned_and_untested(self, lead, own_project):
        run = start(lead, own_project, title="First", includeAll=True, notes="**why**")
        assert (run["title"], run["notes"], run["closed"], run["version"]) == ("First", "**why**", False, 1)
        assert run["state"]["name"] == "Planned"
        assert (run["caseCount"], run["counts"], run["progress"]) == (4, {"Untested": 4}, 0)
        assert "passRate" not in run
        assert run["createdBy"]["name"] == "Lead"

    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            ({}, ["C-1", "C-2", "C-4"]),
            ({"includeAll": True}, ["C-1", "C-2", "C-3", "C-4"]),
            ({"caseIds": ["C-3", "C-3", "c-1"]}, ["C-1", "C-3"]),
            ({"folders": ["above"]}, ["C-1", "C-2"]),
            ({"folders": ["below"]}, ["C-2"]),
            ({"folders": ["below"], "caseIds": ["C-4"]}, ["C-2", "C-4"]),
            ({"tags": ["run-smoke"]}, ["C-4"]),
            ({"tags": ["RUN-SMOKE"], "folders": ["below"]}, ["C-2", "C-4"]),
        ],
    )
    async def test_the_parts_of_a_selection_add_up(self, selection, expected, *, lead, own_project, cases, sql):
        await sql.rows("INSERT INTO tags (context, name) VALUES ('REPOSITORY', 'run-smoke') ON CONFLICT DO NOTHING")
        lead.call("update_test_case", project=own_project, caseId="C-4", tags=["run-smoke"])
        draft = await sql.value("SELECT id FROM lifecycle_states WHERE name = 'Draft'")
        lead.call("update_test_case", project=own_project, caseId="C-3", lifecycleStateId=draft)
        given = {key: value for key, value in selection.items() if key != "folders"}
        if "folders" in selection:
            given["folderIds"] = [cases[name] for name in selection["folders"]]
        assert numbers(lead, own_project, start(lead, own_project, **given)) == expected

    async def test_a_disabled_state_is_included_in_no_run(self, lead, own_project, failing, sql):
        state = await sql.value(
            "INSERT INTO lifecycle_states (name, context, include_in_runs) VALUES ('Approved', 'REPOSITORY', true) "
            "RETURNING id"
        )
        new_case(lead, own_project, lifecycleStateId=state)
        assert start(lead, own_project)["caseCount"] == 1
        await sql.rows("UPDATE lifecycle_states SET enabled = false WHERE id = $1", state)
        assert failing("start_test_run", project=own_project, title="None")["code"] == "EMPTY_SELECTION"

    async def test_an_empty_selection_is_refused_and_nothing_is_left(self, lead, own_project, failing, sql):
        error = failing("start_test_run", project=own_project, title="Empty", includeAll=True)
        assert error["code"] == "EMPTY_SELECTION"
        assert "folderIds" in error["message"]
        assert lead.call("list_test_runs", project=own_project)["total"] == 0
        assert await sql.value("SELECT count(*) FROM runs WHERE project_id = $1", own_project) == 0

    @pytest.mark.usefixtures("cases")
    def test_everything_named_must_be_the_projects(self, own_project, failing):
        for argument in ("cycleId", "environmentId", "assigneeId", "lifecycleStateId"):
            error = failing("start_test_run", project=own_project, title="x", includeAll=True, **{argument: MISSING})
            assert error["message"] == "not found or access denied"
        for argument in ("caseIds", "folderIds", "tags", "runTags"):
            error = failing("start_test_run", project=own_project, title="x", includeAll=True, **{argument: [MISSING]})
            assert error["message"] == "not found or access denied"
        error = failing("start_test_run", project=own_project, title="x", caseIds=["C-1", "C-99", "C-98"])
        assert error["code"] == "BULK_REFUSED"
        assert "C-99, C-98" in error["message"]

    @pytest.mark.usefixtures("cases")
    async def test_somebody_without_access_is_no_assignee(self, own_project, failing, sql, acme):
        outsider = acme.people["outsider"].id
        await sql.rows(
            "INSERT INTO project_members (project_id, user_id, mode) VALUES ($1, $2, 'NO_ACCESS') "
            "ON CONFLICT (project_id, user_id) DO UPDATE SET mode = 'NO_ACCESS'",
            own_project,
            outsider,
        )
        error = failing("start_test_run", project=own_project, title="x", includeAll=True, assigneeId=outsider)
        assert error["code"] == "NOT_FOUND_OR_DENIED"

    @pytest.mark.usefixtures("cases")
    async def test_tags_of_runs_and_of_cases_are_two_sets(self, lead, own_project, failing, sql):
        await sql.rows(
            "INSERT INTO tags (context, name) VALUES ('RUNS', 'nightly-run'), ('REPOSITORY', 'only-cases') "
            "ON CONFLICT DO NOTHING"
        )
        run = start(lead, own_project, includeAll=True, runTags=["Nightly-Run"])
        assert [tag["name"] for tag in run["tags"]] == ["nightly-run"]
        error = failing("start_test_run", project=own_project, title="x", includeAll=True, runTags=["only-cases"])
        assert error["field"] == "runTags"
        assert "nightly-run" in error["message"]
        assert "only-cases" not in error["message"].partition("Tags for runs")[2]


class TestSnapshot:
    @pytest.mark.usefixtures("cases")
    def test_a_run_shows_the_version_that_it_executes(self, lead, own_project):
        run = start(lead, own_project, caseIds=["C-1"])
        lead.call("update_test_case", project=own_project, caseId="C-1", title="Renamed since")
        later = start(lead, own_project, caseIds=["C-1"])
        for one, title, version in ((run, "Case 1", 1), (later, "Renamed since", 2)):
            [item] = lead.call("get_test_run", project=own_project, runId=one["id"])["items"]
            assert (item["title"], item["caseVersion"]) == (title, version)
            assert record(lead, own_project, one, "C-1", "Passed")["caseVersion"] == version


class TestReading:
    @pytest.mark.usefixtures("cases")
    def test_runs_are_listed_newest_first_and_filtered(self, lead, person, own_project, acme):
        cycle = lead.call("create_cycle", project=own_project, name="Release")["id"]
        below = lead.call("create_cycle", project=own_project, name="Sprint", parentId=cycle)["id"]
        one = start(lead, own_project, title="one", includeAll=True, cycleId=cycle)
        two = start(lead, own_project, title="two", includeAll=True, cycleId=below)
        three = start(lead, own_project, title="three", includeAll=True, assigneeId=acme.people["tester"].id)
        lead.call("close_test_run", project=own_project, runId=one["id"])

        def titles(client=lead, **filters):
            page = client.call("list_test_runs", project=own_project, **filters)
            assert page["total"] == len(page["items"])
            return [item["title"] for item in page["items"]]

        assert titles() == ["three", "two", "one"]
        assert titles(cycleId=cycle) == ["two", "one"]
        assert titles(cycleId=below) == ["two"]
        assert titles(closed=True) == ["one"]
        assert titles(closed=False) == ["three", "two"]
        assert titles(assignedToMe=True) == []
        assert titles(person("tester"), assignedToMe=True) == ["three"]
        assert [run["id"] for run in (three, two, one)] == sorted([run["id"] for run in (one, two, three)])[::-1]

    @pytest.mark.usefixtures("cases")
    def test_the_cases_of_a_run_are_filtered_and_paged(self, lead, own_project, acme):
        tester = acme.people["tester"].id
        run = start(lead, own_project, includeAll=True, assigneeId=tester)
        record(lead, own_project, run, "C-2", "Failed")
        record(lead, own_project, run, "C-3", "passed")
        lead.call("update_test_run", project=own_project, runId=run["id"], assigneeId=0, assignCaseIds=["C-4"])
        assert numbers(lead, own_project, run, failedOnly=True) == ["C-2"]
        assert numbers(lead, own_project, run, statusIds=["Passed", "failed"]) == ["C-2", "C-3"]
        assert numbers(lead, own_project, run, assigneeId=tester) == ["C-1", "C-2", "C-3"]
        assert numbers(lead, own_project, run, assigneeId=0) == ["C-4"]
        assert numbers(lead, own_project, run, caseId="C-3") == ["C-3"]
        first = lead.call("get_test_run", project=own_project, runId=run["id"], limit=3)
        assert (len(first["items"]), first["total"]) == (3, 4)
        rest = lead.call("get_test_run", project=own_project, runId=run["id"], limit=3, cursor=first["nextCursor"])
        assert [item["number"] for item in rest["items"]] == ["C-4"]
        assert "nextCursor" not in rest

    @pytest.mark.usefixtures("cases")
    def test_an_unknown_status_is_told_with_those_there_are(self, lead, own_project, failing):
        run = start(lead, own_project, includeAll=True)
        error = failing("get_test_run", project=own_project, runId=run["id"], statusIds=["Pased"])
        assert error["field"] == "statusIds"
        assert "Passed" in error["message"]
        for given in ({"statusIds": [MISSING]}, {"assigneeId": MISSING}, {"caseId": MISSING}):
            assert failing("get_test_run", project=own_project, runId=run["id"], **given)["code"] == (
                "NOT_FOUND_OR_DENIED"
            )

    def test_everything_recorded_for_one_case_can_be_read(self, lead, own_project):
        new_case(lead, own_project, fields={"steps": ["Open", "Pay"]})
        run = start(lead, own_project, includeAll=True)
        record(lead, own_project, run, "C-1", "Blocked", comment="no test card")
        steps = [{"position": 1, "status": "pass"}, {"position": 2, "status": "fail", "comment": "500"}]
        record(lead, own_project, run, "C-1", "Failed", stepResults=steps, elapsedSeconds=7)
        shown = lead.call("get_test_run", project=own_project, runId=run["id"], caseId="C-1")
        assert shown["resultCount"] == 2
        last, first = shown["results"]
        assert (first["status"], first["comment"]) == ("Blocked", "no test card")
        assert (last["status"], last["elapsedSeconds"], last["stepResults"]) == ("Failed", 7, steps)
        assert shown["items"][0]["status"] == "Failed"


class TestUpdating:
    @pytest.mark.usefixtures("cases")
    def test_what_is_not_sent_stays(self, lead, own_project):
        cycle = lead.call("create_cycle", project=own_project, name="Release")["id"]
        run = start(lead, own_project, includeAll=True, cycleId=cycle, notes="n")
        changed = lead.call("update_test_run", project=own_project, runId=run["id"], title="New title")
        assert changed["title"] == "New title"
        assert changed["version"] == 2
        unchanged = {"title", "version", "updatedAt"}
        assert {k: v for k, v in changed.items() if k not in unchanged} == {
            k: v for k, v in run.items() if k not in unchanged
        }
        assert "cycle" not in lead.call("update_test_run", project=own_project, runId=run["id"], cycleId=0)

    @pytest.mark.usefixtures("cases")
    def test_no_change_is_no_version(self, lead, own_project):
        run = start(lead, own_project, caseIds=["C-1"])
        same = lead.call(
            "update_test_run", project=own_project, runId=run["id"], title="Run", addCaseIds=["C-1"], runTags=[]
        )
        assert same == run

    @pytest.mark.usefixtures("cases")
    def test_cases_come_and_go_until_they_have_results(self, lead, own_project, failing):
        run = start(lead, own_project, caseIds=["C-1", "C-2"])
        lead.call("update_test_case", project=own_project, caseId="C-3", title="Third, changed")
        changed = lead.call(
            "update_test_run", project=own_project, runId=run["id"], addCaseIds=["C-3"], removeCaseIds=["C-2"]
        )
        assert changed["caseCount"] == 2
        assert numbers(lead, own_project, run) == ["C-1", "C-3"]
        assert lead.call("get_test_run", project=own_project, runId=run["id"])["items"][1]["caseVersion"] == 2
        record(lead, own_project, run, "C-1", "Passed")
        error = failing("update_test_run", project=own_project, runId=run["id"], removeCaseIds=["C-1", "C-3"])
        assert (error["field"], error["caseIds"]) == ("removeCaseIds", ["C-1"])
        assert numbers(lead, own_project, run) == ["C-1", "C-3"]

    @pytest.mark.usefixtures("cases")
    def test_a_run_is_never_emptied(self, lead, own_project, failing):
        run = start(lead, own_project, caseIds=["C-1"])
        error = failing("update_test_run", project=own_project, runId=run["id"], removeCaseIds=["C-1"])
        assert error["code"] == "EMPTY_SELECTION"
        assert numbers(lead, own_project, run) == ["C-1"]

    @pytest.mark.usefixtures("cases")
    def test_contradictions_are_told(self, lead, own_project, failing, acme):
        run = start(lead, own_project, caseIds=["C-1"])
        tester = acme.people["tester"].id

        def refused(**arguments):
            return failing("update_test_run", project=own_project, runId=run["id"], **arguments)["field"]

        assert refused(addCaseIds=["C-2"], removeCaseIds=["C-2"]) == "addCaseIds"
        assert refused(assignCaseIds=["C-2"], assigneeId=tester) == "assignCaseIds"
        assert refused(assignCaseIds=["C-1"]) == "assigneeId"
        added = lead.call(
            "update_test_run",
            project=own_project,
            runId=run["id"],
            addCaseIds=["C-2"],
            assignCaseIds=["C-2"],
            assigneeId=tester,
        )
        assert added["caseCount"] == 2
        assert numbers(lead, own_project, run, assigneeId=tester) == ["C-2"]

    @pytest.mark.usefixtures("cases")
    def test_two_at_once_conflict(self, lead, own_project, failing):
        run = start(lead, own_project, caseIds=["C-1"])
        lead.call("update_test_run", project=own_project, runId=run["id"], title="A", expectedVersion=1)
        error = failing("update_test_run", project=own_project, runId=run["id"], title="B", expectedVersion=1)
        assert (error["code"], error["currentVersion"], error["changedBy"]) == ("VERSION_CONFLICT", 2, "Lead")

    @pytest.mark.usefixtures("cases")
    async def test_assigning_and_editing_need_different_permissions(self, lead, own_project, sql, acme, person):
        run = start(lead, own_project, caseIds=["C-1"])
        tester, client = acme.people["tester"].id, person("tester")
        for held, assigns, edits in (("EXECUTE_TESTS", True, False), ("CREATE_TEST_RUNS", False, True)):
            role = await sql.value(
                "INSERT INTO roles (name, permissions) VALUES ($1, ARRAY[$2]) RETURNING id", f"Only {held}", held
            )
            await sql.rows(
                "INSERT INTO project_members (project_id, user_id, mode, forced_role_id) "
                "VALUES ($1, $2, 'FORCE_ROLE', $3) "
                "ON CONFLICT (project_id, user_id) DO UPDATE SET forced_role_id = $3",
                own_project,
                tester,
                role,
            )
            for arguments, allowed in (
                ({"assigneeId": tester}, assigns),
                ({"title": f"Edited by {held}"}, edits),
                ({"assigneeId": 0, "title": "Both"}, False),
                ({}, edits),
            ):
                result = client.result("update_test_run", project=own_project, runId=run["id"], **arguments)
                assert bool(result.get("isError")) is not allowed, (held, arguments)

    @pytest.mark.usefixtures("cases")
    def test_closing_is_not_done_by_a_state(self, lead, own_project, failing):
        run = start(lead, own_project, caseIds=["C-1"])
        states = lead.call("get_lifecycles", project=own_project, context="RUNS")["items"]
        ids = {state["name"]: state["id"] for state in states}
        error = failing("update_test_run", project=own_project, runId=run["id"], lifecycleStateId=ids["Closed"])
        assert error["code"] == "INVALID_STATE"
        assert "close_test_run" in error["message"]
        moved = lead.call("update_test_run", project=own_project, runId=run["id"], lifecycleStateId=ids["In Progress"])
        assert moved["state"]["name"] == "In Progress"


class TestClosing:
    async def test_the_guard_lists_failures_without_a_defect(self, *, lead, own_project, cases, failing, sql, acme):
        run = start(lead, own_project, includeAll=True)
        failed = record(lead, own_project, run, "C-1", "Failed")
        record(lead, own_project, run, "C-2", "Failed")
        record(lead, own_project, run, "C-3", "Failed")
        record(lead, own_project, run, "C-3", "Passed")
        await add_defect(sql, acme, own_project, failed["id"])
        error = failing("close_test_run", project=own_project, runId=run["id"])
        assert (error["code"], error["total"]) == ("CLOSE_GUARD", 1)
        assert error["cases"] == [{"caseId": cases["ids"][1], "number": "C-2", "title": "Case 2"}]
        assert lead.call("get_test_run", project=own_project, runId=run["id"])["closed"] is False
        closed = lead.call("close_test_run", project=own_project, runId=run["id"], force=True)
        assert closed["closed"] is True
        assert closed["state"]["name"] == "Closed"
        assert closed["closedBy"]["name"] == "Lead"
        assert closed["closedAt"][:10] == dt.datetime.now(dt.UTC).date().isoformat()

    @pytest.mark.usefixtures("cases")
    def test_a_run_without_such_failures_closes_by_itself(self, lead, own_project):
        run = start(lead, own_project, caseIds=["C-1", "C-2"])
        record(lead, own_project, run, "C-1", "Passed")
        assert lead.call("close_test_run", project=own_project, runId=run["id"])["progress"] == 0.5

    @pytest.mark.usefixtures("cases")
    async def test_a_closed_run_accepts_no_change(self, lead, own_project, failing, sql):
        run = start(lead, own_project, includeAll=True)
        closed = lead.call("close_test_run", project=own_project, runId=run["id"])
        here = {"project": own_project, "runId": run["id"]}
        passed = {"caseId": "C-1", "statusId": "Passed"}
        for tool, arguments in (
            ("update_test_run", {"title": "x"}),
            ("update_test_run", {"assigneeId": 0}),
            ("update_test_run", {"addCaseIds": ["C-1"]}),
            ("record_test_result", passed),
            ("record_test_results", {"results": [passed]}),
        ):
            error = failing(tool, **here, **arguments)
            assert error["code"] == "RUN_CLOSED", tool
        assert await sql.value("SELECT count(*) FROM results WHERE run_id = $1", run["id"]) == 0
        assert lead.call("close_test_run", **here) == closed

    async def test_closing_and_recording_at_once_leave_no_result_in_a_closed_run(self, lead, own_project, at_once, sql):
        cases = [{"title": f"Case {n}"} for n in range(20)]
        lead.call("create_test_cases", project=own_project, cases=cases)
        run = start(lead, own_project, includeAll=True)
        here = {"project": own_project, "runId": run["id"]}

        def recording(number):
            return lambda client: client.call("record_test_result", **here, caseId=f"C-{number}", statusId="Passed")

        jobs = [recording(number) for number in range(1, 9)]
        jobs.insert(4, lambda client: client.call("close_test_run", **here))
        answers = at_once(jobs)
        assert not isinstance(answers[4], ToolFailed)
        refused = [answer for answer in answers if isinstance(answer, ToolFailed)]
        assert {answer.error["code"] for answer in refused} <= {"RUN_CLOSED"}
        late = "SELECT count(*) FROM results e JOIN runs r ON r.id = e.run_id WHERE r.id = $1 AND e.id > $2"
        closing = await sql.value("SELECT id FROM audit_log WHERE object_id = $1 AND details ? 'closed'", run["id"])
        assert await sql.value("SELECT count(*) FROM results WHERE run_id = $1", run["id"]) == 8 - len(refused)
        assert await sql.value(late, run["id"], closing) == 0


class TestSummary:
    @pytest.mark.usefixtures("cases")
    async def test_the_figures_are_those_of_the_run(self, lead, own_project, sql, acme):
        tester = acme.people["tester"].id
        run = start(lead, own_project, includeAll=True)
        lead.call(
            "update_test_run", project=own_project, runId=run["id"], assigneeId=tester, assignCaseIds=["C-1", "C-2"]
        )
        failed = record(lead, own_project, run, "C-1", "Failed", elapsedSeconds=60)
        record(lead, own_project, run, "C-2", "Passed", elapsedSeconds=30)
        record(lead, own_project, run, "C-3", "Failed")
        record(lead, own_project, run, "C-4", "Blocked", elapsedSeconds=5)
        await add_defect(sql, acme, own_project, failed["id"])
        summary = lead.call("get_test_run_summary", project=own_project, runId=run["id"])
        assert summary["counts"] == {"Passed": 1, "Failed": 2, "Blocked": 1}
        assert (summary["progress"], summary["passRate"], summary["elapsedSeconds"]) == (0.75, 0.3333, 95)
        people = [(row.get("assignee", {}).get("name"), row["counts"]) for row in summary["byAssignee"]]
        assert people == [("Tester", {"Passed": 1, "Failed": 1}), (None, {"Failed": 1, "Blocked": 1})]
        folders = [(row.get("folder", {}).get("path"), row["caseCount"]) for row in summary["byFolder"]]
        assert folders == [(None, 2), ("Checkout", 1), ("Checkout / Payment", 1)]
        assert summary["failed"] == {"withDefect": 1, "withoutDefect": 1}
        assert [(case["number"], case["defects"]) for case in summary["failedWithDefect"]] == [("C-1", ["BUG-1"])]
        assert [case["number"] for case in summary["failedWithoutDefect"]] == ["C-3"]
        assert "truncated" not in summary

    def test_a_long_summary_says_what_it_leaves_out(self, lead, own_project):
        cases = [{"title": f"{n} " + "long title " * 20} for n in range(100)]
        lead.call("create_test_cases", project=own_project, cases=cases)
        run = start(lead, own_project, includeAll=True)
        results = [{"caseId": f"C-{n}", "statusId": "Failed"} for n in range(1, 101)]
        lead.call("record_test_results", project=own_project, runId=run["id"], results=results)
        summary = lead.call("get_test_run_summary", project=own_project, runId=run["id"])
        assert summary["failed"]["withoutDefect"] == 100
        shown = len(summary["failedWithoutDefect"])
        assert 0 < shown < 100
        assert f"{shown} of 100 of failedWithoutDefect" in summary["truncated"]
