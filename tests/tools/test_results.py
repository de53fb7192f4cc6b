"""Recording results: what is stored and counted, all or nothing, many agents at once, the first result's automation."""

from __future__ import annotations

import pytest

from tests.conftest import MISSING, ToolFailed
from tests.tools.conftest import new_case

STEPS = [{"step": "Open", "expectedResult": "Form"}, {"step": "Pay"}, {"step": "Leave"}]


@pytest.fixture
def run(lead, own_project):
    """A run of three cases; C-1 has three steps."""
    new_case(lead, own_project, "One", fields={"steps": STEPS})
    new_case(lead, own_project, "Two")
    new_case(lead, own_project, "Three")
    return lead.call("start_test_run", project=own_project, title="Run", includeAll=True)["id"]


@pytest.fixture
def record(lead, own_project, run):
    def call(case, status, **arguments):
        return lead.call(
            "record_test_result", project=own_project, runId=run, caseId=case, statusId=status, **arguments
        )

    return call


@pytest.fixture
def refused(failing, own_project, run):
    """Records one result that must be refused, and returns the error."""

    def call(case="C-1", status="Passed", **arguments):
        return failing("record_test_result", project=own_project, runId=run, caseId=case, statusId=status, **arguments)

    return call


class TestOne:
    def test_the_answer_is_what_is_stored_and_the_new_counts(self, record, acme):
        steps = [{"position": 1, "status": "pass"}, {"position": 3, "status": "skip", "comment": "no time"}]
        tester = acme.people["tester"].id
        made = record("C-1", "Failed", comment="**500**", elapsedSeconds=12, stepResults=steps, assigneeId=tester)
        assert (made["number"], made["status"], made["comment"]) == ("C-1", "Failed", "**500**")
        assert (made["elapsedSeconds"], made["stepResults"], made["caseVersion"]) == (12, steps, 1)
        assert (made["assignee"]["id"], made["createdBy"]["name"]) == (tester, "Lead")
        assert made["run"]["counts"] == {"Untested": 2, "Failed": 1}
        assert (made["run"]["progress"], made["run"]["passRate"]) == (0.3333, 0)

    async def test_results_are_appended_and_the_latest_counts(self, record, sql, run):
        for status in ("Failed", "Retest", "Passed"):
            made = record("C-2", status)
        assert made["run"]["counts"] == {"Untested": 2, "Passed": 1}
        rows = await sql.rows(
            "SELECT s.name FROM results e JOIN statuses s ON s.id = e.status_id WHERE e.run_id = $1 ORDER BY e.id", run
        )
        assert [row["name"] for row in rows] == ["Failed", "Retest", "Passed"]

    def test_a_status_is_an_id_or_a_name(self, record, lead, own_project):
        ids = {s["systemName"]: s["id"] for s in lead.call("get_statuses", project=own_project)["items"]}
        assert record("C-1", ids["blocked"])["status"] == "Blocked"
        assert record("C-1", str(ids["passed"]))["status"] == "Passed"
        assert record("C-1", " FAILED ")["status"] == "Failed"

    def test_a_wrong_status_is_told_with_those_there_are(self, refused):
        error = refused(status="Pased")
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "statusId")
        assert "Passed (" in error["message"]
        assert "Skipped (" in error["message"]
        assert "Untested" in refused(status="Untested")["message"]
        assert refused(status=MISSING)["code"] == "NOT_FOUND_OR_DENIED"

    async def test_a_status_of_another_project_or_disabled_is_none(self, refused, sql, own_project):
        elsewhere = await sql.new_project("elsewhere")
        status = await sql.value(
            "INSERT INTO statuses (system_name, name, all_projects) VALUES ('elsewhere', 'Elsewhere', false) "
            "RETURNING id"
        )
        await sql.make_available(elsewhere, status_id=status)
        assert refused(status=status)["code"] == "NOT_FOUND_OR_DENIED"
        assert "Elsewhere (" not in refused(status="Elsewhere")["message"]
        await sql.make_available(own_project, status_id=status)
        await sql.rows("UPDATE statuses SET enabled = false WHERE id = $1", status)
        assert refused(status=status)["code"] == "NOT_FOUND_OR_DENIED"

    def test_steps_are_those_of_the_version_executed(self, refused, record, lead, own_project):
        lead.call("update_test_case", project=own_project, caseId="C-1", fields={"steps": [*STEPS, "New", "Newer"]})
        record("C-1", "Passed", stepResults=[{"position": 3, "status": "pass"}])
        error = refused(stepResults=[{"position": 4, "status": "pass"}])
        assert (error["field"], "has 3 steps" in error["message"]) == ("stepResults", True)
        assert "no steps" in refused("C-2", stepResults=[{"position": 1, "status": "pass"}])["message"]
        twice = [{"position": 1, "status": "pass"}, {"position": 1, "status": "fail"}]
        assert "twice" in refused(stepResults=twice)["message"]
        assert refused(stepResults=[{"position": 1, "status": "ok"}])["code"] == "INVALID_VALUE"
        assert refused(stepResults=[{"position": 0, "status": "pass"}])["code"] == "INVALID_VALUE"

    @pytest.mark.usefixtures("run")
    def test_what_is_not_there_is_not_found(self, refused, failing, own_project, lead):
        new_case(lead, own_project, "Not in the run")
        assert refused("C-4")["code"] == "NOT_FOUND_OR_DENIED"
        assert refused("C-99")["code"] == "NOT_FOUND_OR_DENIED"
        assert refused(assigneeId=MISSING)["code"] == "NOT_FOUND_OR_DENIED"
        error = failing("record_test_result", project=own_project, runId=MISSING, caseId="C-1", statusId="Passed")
        assert error["code"] == "NOT_FOUND_OR_DENIED"

    def test_bounds(self, refused):
        assert refused(elapsedSeconds=-1)["code"] == "INVALID_VALUE"
        assert refused(elapsedSeconds=10**9)["code"] == "INVALID_VALUE"
        assert refused(comment="x" * 10_001)["code"] == "INVALID_VALUE"
        assert refused(sourceId=1)["field"] == "issueKey"
        long = [{"position": n, "status": "pass", "comment": "x" * 2_000} for n in range(1, 12)]
        assert "22,000 characters together" in refused(stepResults=long)["message"]

    async def test_a_dry_run_leaves_nothing(self, record, sql, run):
        made = record("C-1", "Failed", dryRun=True)
        assert (made["dryRun"], made["run"]["counts"]) == (True, {"Untested": 2, "Failed": 1})
        assert await sql.value("SELECT count(*) FROM results WHERE run_id = $1", run) == 0
        state = "SELECT l.name FROM runs r JOIN lifecycle_states l ON l.id = r.lifecycle_state_id WHERE r.id = $1"
        assert await sql.value(state, run) == "Planned"

    def test_a_repetition_with_a_key_records_once(self, record, lead, own_project, run):
        first = record("C-1", "Passed", idempotencyKey=f"result {run}")
        assert record("C-1", "Passed", idempotencyKey=f"result {run}") == first
        shown = lead.call("get_test_run", project=own_project, runId=run, caseId="C-1")
        assert shown["resultCount"] == 1


