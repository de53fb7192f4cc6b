"""Coverage gaps and the way from an issue back to its tests, told by small stories."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.conftest import MISSING
from tests.tools.conftest import new_case, new_folder

_COUNTER = itertools.count(1)


def size(document):
    """Return the characters of JSON that a client gets."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


class Story:
    """A project in which people work, with one tracker."""

    def __init__(self, lead, sql, project, source):
        self.lead, self.sql, self.project, self.source = lead, sql, project, source

    def call(self, tool, **arguments):
        return self.lead.call(tool, project=self.project, **arguments)

    def case(self, title, folder=0):
        return new_case(self.lead, self.project, title, folderId=folder)["id"]

    def folder(self, name, parent=0):
        return new_folder(self.lead, self.project, name, parentId=parent)["id"]

    async def cycle(self, name, parent=None):
        return await self.sql.value(
            "INSERT INTO cycles (project_id, type_id, name, parent_id, depth) "
            "SELECT $1, t.id, $2, $3::bigint, CASE WHEN $3::bigint IS NULL THEN 1 ELSE 2 END "
            "FROM cycle_types t WHERE t.is_default RETURNING id",
            self.project,
            name,
            parent,
        )

    def run(self, *cases, cycle=None, title="Run"):
        within = {"cycleId": cycle} if cycle else {}
        return self.call("start_test_run", title=title, caseIds=list(cases), **within)["id"]

    def result(self, run, case, status):
        return self.call("record_test_result", runId=run, caseId=case, statusId=status)["id"]

    def link(self, case, key, **arguments):
        return self.call("link_to_issue", caseId=case, issueKey=key, sourceId=self.source, **arguments)

    async def know(self, key, **columns):
        """Let the tracker tell of an issue."""
        values = {"project_id": self.project, "source_id": self.source, "key": key, **columns}
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        await self.sql.rows(
            f"INSERT INTO issues (synced_at, {', '.join(values)}) VALUES (now(), {places})", *values.values()
        )

    def gaps(self, **filters):
        """Return how many there are of each kind, and of how many."""
        return {gap["kind"]: (gap["count"], gap["of"]) for gap in self.call("get_coverage_gaps", **filters)["gaps"]}

    def listed(self, kind, **filters):
        """Return the titles or keys of the gaps of one kind."""
        answer = self.call("get_coverage_gaps", kind=kind, **filters)
        assert answer["total"] == len(answer["items"])
        return [item["title"] if kind.startswith("CASES") else item["issueKey"] for item in answer["items"]]

    def trace(self, key, **arguments):
        return self.call("get_reverse_traceability", issueKey=key, **arguments)


async def new_source(sql, project, name, **columns):
    values = {"system": "JIRA", "key_pattern": "[A-Z]+-[0-9]+", "base_url": "https://acme.example", **columns}
    names = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(2, len(values) + 2))
    source = await sql.value(
        f"INSERT INTO sources (all_projects, name, {names}) VALUES (false, $1, {places}) RETURNING id",
        f"{name} {project}.{next(_COUNTER)}",
        *values.values(),
    )
    await sql.make_available(project, source_id=source)
    return source


@pytest.fixture
async def story(lead, sql, own_project, own_sources_only):  # noqa: ARG001 - for what it does
    return Story(lead, sql, own_project, await new_source(sql, own_project, "Jira"))


