"""Counts and summaries of runs on random worlds, against a plain count that shares nothing with the service."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.conftest import new_folder

# The seeded statuses that a result can have: success, failure, completed.
FLAGS = {
    "Passed": (True, False, True),
    "Failed": (False, True, True),
    "Blocked": (False, False, False),
    "Skipped": (False, False, True),
    "Retest": (False, False, False),
}
CASES = 6
PEOPLE = (None, "lead", "tester")
results = st.lists(
    st.tuples(
        st.integers(1, CASES),
        st.sampled_from(list(FLAGS)),
        st.one_of(st.none(), st.integers(0, 500)),
        st.sampled_from(PEOPLE),
        st.booleans(),
    ),
    max_size=25,
)


@pytest.fixture
async def stage(lead, own_project, sql, own_sources_only):  # noqa: ARG001 - for what it does
    """A project of six cases in two folders and at the root, with one issue tracker."""
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern, all_projects) "
        "VALUES ('Brute ' || nextval('ids'), 'JIRA', '[A-Z]+-[0-9]+', false) RETURNING id"
    )
    await sql.make_available(own_project, source_id=source)
    above = new_folder(lead, own_project, "A")["id"]
    below = new_folder(lead, own_project, "B", parentId=above)["id"]
    folders = [above, below, 0] * 2
    cases = [{"title": f"Case {n}", "folderId": folder} for n, folder in enumerate(folders, start=1)]
    lead.call("create_test_cases", project=own_project, cases=cases)
    return {0: None, above: "A", below: "A / B"}, folders


def expected(recorded, paths, folders, people):
    """Return the summary by counting."""
    status = dict.fromkeys(range(1, CASES + 1), "Untested")
    assignee: dict[int, int | None] = dict.fromkeys(range(1, CASES + 1))
    defects: dict[int, set[str]] = {number: set() for number in status}
    elapsed = 0
    for index, (case, name, seconds, person, has_defect) in enumerate(recorded):
        status[case] = name
        assignee[case] = people[person] if person else assignee[case]
        elapsed += seconds or 0
        if has_defect:
            defects[case].add(f"BUG-{index + 1}")
    completed = [case for case, name in status.items() if name in FLAGS and FLAGS[name][2]]
    passed = [case for case in completed if FLAGS[status[case]][0]]
    failed = [case for case, name in status.items() if name in FLAGS and FLAGS[name][1]]

    def grouped(key):
        groups: dict = {}
        for case, name in status.items():
            groups.setdefault(key(case), Counter())[name] += 1
        return {name: dict(counts) for name, counts in groups.items()}

    return {
        "counts": dict(Counter(status.values())),
        "progress": round(len(completed) / CASES, 4),
        "passRate": round(len(passed) / len(completed), 4) if completed else None,
        "elapsed": elapsed,
        "assignees": grouped(assignee.get),
        "folders": grouped(lambda case: paths[folders[case - 1]]),
        "with": {f"C-{case}": sorted(defects[case]) for case in failed if defects[case]},
        "without": [f"C-{case}" for case in failed if not defects[case]],
    }


def told(summary):
    assert "truncated" not in summary
    return {
        "counts": summary["counts"],
        "progress": summary["progress"],
        "passRate": summary.get("passRate"),
        "elapsed": summary["elapsedSeconds"],
        "assignees": {row.get("assignee", {}).get("id"): row["counts"] for row in summary["byAssignee"]},
        "folders": {row.get("folder", {}).get("path"): row["counts"] for row in summary["byFolder"]},
        "with": {case["number"]: sorted(case["defects"]) for case in summary["failedWithDefect"]},
        "without": [case["number"] for case in summary["failedWithoutDefect"]],
    }


def test_a_summary_is_what_a_plain_count_gives(lead, own_project, stage, acme):
    paths, folders = stage
    people = {name: acme.people[name].id for name in PEOPLE if name}

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(results)
    def compare(recorded):
        run = lead.call("start_test_run", project=own_project, title="Run", includeAll=True)["id"]
        sent = []
        for index, (case, name, seconds, person, has_defect) in enumerate(recorded):
            result = {"caseId": f"C-{case}", "statusId": name}
            result |= {} if seconds is None else {"elapsedSeconds": seconds}
            result |= {"assigneeId": people[person]} if person else {}
            result |= {"issueKey": f"BUG-{index + 1}"} if has_defect else {}
            sent.append(result)
        if sent:
            answer = lead.call("record_test_results", project=own_project, runId=run, results=sent)["run"]
        want = expected(recorded, paths, folders, people)
        summary = lead.call("get_test_run_summary", project=own_project, runId=run)
        assert told(summary) == want
        assert summary["failed"] == {"withDefect": len(want["with"]), "withoutDefect": len(want["without"])}
        shown = lead.call("get_test_run", project=own_project, runId=run)
        for one in (shown, *([answer] if sent else [])):
            assert (one["counts"], one["progress"], one.get("passRate")) == (
                want["counts"], want["progress"], want["passRate"],
            )  # fmt: skip
        closed = lead.result("close_test_run", project=own_project, runId=run)
        assert bool(closed.get("isError")) is bool(want["without"])

    compare()
