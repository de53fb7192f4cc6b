"""Cycles: their states and dates, three levels, what may be under what, progress over all below, many at once."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.conftest import MISSING, ToolFailed
from tests.tools.conftest import new_case

TODAY = dt.datetime.now(dt.UTC).date().isoformat()


@pytest.fixture
def cycle(lead, own_project):
    """Creates a cycle, brought to a state."""

    def create(name="Cycle", state="UPCOMING", **arguments):
        made = lead.call("create_cycle", project=own_project, name=name, **arguments)
        for step in {"UPCOMING": (), "ACTIVE": ("ACTIVE",), "COMPLETED": ("ACTIVE", "COMPLETED")}[state]:
            made = lead.call("update_cycle", project=own_project, cycleId=made["id"], state=step)
        return made

    return create


@pytest.fixture
def update(lead, own_project):
    return lambda cycle, **changes: lead.call("update_cycle", project=own_project, cycleId=cycle["id"], **changes)


@pytest.fixture
def refused(failing, own_project):
    """Changes a cycle in a way that must be refused, and returns the error."""
    return lambda cycle, **changes: failing("update_cycle", project=own_project, cycleId=cycle["id"], **changes)


class TestCreating:
    def test_a_cycle_is_upcoming_and_of_the_default_type(self, cycle):
        made = cycle("Release", startDate="2026-12-01", endDate="2026-12-01", description="**all**")
        assert (made["state"], made["type"]["name"], made["version"]) == ("UPCOMING", "Sprint", 1)
        assert (made["startDate"], made["endDate"], made["description"]) == ("2026-12-01", "2026-12-01", "**all**")
        assert (made["progress"], made["runCount"], made["pastDue"]) == (0, 0, False)

    async def test_a_type_must_be_usable_in_the_project(self, cycle, failing, own_project, sql):
        made = await sql.value("INSERT INTO cycle_types (name, all_projects) VALUES ('Phase', false) RETURNING id")
        error = failing("create_cycle", project=own_project, name="x", typeId=made)
        assert error["code"] == "NOT_FOUND_OR_DENIED"
        await sql.make_available(own_project, cycle_type_id=made)
        assert cycle(typeId=made)["type"]["name"] == "Phase"
        await sql.rows("UPDATE cycle_types SET enabled = false WHERE id = $1", made)
        assert failing("create_cycle", project=own_project, name="x", typeId=made)["code"] == "NOT_FOUND_OR_DENIED"

    def test_three_levels_and_no_more(self, cycle, failing, own_project):
        one = cycle("1")
        two = cycle("2", parentId=one["id"])
        three = cycle("3", parentId=two["id"])
        error = failing("create_cycle", project=own_project, name="4", parentId=three["id"])
        assert (error["code"], error["field"]) == ("INVALID_MOVE", "parentId")
        assert failing("create_cycle", project=own_project, name="x", parentId=MISSING)["code"] == (
            "NOT_FOUND_OR_DENIED"
        )

    def test_dates_are_in_order(self, cycle, refused, failing, own_project):
        dates = {"startDate": "2026-12-02", "endDate": "2026-12-01"}
        assert failing("create_cycle", project=own_project, name="x", **dates)["field"] == "endDate"
        made = cycle(startDate="2026-12-02")
        assert refused(made, endDate="2026-12-01")["field"] == "endDate"

    def test_past_due_is_after_the_end_until_it_is_completed(self, cycle, update):
        made = cycle(startDate="2020-01-01", endDate="2020-01-31")
        assert made["pastDue"] is True
        update(made, state="ACTIVE")
        assert update(made, state="COMPLETED")["pastDue"] is False


class TestStates:
    def test_starting_sets_the_date_and_locks_it(self, cycle, update, refused):
        made = cycle()
        assert update(made, state="ACTIVE")["startDate"] == TODAY
        error = refused(made, startDate="2026-01-01")
        assert (error["code"], error["field"]) == ("INVALID_STATE", "startDate")
        # The same date is no change.
        assert update(made, startDate=TODAY)["version"] == 2

    def test_a_planned_start_is_kept_and_one_that_is_sent_counts(self, cycle, update):
        assert update(cycle(startDate="2026-01-05"), state="ACTIVE")["startDate"] == "2026-01-05"
        assert update(cycle(), state="ACTIVE", startDate="2026-01-06")["startDate"] == "2026-01-06"

    def test_completing(self, cycle, update, refused):
        made = cycle(startDate="2026-01-05")
        assert "ACTIVE first" in refused(made, state="COMPLETED")["message"]
        assert refused(made, completedDate="2026-02-01")["field"] == "completedDate"
        update(made, state="ACTIVE")
        assert refused(made, state="COMPLETED", completedDate="2026-01-04")["field"] == "completedDate"
        assert update(made, state="COMPLETED", completedDate="2026-02-01")["completedDate"] == "2026-02-01"
        assert update(made, completedDate="2026-02-02")["completedDate"] == "2026-02-02"
        assert "reopen_cycle" in refused(made, state="ACTIVE")["message"]
        assert "reopen_cycle" in refused(made, state="UPCOMING")["message"]

    def test_the_same_state_is_no_change(self, cycle, update):
        made = cycle(state="ACTIVE")
        assert update(made, state="ACTIVE") == made

    def test_reopening_unlocks_the_start(self, cycle, update, lead, own_project, failing):
        made = cycle(state="COMPLETED")
        again = lead.call("reopen_cycle", project=own_project, cycleId=made["id"])
        assert (again["state"], again["startDate"]) == ("UPCOMING", TODAY)
        assert "completedDate" not in again
        assert update(again, startDate="2026-03-01")["startDate"] == "2026-03-01"
        error = failing("reopen_cycle", project=own_project, cycleId=made["id"])
        assert error["code"] == "INVALID_STATE"

    def test_two_at_once_conflict(self, cycle, update, refused):
        made = cycle()
        update(made, name="A", expectedVersion=1)
        error = refused(made, name="B", expectedVersion=1)
        assert (error["code"], error["currentVersion"], error["changedBy"]) == ("VERSION_CONFLICT", 2, "Lead")


class TestNesting:
    def test_nothing_open_under_something_completed(self, cycle, update, refused, failing, own_project):
        done = cycle("Done", state="COMPLETED")
        other = cycle("Open")
        error = failing("create_cycle", project=own_project, name="x", parentId=done["id"])
        assert (error["code"], error["field"]) == ("INVALID_STATE", "parentId")
        assert refused(other, parentId=done["id"])["code"] == "INVALID_STATE"
        assert update(cycle(state="COMPLETED"), parentId=done["id"])["parentId"] == done["id"]

    def test_a_parent_is_completed_after_all_below(self, cycle, update, refused):
        parent = cycle("Release", state="ACTIVE")
        child = cycle("Sprint", parentId=parent["id"])
        below = cycle("Day", parentId=child["id"])
        error = refused(parent, state="COMPLETED")
        assert set(error["cycleIds"]) == {child["id"], below["id"]}
        for one in (below, child, parent):
            update(one, state="ACTIVE")
            assert update(one, state="COMPLETED")["state"] == "COMPLETED"

    def test_reopening_needs_an_open_parent(self, cycle, update, failing, lead, own_project):
        parent = cycle(state="ACTIVE")
        child = cycle(parentId=parent["id"], state="COMPLETED")
        update(parent, state="COMPLETED")
        assert failing("reopen_cycle", project=own_project, cycleId=child["id"])["code"] == "INVALID_STATE"
        lead.call("reopen_cycle", project=own_project, cycleId=parent["id"])
        assert lead.call("reopen_cycle", project=own_project, cycleId=child["id"])["state"] == "UPCOMING"

    def test_moves(self, cycle, update, refused):
        one, other = cycle("1"), cycle("other")
        two = cycle("2", parentId=one["id"])
        three = cycle("3", parentId=two["id"])
        assert refused(one, parentId=three["id"])["code"] == "INVALID_MOVE"
        assert refused(one, parentId=one["id"])["code"] == "INVALID_MOVE"
        # With the two levels below it, it would be the second of four.
        assert refused(one, parentId=other["id"])["code"] == "INVALID_MOVE"
        assert update(two, parentId=other["id"])["parentId"] == other["id"]
        assert "parentId" not in update(three, parentId=0)
        assert refused(two, parentId=MISSING)["code"] == "NOT_FOUND_OR_DENIED"

    async def test_two_moves_at_once_make_no_loop(self, cycle, at_once, own_project, sql):
        one, two = cycle("1"), cycle("2")

        def move(what, under):
            arguments = {"project": own_project, "cycleId": what["id"], "parentId": under["id"]}
            return lambda client: client.call("update_cycle", **arguments)

        answers = at_once([move(one, two), move(two, one)] * 3)
        assert any(isinstance(answer, ToolFailed) for answer in answers)
        roots = "SELECT count(*) FROM cycles WHERE project_id = $1 AND parent_id IS NULL"
        assert await sql.value(roots, own_project) == 1

    def test_a_new_one_at_once_with_completing_its_parent(self, cycle, at_once, lead, own_project):
        for number in range(10):
            parent = cycle(f"Release {number}", state="ACTIVE")["id"]

            def add(client, parent=parent):
                return client.call("create_cycle", project=own_project, name="Sprint", parentId=parent)

            def complete(client, parent=parent):
                return client.call("update_cycle", project=own_project, cycleId=parent, state="COMPLETED")

            answers = at_once([add, complete, add])
            refused = {answer.error["code"] for answer in answers if isinstance(answer, ToolFailed)}
            assert refused == {"INVALID_STATE"}
            items = {item["id"]: item for item in lead.call("get_cycles", project=own_project)["items"]}
            below = [item["state"] for item in items.values() if item.get("parentId") == parent]
            assert items[parent]["state"] == ("ACTIVE" if below else "COMPLETED")

    def test_a_new_one_at_once_with_moving_its_parent(self, cycle, at_once, own_project):
        top = cycle("Top")
        lower = cycle("Lower", parentId=top["id"])["id"]
        for number in range(10):
            moved = cycle(f"Moved {number}")["id"]

            def add(client, moved=moved):
                return client.call("create_cycle", project=own_project, name="Below", parentId=moved)

            def move(client, moved=moved):
                return client.call("update_cycle", project=own_project, cycleId=moved, parentId=lower)

            # Together they would be four levels.
            answers = at_once([add, move])
            [refused] = [answer.error["code"] for answer in answers if isinstance(answer, ToolFailed)]
            assert refused == "INVALID_MOVE"


def test_progress_is_over_all_runs_below(lead, own_project, cycle):
    for number in range(4):
        new_case(lead, own_project, f"Case {number}")
    release = cycle("Release")
    sprint = cycle("Sprint", parentId=release["id"])
    runs = []
    for where in (release, sprint):
        run = lead.call("start_test_run", project=own_project, title="Run", includeAll=True, cycleId=where["id"])
        runs.append(run["id"])
    results = [{"caseId": f"C-{n}", "statusId": "Passed"} for n in (1, 2, 3)]
    lead.call("record_test_results", project=own_project, runId=runs[1], results=results)
    items = {item["id"]: item for item in lead.call("get_cycles", project=own_project)["items"]}
    assert items[sprint["id"]]["progress"] == 0.75
    assert items[release["id"]]["progress"] == 0.375
    changed = lead.call("update_cycle", project=own_project, cycleId=release["id"], name="Release 1")
    assert (changed["progress"], changed["runCount"]) == (0.375, 2)