class TestGaps:
    def test_an_empty_project_has_none(self, story):
        gaps = story.call("get_coverage_gaps")
        assert gaps == {
            "gaps": [
                {"kind": kind, "count": 0, "of": 0, "percentage": 0}
                for kind in ("CASES_WITHOUT_ISSUE", "ISSUES_WITHOUT_CASE", "ISSUES_NOT_PASSING", "CASES_NEVER_RUN")
            ]
        }
        listed = story.call("get_coverage_gaps", kind="CASES_NEVER_RUN")
        assert listed == {**gaps, "kind": "CASES_NEVER_RUN", "items": [], "total": 0}

    async def test_each_kind_is_counted_and_listed(self, story):
        linked, defect, bare = (story.case(title) for title in ("Linked", "Only a defect", "Bare"))
        await story.know("PAY-9", title="Refunds", status="To Do", url="https://acme.example/browse/PAY-9")
        story.link(linked, "PAY-1")
        run = story.run(linked, defect, bare)
        story.result(run, linked, "Passed")
        story.result(run, defect, "Failed")
        story.link(defect, "PAY-2", runId=run)
        answer = story.call("get_coverage_gaps")
        assert [tuple(gap.values()) for gap in answer["gaps"]] == [
            ("CASES_WITHOUT_ISSUE", 2, 3, 66.7),
            ("ISSUES_WITHOUT_CASE", 2, 3, 66.7),
            ("ISSUES_NOT_PASSING", 0, 1, 0),
            ("CASES_NEVER_RUN", 1, 3, 33.3),
        ]
        assert story.listed("CASES_WITHOUT_ISSUE") == ["Only a defect", "Bare"]
        assert story.listed("CASES_NEVER_RUN") == ["Bare"]
        assert story.listed("ISSUES_NOT_PASSING") == []
        [known, raised] = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE")["items"]
        assert raised["issueKey"] == "PAY-2"
        assert known == {
            "issueKey": "PAY-9",
            "source": {"id": story.source, "name": known["source"]["name"]},
            "url": "https://acme.example/browse/PAY-9",
            "title": "Refunds",
            "status": "To Do",
            "verdict": "NOT_COVERED",
            "caseCount": 0,
            "passingCount": 0,
        }

    async def test_a_defect_on_a_case_and_a_general_link_of_a_result_are_no_coverage(self, story, sql):
        case = story.case("Case")
        relations = {
            row["semantic"]: row["id"] for row in await sql.rows("SELECT id, semantic FROM relations WHERE is_default")
        }
        story.link(case, "PAY-1", relationId=relations["DEFECT"])
        run = story.run(case)
        story.result(run, case, "Passed")
        story.link(case, "PAY-1", runId=run, relationId=relations["GENERAL"])
        assert story.gaps()["CASES_WITHOUT_ISSUE"] == (1, 1)
        assert story.gaps()["ISSUES_WITHOUT_CASE"] == (1, 1)

    def test_an_issue_passes_when_every_case_that_covers_it_does(self, story):
        first, second = story.case("First"), story.case("Second")
        story.link(first, "PAY-1")
        story.link(second, "PAY-1")
        old, new = story.run(first, second), story.run(first)

        def verdict():
            listed = story.call("get_coverage_gaps", kind="ISSUES_NOT_PASSING")["items"]
            traced = story.trace("PAY-1")
            figures = [traced[name] for name in ("verdict", "caseCount", "passingCount")]
            if listed:
                assert [[item[name] for name in ("verdict", "caseCount", "passingCount")] for item in listed] == [
                    figures
                ]
            else:
                assert traced["verdict"] == "PASSING"
            return figures

        assert verdict() == ["UNTESTED", 2, 0]
        story.result(old, first, "Failed")
        assert verdict() == ["FAILING", 2, 0]
        story.result(new, first, "Passed")
        assert verdict() == ["UNTESTED", 2, 1]
        story.result(old, second, "Blocked")
        assert verdict() == ["UNTESTED", 2, 1]
        story.result(old, second, "Passed")
        assert verdict() == ["PASSING", 2, 2]
        story.result(old, first, "Failed")
        assert verdict() == ["FAILING", 2, 1]

    async def test_a_status_that_is_success_and_failure_is_a_failure(self, story, sql):
        case = story.case("Case")
        story.link(case, "PAY-1")
        name = f"odd-{story.project}"
        status = await sql.value(
            "INSERT INTO statuses (system_name, name, success, failure, all_projects) "
            "VALUES ($1, $1, true, true, false) RETURNING id",
            name,
        )
        await sql.make_available(story.project, status_id=status)
        story.result(story.run(case), case, status)
        assert story.trace("PAY-1")["verdict"] == "FAILING"
        assert story.listed("ISSUES_NOT_PASSING") == ["PAY-1"]

    async def test_deleted_cases_count_for_nothing(self, story, sql):
        case = story.case("Case")
        story.link(case, "PAY-1")
        run = story.run(case)
        story.result(run, case, "Failed")
        story.link(case, "PAY-2", runId=run)
        await sql.rows("UPDATE cases SET deleted_at = now() WHERE id = $1", case)
        assert story.gaps() == {
            "CASES_WITHOUT_ISSUE": (0, 0),
            "ISSUES_WITHOUT_CASE": (2, 2),
            "ISSUES_NOT_PASSING": (0, 0),
            "CASES_NEVER_RUN": (0, 0),
        }
        traced = story.trace("PAY-1")
        assert (traced["verdict"], traced["totals"]) == (
            "NOT_COVERED",
            {"cases": 0, "runs": 0, "cycles": 0, "defects": 0},
        )
        assert story.trace("PAY-2")["totals"]["defects"] == 0

    def test_a_link_that_is_removed_leaves_no_ghost(self, story):
        link = story.link(story.case("Case"), "PAY-1")
        story.call("unlink_from_issue", linkId=link["id"])
        assert story.gaps()["ISSUES_WITHOUT_CASE"] == (0, 0)