class TestFirstResult:
    def test_the_run_moves_at_its_first_result_and_not_again(self, record, lead, own_project, run):
        assert record("C-1", "Passed")["run"]["state"]["name"] == "In Progress"
        states = lead.call("get_lifecycles", project=own_project, context="RUNS")["items"]
        planned = next(state["id"] for state in states if state["name"] == "Planned")
        lead.call("update_test_run", project=own_project, runId=run, lifecycleStateId=planned)
        assert record("C-2", "Passed")["run"]["state"]["name"] == "Planned"

    async def test_without_such_a_state_in_the_project_it_stays(self, record, sql):
        try:
            await sql.rows("UPDATE lifecycle_states SET all_projects = false WHERE automation = 'FIRST_RESULT'")
            assert record("C-1", "Passed")["run"]["state"]["name"] == "Planned"
        finally:
            await sql.rows("UPDATE lifecycle_states SET all_projects = true WHERE automation = 'FIRST_RESULT'")


class TestMany:
    def test_all_are_recorded_in_their_order(self, lead, own_project, run):
        results = [
            {"caseId": "C-3", "statusId": "Failed", "comment": "first"},
            {"caseId": "C-1", "statusId": "Passed"},
            {"caseId": "C-3", "statusId": "Passed"},
        ]
        made = lead.call("record_test_results", project=own_project, runId=run, results=results)
        assert [(item["number"], item["status"]) for item in made["items"]] == [
            ("C-3", "Failed"),
            ("C-1", "Passed"),
            ("C-3", "Passed"),
        ]
        assert made["total"] == 3
        assert made["run"]["counts"] == {"Untested": 1, "Passed": 2}

    async def test_of_500_with_bad_ones_nothing_is_written_and_all_are_told(self, lead, own_project, failing, sql):
        for _ in range(3):
            lead.call("create_test_cases", project=own_project, cases=[{"title": "Case"}] * 200)
        big = lead.call("start_test_run", project=own_project, title="Big", includeAll=True)["id"]
        results = [{"caseId": f"C-{n}", "statusId": "Passed"} for n in range(1, 501)]
        results[17] = {"caseId": "C-9999", "statusId": "Passed"}
        results[240]["statusId"] = "Grand"
        results[499]["stepResults"] = [{"position": 1, "status": "pass"}]
        error = failing("record_test_results", project=own_project, runId=big, results=results)
        assert error["code"] == "BULK_REFUSED"
        assert [one["index"] for one in error["errors"]] == [17, 240, 499]
        assert "3 of 500 results" in error["message"]
        assert await sql.value("SELECT count(*) FROM results WHERE run_id = $1", big) == 0
        good = [{"caseId": f"C-{n}", "statusId": "Passed"} for n in range(1, 501)]
        made = lead.call("record_test_results", project=own_project, runId=big, results=good)
        assert made["total"] == 500
        assert made["run"]["counts"] == {"Untested": 100, "Passed": 500}
        audited = "SELECT count(*) FROM audit_log WHERE object_type = 'result' AND object_id = ANY ($1::bigint[])"
        assert await sql.value(audited, [item["id"] for item in made["items"]]) == 500

    def test_more_than_500_are_refused(self, failing, own_project, run):
        results = [{"caseId": "C-1", "statusId": "Passed"}] * 501
        assert failing("record_test_results", project=own_project, runId=run, results=results)["code"] == (
            "INVALID_VALUE"
        )


class TestAtOnce:
    async def test_twenty_agents_lose_no_result(self, lead, own_project, at_once, sql):
        lead.call("create_test_cases", project=own_project, cases=[{"title": "Case"}] * 20)
        run = lead.call("start_test_run", project=own_project, title="Busy", includeAll=True)["id"]
        orders = [[*range(n, 21), *range(1, n)][:: (1, -1)[n % 2]] for n in range(1, 21)]

        def agent(order):
            results = [{"caseId": f"C-{n}", "statusId": ("Passed", "Failed")[order[0] % 2]} for n in order]

            def work(client):
                for chunk in (results[:10], results[10:]):
                    client.call("record_test_results", project=own_project, runId=run, results=chunk)

            return work

        answers = at_once([agent(order) for order in orders])
        assert [answer for answer in answers if isinstance(answer, ToolFailed)] == []
        assert await sql.value("SELECT count(*) FROM results WHERE run_id = $1", run) == 400
        latest = await sql.rows(
            """
            SELECT rc.case_id
            FROM run_cases rc JOIN results e ON e.id = rc.latest_result_id
            WHERE rc.run_id = $1 AND rc.status_id = e.status_id
            """,
            run,
        )
        assert len(latest) == 20
        # The latest is the one with the highest id, which is what coverage goes by.
        highest = "SELECT count(*) FROM run_cases rc WHERE rc.run_id = $1 AND rc.latest_result_id = "
        highest += "(SELECT max(e.id) FROM results e WHERE e.run_id = $1 AND e.case_id = rc.case_id)"
        assert await sql.value(highest, run) == 20
        shown = lead.call("get_test_run", project=own_project, runId=run)
        assert sum(shown["counts"].values()) == 20
        assert shown["progress"] == 1
        moves = "SELECT count(*) FROM audit_log WHERE object_id = $1 AND action = 'update'"
        assert await sql.value(moves, run) == 1