class TestScope:
    async def test_a_folder_limits_cases_and_issues_to_it_and_below(self, story):
        top = story.folder("Checkout")
        below = story.folder("Cards", top)
        inside, deep, outside = story.case("In", top), story.case("Deep", below), story.case("Out")
        await story.know("PAY-9")
        story.link(inside, "PAY-1")
        story.link(outside, "PAY-1")
        story.link(outside, "PAY-2")
        run = story.run(inside, deep, outside)
        story.result(run, inside, "Passed")
        story.result(run, outside, "Failed")
        story.result(run, deep, "Failed")
        story.link(deep, "PAY-3", runId=run)
        assert story.gaps() == {
            "CASES_WITHOUT_ISSUE": (1, 3),
            "ISSUES_WITHOUT_CASE": (2, 4),
            "ISSUES_NOT_PASSING": (2, 2),
            "CASES_NEVER_RUN": (0, 3),
        }
        assert story.gaps(folderId=0) == story.gaps()
        assert story.gaps(folderId=top) == {
            "CASES_WITHOUT_ISSUE": (1, 2),
            "ISSUES_WITHOUT_CASE": (1, 2),
            "ISSUES_NOT_PASSING": (0, 1),
            "CASES_NEVER_RUN": (0, 2),
        }
        assert story.listed("ISSUES_WITHOUT_CASE", folderId=top) == ["PAY-3"]
        [item] = story.call("get_coverage_gaps", kind="CASES_WITHOUT_ISSUE", folderId=below)["items"]
        assert item == {"caseId": deep, "number": "C-2", "title": "Deep", "folder": {"id": below, "name": "Cards"}}

    async def test_a_cycle_limits_cases_and_results_to_its_runs_and_those_below(self, story):
        release = await story.cycle("Release")
        sprint = await story.cycle("Sprint", release)
        first, second, third = story.case("First"), story.case("Second"), story.case("Third")
        for case, key in ((first, "PAY-1"), (second, "PAY-2"), (third, "PAY-3")):
            story.link(case, key)
        here = story.run(first, cycle=release)
        below = story.run(second, cycle=sprint)
        elsewhere = story.run(first, second, third)
        story.result(here, first, "Passed")
        story.result(elsewhere, first, "Failed")
        story.result(elsewhere, second, "Passed")
        story.link(first, "PAY-4", runId=elsewhere)
        assert story.gaps()["ISSUES_NOT_PASSING"] == (2, 3)
        assert story.gaps(cycleId=release) == {
            "CASES_WITHOUT_ISSUE": (0, 2),
            "ISSUES_WITHOUT_CASE": (0, 2),
            "ISSUES_NOT_PASSING": (1, 2),
            "CASES_NEVER_RUN": (1, 2),
        }
        assert story.listed("ISSUES_NOT_PASSING", cycleId=release) == ["PAY-2"]
        assert story.listed("CASES_NEVER_RUN", cycleId=sprint) == ["Second"]
        story.result(below, second, "Passed")
        assert story.gaps(cycleId=sprint)["ISSUES_NOT_PASSING"] == (0, 1)
        folder = story.folder("Empty")
        assert story.gaps(cycleId=release, folderId=folder)["CASES_NEVER_RUN"] == (0, 0)

    def test_what_is_not_there_is_not_found(self, story, failing):
        for scope in ({"folderId": MISSING}, {"cycleId": MISSING}, {"cycleId": 0}):
            error = failing("get_coverage_gaps", project=story.project, **scope)
            assert error["code"] == "NOT_FOUND_OR_DENIED"


class TestPages:
    async def test_they_are_small_stable_and_bound_to_their_question(self, story, failing):
        for number in range(1, 8):
            await story.know(f"PAY-{number}", title="t" * 500, url=f"https://acme.example/{'u' * 900}")
        first = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE", limit=3)
        await story.know("PAY-8")
        second = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE", limit=3, cursor=first["nextCursor"])
        last = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE", limit=3, cursor=second["nextCursor"])
        keys = [item["issueKey"] for page in (first, second, last) for item in page["items"]]
        assert keys == [f"PAY-{number}" for number in range(1, 9)]
        assert "nextCursor" not in last
        assert (first["total"], second["total"]) == (7, 8)
        for other in ({}, {"kind": "ISSUES_NOT_PASSING"}, {"kind": "ISSUES_WITHOUT_CASE", "folderId": 0}):
            error = failing("get_coverage_gaps", project=story.project, cursor=first["nextCursor"], **other)
            assert error["code"] == "INVALID_CURSOR"

    async def test_a_default_page_floods_nobody(self, story, sql):
        await sql.rows(
            "INSERT INTO issues (project_id, source_id, key, url, title, status, synced_at) "
            "SELECT $1, $2, 'PAY-' || n, repeat('u', 1000), repeat('t', 500), repeat('s', 100), now() "
            "FROM generate_series(1, 300) n",
            story.project,
            story.source,
        )
        answer = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE")
        assert size(answer) < 20_000
        assert answer["total"] == 300
        most = story.call("get_coverage_gaps", kind="ISSUES_WITHOUT_CASE", limit=200)
        assert size(most) < 80_000
        assert len(most["items"]) < 200
        assert "nextCursor" in most


class TestTracing:
    async def test_an_issue_tells_its_cases_runs_cycles_and_defects(self, story, sql):
        release = await story.cycle("Release")
        first, second = story.case("First"), story.case("Second")
        await story.know("PAY-1", title="Pay by card", status="In Review", url="https://acme.example/PAY-1")
        covers = story.link(first, "PAY-1")
        other = await sql.value("SELECT id FROM relations WHERE name = 'Relates to'")
        relates = story.link(first, "PAY-1", relationId=other)
        old = story.run(first, second, title="Old")
        new = story.run(first, second, title="New", cycle=release)
        story.result(old, first, "Failed")
        old_defect = story.link(first, "PAY-1", runId=old)
        story.result(new, second, "Failed")
        new_defect = story.link(second, "PAY-1", runId=new)
        before = story.trace("https://acme.example/browse/pay-1")
        assert [run["title"] for run in before["runs"]] == ["Old"]
        story.result(new, first, "Passed")
        traced = story.trace("pay-1")
        times = [traced["cases"][0]["latestResult"].pop("at"), *(defect.pop("at") for defect in traced["defects"])]
        assert all(time.endswith(("+00:00", "Z")) for time in times)
        assert traced == {
            "issueKey": "PAY-1",
            "source": {"id": story.source, "name": traced["source"]["name"]},
            "url": "https://acme.example/PAY-1",
            "title": "Pay by card",
            "status": "In Review",
            "verdict": "PASSING",
            "caseCount": 1,
            "passingCount": 1,
            "cases": [
                {
                    "caseId": first,
                    "number": "C-1",
                    "title": "First",
                    "relations": [
                        {"linkId": covers["id"], "name": "Covers", "semantic": "GENERAL"},
                        {"linkId": relates["id"], "name": "Relates to", "semantic": "GENERAL"},
                    ],
                    "latestResult": {"status": "Passed", "runId": new, "run": "New"},
                }
            ],
            "runs": [
                {
                    "id": new,
                    "title": "New",
                    "state": "In Progress",
                    "closed": False,
                    "cycle": {"id": release, "name": "Release"},
                },
                {"id": old, "title": "Old", "state": "In Progress", "closed": False},
            ],
            "cycles": [{"id": release, "name": "Release", "state": "UPCOMING"}],
            "defects": [
                {
                    "linkId": new_defect["id"],
                    "caseId": second,
                    "number": "C-2",
                    "resultId": new_defect["resultId"],
                    "runId": new,
                    "run": "New",
                    "relation": "Defect",
                    "status": "Failed",
                },
                {
                    "linkId": old_defect["id"],
                    "caseId": first,
                    "number": "C-1",
                    "resultId": old_defect["resultId"],
                    "runId": old,
                    "run": "Old",
                    "relation": "Defect",
                    "status": "Failed",
                },
            ],
            "totals": {"cases": 1, "runs": 2, "cycles": 1, "defects": 2},
        }

    def test_an_issue_that_nothing_is_linked_to_is_not_covered(self, story):
        traced = story.trace("pay-404")
        assert (traced["issueKey"], traced["verdict"]) == ("PAY-404", "NOT_COVERED")
        assert traced["url"] == "https://acme.example/browse/PAY-404"
        assert traced["totals"] == {"cases": 0, "runs": 0, "cycles": 0, "defects": 0}

    async def test_a_tracker_is_to_be_named_only_where_several_know_the_issue(self, story, failing, sql):
        other = await new_source(sql, story.project, "Linear", system="LINEAR", base_url="https://linear.example/acme")
        assert "source" not in story.trace("PAY-1")
        case = story.case("Case")
        story.link(case, "PAY-1")
        assert story.trace("PAY-1")["source"]["id"] == story.source
        assert story.trace("https://linear.example/acme/issue/PAY-1/pay")["source"]["id"] == other
        assert story.trace("PAY-1", sourceId=other)["verdict"] == "NOT_COVERED"
        story.call("link_to_issue", caseId=case, issueKey="PAY-1", sourceId=other)
        error = failing("get_reverse_traceability", project=story.project, issueKey="PAY-1")
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "sourceId")
        assert f"({story.source})" in error["message"]
        assert f"({other})" in error["message"]
        assert story.trace("PAY-1", sourceId=other)["source"]["id"] == other

    async def test_what_no_tracker_could_have_is_refused(self, story, failing, sql):
        for key in ("pay", "https://other.example/browse/PAY-1"):
            error = failing("get_reverse_traceability", project=story.project, issueKey=key)
            assert (error["code"], error["field"]) == ("INVALID_VALUE", "issueKey")
        await new_source(sql, story.project, "Code", system="GITHUB", key_pattern="#[0-9]+", base_url="")
        error = failing("get_reverse_traceability", project=story.project, issueKey="pay")
        assert "Jira" in error["message"]
        assert "Code" in error["message"]
        error = failing("get_reverse_traceability", project=story.project, issueKey="PAY-1", sourceId=MISSING)
        assert error["code"] == "NOT_FOUND_OR_DENIED"

    async def test_without_a_tracker_there_is_no_issue(self, story, failing, sql):
        await sql.rows("UPDATE sources SET enabled = false WHERE id = $1", story.source)
        error = failing("get_reverse_traceability", project=story.project, issueKey="PAY-1")
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "issueKey")

    async def test_a_disabled_tracker_still_tells_of_its_issues(self, story, sql):
        story.link(story.case("Case"), "PAY-1")
        await sql.rows("UPDATE sources SET enabled = false WHERE id = $1", story.source)
        assert story.trace("PAY-1")["verdict"] == "UNTESTED"
        assert story.trace("PAY-1", sourceId=story.source)["totals"]["cases"] == 1

    async def test_of_very_much_a_part_is_shown_and_the_totals_are_true(self, story, sql, acme):
        case = story.case("x" * 255)
        story.link(case, "PAY-1")
        user = acme.people["lead"].id
        issue = await sql.value("SELECT id FROM issues WHERE project_id = $1", story.project)
        await sql.rows(
            """
            WITH more AS (
                INSERT INTO cases (project_id, number, title, template_id, lifecycle_state_id, created_by, updated_by)
                SELECT c.project_id, n, repeat('😀', 255), c.template_id, c.lifecycle_state_id, $2, $2
                FROM cases c, generate_series(2, 301) n WHERE c.id = $1
                RETURNING id, project_id
            )
            INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by)
            SELECT m.project_id, $3, r.id, m.id, $2 FROM more m, relations r WHERE r.name = 'Covers'
            """,
            case,
            user,
            issue,
        )
        traced = story.trace("PAY-1")
        assert size(traced) < 80_000
        assert (traced["caseCount"], traced["totals"]["cases"]) == (301, 301)
        assert 0 < len(traced["cases"]) < 301
        assert f"{len(traced['cases'])} of 301 cases" in traced["truncated"]
