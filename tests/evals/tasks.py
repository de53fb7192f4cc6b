"""What people ask of their agents, as tasks on the demo workspace: the words, a good way to do it, and what is right.

The prompt is all that a model gets. The script is what a competent agent does with it: it knows only what the prompt
and earlier answers say, and returns what the agent would answer. The check compares the answer, and what is stored
now, with what the database says by itself. calls and tokens are what the script may cost: a change of the tools that
makes a task dearer has to say so here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.evals.agent import Agent
    from tests.tools.conftest import Sql

Answer = dict[str, Any]

#: How every prompt ends, so that an answer can be checked.
FORM = "End your answer with one line of JSON of the form {form}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task; *calls* and *tokens* are at most what its script needs."""

    name: str
    prompt: str
    script: Callable[[Agent], Answer]
    check: Callable[[Answer, Sql], Awaitable[None]]
    calls: int
    tokens: int


TASKS: list[Task] = []


def task(prompt: str, form: str, *, calls: int, tokens: int, check: Callable[[Answer, Sql], Awaitable[None]]) -> Any:
    """Register the script below as a task of its name."""

    def register(script: Callable[[Agent], Answer]) -> Callable[[Agent], Answer]:
        asked = f"{' '.join(prompt.split())} {FORM.format(form=form)}"
        name = script.__name__.replace("_", "-")
        TASKS.append(Task(name=name, prompt=asked, script=script, check=check, calls=calls, tokens=tokens))
        return script

    return register


# What several scripts do.


def project_named(agent: Agent, name: str = "Web Shop") -> int:
    [found] = [each["id"] for each in agent("get_projects")["items"] if each["name"] == name]
    return int(found)


def cycle_named(agent: Agent, project: int, name: str) -> int:
    [found] = [each["id"] for each in agent("get_cycles", project=project)["items"] if each["name"] == name]
    return int(found)


def jira(agent: Agent, project: int) -> int:
    sources = agent("get_external_sources", project=project)["items"]
    [found] = [each["id"] for each in sources if each["system"] == "JIRA"]
    return int(found)


def user_named(agent: Agent, project: int, name: str) -> int:
    [found] = [each["id"] for each in agent("get_users", project=project)["items"] if each["name"] == name]
    return int(found)


# What is right, by SQL of its own.

IN_CYCLE = """
WITH RECURSIVE below AS (
    SELECT id FROM cycles WHERE name = $1
    UNION ALL
    SELECT c.id FROM cycles c JOIN below b ON c.parent_id = b.id
)
"""


async def column(sql: Sql, query: str, *arguments: Any) -> list[Any]:
    return [row[0] for row in await sql.rows(query, *arguments)]


async def numbers_in(sql: Sql, cycle: str, statuses: list[str], *, of_runs: str = "") -> set[str]:
    """Return the numbers of the cases with one of these statuses in the cycle's runs."""
    return set(
        await column(
            sql,
            f"{IN_CYCLE} SELECT 'C-' || c.number FROM run_cases rc JOIN runs r ON r.id = rc.run_id "
            "JOIN cases c ON c.id = rc.case_id JOIN statuses s ON s.id = rc.status_id "
            f"WHERE r.cycle_id IN (SELECT id FROM below) AND s.name = ANY ($2) {of_runs}",
            cycle,
            statuses,
        )
    )


async def run_titled(sql: Sql, title: str) -> Any:
    [row] = await sql.rows(
        "SELECT r.id, y.name AS cycle, r.closed_at IS NOT NULL AS closed, "
        "array(SELECT 'C-' || c.number FROM run_cases rc JOIN cases c ON c.id = rc.case_id WHERE rc.run_id = r.id) "
        "AS numbers, "
        "array(SELECT DISTINCT u.email::text FROM run_cases rc JOIN users u ON u.id = rc.assignee_id "
        "WHERE rc.run_id = r.id) AS assignees "
        "FROM runs r LEFT JOIN cycles y ON y.id = r.cycle_id WHERE r.title = $1",
        title,
    )
    return row


# The tasks.


async def _regression_is_planned(answer: Answer, sql: Sql) -> None:
    wanted = await numbers_in(sql, "Sprint 46", ["Failed", "Blocked", "Retest"])
    run = await run_titled(sql, "Sprint 47 retest")
    assert answer["runId"] == run["id"]
    assert set(run["numbers"]) == wanted
    assert (run["cycle"], run["assignees"]) == ("Sprint 47", ["marcus.hale@example.com"])


@task(
    """Plan the retest of the Web Shop: start a run called "Sprint 47 retest" in the cycle Sprint 47, with exactly the
    cases that failed, were blocked or are to be retested in the runs of Sprint 46. All of them go to Marcus Hale.""",
    '{"runId": 0, "cases": ["C-1"]}',
    calls=7,
    tokens=2_500,
    check=_regression_is_planned,
)
def plan_regression_from_last_sprints_failures(agent: Agent) -> Answer:
    project = project_named(agent)
    cycles = {each["name"]: each["id"] for each in agent("get_cycles", project=project)["items"]}
    numbers: list[str] = []
    for run in agent("list_test_runs", project=project, cycleId=cycles["Sprint 46"])["items"]:
        statuses = ["Failed", "Blocked", "Retest"]
        numbers += [
            each["number"] for each in agent.all("get_test_run", project=project, runId=run["id"], statusIds=statuses)
        ]
    made = agent(
        "start_test_run",
        project=project,
        title="Sprint 47 retest",
        cycleId=cycles["Sprint 47"],
        caseIds=sorted(set(numbers)),
        assigneeId=user_named(agent, project, "Marcus Hale"),
    )
    return {"runId": made["id"], "cases": sorted(set(numbers))}


async def _payment_issues_are_right(answer: Answer, sql: Sql) -> None:
    issues = await column(
        sql,
        "WITH RECURSIVE below AS (SELECT id FROM folders WHERE name = 'Payments' AND project_id = "
        "(SELECT id FROM projects WHERE name = 'Web Shop') UNION ALL "
        "SELECT f.id FROM folders f JOIN below b ON f.parent_id = b.id) "
        "SELECT DISTINCT i.key::text FROM links k JOIN issues i ON i.id = k.issue_id "
        "JOIN relations n ON n.id = k.relation_id JOIN cases c ON c.id = k.case_id "
        "WHERE n.semantic = 'GENERAL' AND c.folder_id IN (SELECT id FROM below) AND NOT coalesce((SELECT s.success "
        "FROM results e JOIN statuses s ON s.id = e.status_id WHERE e.case_id = c.id "
        "ORDER BY e.id DESC LIMIT 1), false)",
    )
    assert sorted(answer["issues"]) == sorted(issues) != []


@task(
    """Which issues are covered by the Web Shop's cases in Checkout / Payments, but by no means all of whose cases
    there passed last time?""",
    '{"issues": ["SHOP-1"]}',
    calls=3,
    tokens=1_300,
    check=_payment_issues_are_right,
)
def find_payment_issues_without_a_passing_case(agent: Agent) -> Answer:
    project = project_named(agent)
    [folder] = [
        each["id"] for each in agent("get_folders", project=project)["items"] if each["path"] == "Checkout / Payments"
    ]
    gaps = agent.all("get_coverage_gaps", project=project, kind="ISSUES_NOT_PASSING", folderId=folder)
    return {"issues": [each["issueKey"] for each in gaps]}


async def _readiness_is_right(answer: Answer, sql: Sql) -> None:
    assert set(answer["untested"]) == await numbers_in(sql, "Release 4.9", ["Untested"])
    without = await column(
        sql,
        f"{IN_CYCLE} SELECT DISTINCT 'C-' || c.number FROM run_cases rc JOIN runs r ON r.id = rc.run_id "
        "JOIN cases c ON c.id = rc.case_id JOIN statuses s ON s.id = rc.status_id "
        "WHERE r.cycle_id IN (SELECT id FROM below) AND r.closed_at IS NULL AND s.failure AND NOT EXISTS (SELECT FROM "
        "results e JOIN links k ON k.result_id = e.id WHERE e.run_id = r.id AND e.case_id = c.id)",
        "Release 4.9",
    )
    assert sorted(answer["failedWithoutDefect"]) == sorted(without)


@task(
    """Is the Web Shop's Release 4.9 ready to ship? Tell me which cases are untested in any of its runs (its sprints'
    included), and which failures in open runs still have no defect.""",
    '{"untested": ["C-1"], "failedWithoutDefect": ["C-2"]}',
    calls=10,
    tokens=6_200,
    check=_readiness_is_right,
)
def judge_whether_a_release_is_ready(agent: Agent) -> Answer:
    project = project_named(agent)
    cycle = cycle_named(agent, project, "Release 4.9")
    untested: set[str] = set()
    without: set[str] = set()
    for run in agent("list_test_runs", project=project, cycleId=cycle)["items"]:
        if run["counts"].get("Untested"):
            cases = agent.all("get_test_run", project=project, runId=run["id"], statusIds=["Untested"])
            untested |= {each["number"] for each in cases}
        if run["counts"].get("Failed") and not run["closed"]:
            summary = agent("get_test_run_summary", project=project, runId=run["id"])
            without |= {each["number"] for each in summary["failedWithoutDefect"]}
    return {"untested": sorted(untested), "failedWithoutDefect": sorted(without)}


async def _feature_is_written(answer: Answer, sql: Sql) -> None:
    rows = await sql.rows(
        "SELECT 'C-' || c.number AS number, (SELECT count(*) FROM case_steps s WHERE s.case_id = c.id) AS steps, "
        "(SELECT v.value #>> '{}' FROM case_field_values v JOIN fields f ON f.id = v.field_id "
        "WHERE v.case_id = c.id AND f.system_name = 'priority') AS priority, "
        "array(SELECT g.name::text FROM case_tags ct JOIN tags g ON g.id = ct.tag_id WHERE ct.case_id = c.id) AS tags, "
        "array(SELECT i.key::text FROM links k JOIN issues i ON i.id = k.issue_id WHERE k.case_id = c.id) AS issues "
        "FROM cases c JOIN folders f ON f.id = c.folder_id JOIN folders p ON p.id = f.parent_id "
        "WHERE f.name = 'Subscriptions' AND p.name = 'Checkout'"
    )
    assert sorted(answer["cases"]) == sorted(row["number"] for row in rows)
    assert len(rows) >= 3
    for row in rows:
        assert row["steps"] >= 2
        assert (row["priority"], row["tags"], row["issues"]) == ("High", ["regression"], ["SHOP-2133"])


@task(
    """The story SHOP-2133 (Jira) brings subscriptions to the Web Shop: a customer can have a basket delivered every two
    weeks, skip one delivery, and cancel at any time. Write at least three test cases for it, each with two or more
    steps with expected results, priority High and the tag regression, in a new folder Subscriptions below Checkout, and
    link each to the story.""",
    '{"cases": ["C-1"]}',
    calls=10,
    tokens=1_900,
    check=_feature_is_written,
)
def write_the_cases_of_a_new_feature(agent: Agent) -> Answer:
    project = project_named(agent)
    agent("search_test_cases", project=project, query="subscription")
    [checkout] = [each["id"] for each in agent("get_folders", project=project)["items"] if each["path"] == "Checkout"]
    agent("get_fields", project=project)
    source = jira(agent, project)
    folder = agent("create_folder", project=project, name="Subscriptions", parentId=checkout)["id"]
    what = {
        "A basket can be ordered every two weeks": ("Choose 'every two weeks' in the basket", "The next date is shown"),
        "One delivery of a subscription can be skipped": (
            "Choose 'skip' on the next delivery",
            "The date after it shows",
        ),
        "A subscription can be cancelled at any time": ("Cancel the subscription", "No further delivery is listed"),
    }
    made = agent(
        "create_test_cases",
        project=project,
        folderId=folder,
        cases=[
            {
                "title": title,
                "tags": ["regression"],
                "fields": {
                    "priority": "High",
                    "steps": [
                        {"step": "Sign in as a customer", "expectedResult": "The account shows"},
                        {"step": step, "expectedResult": expected},
                    ],
                },
            }
            for title, (step, expected) in what.items()
        ],
    )
    numbers = [each["number"] for each in made["items"]]
    for number in numbers:
        agent("link_to_issue", project=project, caseId=number, sourceId=source, issueKey="SHOP-2133")
    return {"cases": numbers}


REPORT = """
C-2 passed in 3 min, C-3 passed in 9 min, C-11 failed (the frame of the bank stays white, SHOP-2160),
C-12 passed in 4 min, C-23 was blocked (no saved card in the test data), C-24 passed in 10 min
"""


async def _report_is_recorded(answer: Answer, sql: Sql) -> None:
    rows = await sql.rows(
        "SELECT 'C-' || c.number AS number, s.name AS status, e.elapsed_seconds, e.comment, "
        "(SELECT i.key FROM links k JOIN issues i ON i.id = k.issue_id WHERE k.result_id = e.id) AS defect "
        "FROM results e JOIN runs r ON r.id = e.run_id JOIN cases c ON c.id = e.case_id "
        "JOIN statuses s ON s.id = e.status_id WHERE r.title = '4.9 release candidate, Edge'"
    )
    found = {row["number"]: row for row in rows}
    assert len(rows) == 6
    assert {number: row["status"] for number, row in found.items()} == {
        "C-2": "Passed", "C-3": "Passed", "C-11": "Failed", "C-12": "Passed", "C-23": "Blocked", "C-24": "Passed",
    }  # fmt: skip
    assert found["C-3"]["elapsed_seconds"] == 540
    assert found["C-11"]["defect"] == "SHOP-2160"
    assert "white" in found["C-11"]["comment"]
    assert answer["untested"] == 14


@task(
    f"""Record this in the Web Shop's run "4.9 release candidate, Edge": {REPORT}. SHOP-2160 is the defect in Jira. How
    many of the run's cases are untested then?""",
    '{"untested": 0}',
    calls=4,
    tokens=1_100,
    check=_report_is_recorded,
)
def record_a_testers_report(agent: Agent) -> Answer:
    project = project_named(agent)
    runs = agent("list_test_runs", project=project, closed=False)["items"]
    [run] = [each["id"] for each in runs if each["title"] == "4.9 release candidate, Edge"]
    source = jira(agent, project)
    recorded = agent(
        "record_test_results",
        project=project,
        runId=run,
        results=[
            {"caseId": "C-2", "statusId": "Passed", "elapsedSeconds": 180},
            {"caseId": "C-3", "statusId": "Passed", "elapsedSeconds": 540},
            {
                "caseId": "C-11",
                "statusId": "Failed",
                "comment": "The frame of the bank stays white",
                "issueKey": "SHOP-2160",
                "sourceId": source,
            },
            {"caseId": "C-12", "statusId": "Passed", "elapsedSeconds": 240},
            {"caseId": "C-23", "statusId": "Blocked", "comment": "No saved card in the test data"},
            {"caseId": "C-24", "statusId": "Passed", "elapsedSeconds": 600},
        ],
    )
    return {"untested": recorded["run"]["counts"]["Untested"]}


async def _audit_is_closed(answer: Answer, sql: Sql) -> None:
    assert answer == {"closed": True}
    assert (await run_titled(sql, "4.9 accessibility audit"))["closed"]
    defects = await column(
        sql,
        "SELECT i.key::text FROM links k JOIN results e ON e.id = k.result_id JOIN runs r ON r.id = e.run_id "
        "JOIN issues i ON i.id = k.issue_id WHERE r.title = '4.9 accessibility audit' ORDER BY i.key",
    )
    assert defects == ["SHOP-2161", "WEB-88"]


@task(
    """Close the Web Shop's run "4.9 accessibility audit". Each failure has to have its defect first: for the one that
    has none I have just filed SHOP-2161 in Jira. Don't force anything.""",
    '{"closed": true}',
    calls=6,
    tokens=1_500,
    check=_audit_is_closed,
)
def close_a_run_with_its_defects(agent: Agent) -> Answer:
    project = project_named(agent)
    runs = agent("list_test_runs", project=project, closed=False)["items"]
    [run] = [each["id"] for each in runs if each["title"] == "4.9 accessibility audit"]
    summary = agent("get_test_run_summary", project=project, runId=run)
    source = jira(agent, project)
    for failed in summary["failedWithoutDefect"]:
        agent(
            "link_to_issue",
            project=project,
            caseId=failed["caseId"],
            runId=run,
            sourceId=source,
            issueKey="SHOP-2161",
        )
    return {"closed": agent("close_test_run", project=project, runId=run)["closed"]}


async def _results_over_time_are_right(answer: Answer, sql: Sql) -> None:
    rows = await sql.rows(
        "SELECT r.title::text AS run, s.name::text AS status FROM results e JOIN runs r ON r.id = e.run_id "
        "JOIN statuses s ON s.id = e.status_id JOIN cases c ON c.id = e.case_id "
        "JOIN projects p ON p.id = c.project_id WHERE p.name = 'Web Shop' AND c.number = 24 ORDER BY e.id"
    )
    assert [(each["run"], each["status"]) for each in answer["results"]] == [tuple(row) for row in rows]
    assert len(rows) > 3


@task(
    """How did the Web Shop's case "Choosing Place order twice charges once" do over time? List every result it ever
    got, the oldest first.""",
    '{"results": [{"run": "Nightly 1", "status": "Passed"}]}',
    calls=3,
    tokens=1_200,
    check=_results_over_time_are_right,
)
def tell_how_a_case_did_over_time(agent: Agent) -> Answer:
    project = project_named(agent)
    [case] = agent("search_test_cases", project=project, query="Place order twice")["items"]
    results = agent("get_test_case", project=project, caseId=case["id"], results=True)["results"]
    return {"results": [{"run": each["run"], "status": each["status"]} for each in reversed(results)]}


async def _existing_case_is_found(answer: Answer, sql: Sql) -> None:
    assert answer == {"existing": "C-6"}
    assert await sql.value("SELECT count(*) FROM cases c JOIN projects p ON p.id = c.project_id "
                           "WHERE p.name = 'Web Shop' AND c.number > 58") == 0  # fmt: skip


@task(
    """I want a Web Shop test case that a link for resetting a forgotten password works only once. Write it, unless
    there is such a case already; then tell me its number.""",
    '{"existing": "C-1"}',
    calls=3,
    tokens=900,
    check=_existing_case_is_found,
)
def find_the_case_before_writing_it_again(agent: Agent) -> Answer:
    project = project_named(agent)
    [found] = agent("search_test_cases", project=project, query="password reset")["items"]
    case = agent("get_test_case", project=project, caseId=found["id"])
    return {"existing": case["number"]}


async def _folder_is_tagged(answer: Answer, sql: Sql) -> None:
    rows = await sql.rows(
        "SELECT 'C-' || c.number AS number, EXISTS (SELECT FROM case_tags ct JOIN tags g ON g.id = ct.tag_id "
        "WHERE ct.case_id = c.id AND g.name = 'smoke') AS tagged, f.name IN ('Cards', 'Wallets and Invoice') AS wanted "
        "FROM cases c JOIN folders f ON f.id = c.folder_id JOIN projects p ON p.id = c.project_id "
        "WHERE p.name = 'Web Shop'"
    )
    assert all(row["tagged"] for row in rows if row["wanted"])
    smoke = {"C-1", "C-2", "C-3", "C-4", "C-6", "C-10", "C-11", "C-17", "C-39"}
    assert {row["number"] for row in rows if row["tagged"] and not row["wanted"]} == smoke - {"C-11"}
    assert answer == {"changed": 6}


@task(
    """Put the tag smoke on every Web Shop case below Checkout / Payments; no other tag and no other case may change.
    How many cases did change?""",
    '{"changed": 0}',
    calls=4,
    tokens=2_200,
    check=_folder_is_tagged,
)
def tag_all_cases_of_a_folder(agent: Agent) -> Answer:
    project = project_named(agent)
    [folder] = [
        each["id"] for each in agent("get_folders", project=project)["items"] if each["path"] == "Checkout / Payments"
    ]
    cases = agent.all("list_test_cases", project=project, folderId=folder)
    done = agent(
        "update_test_cases",
        project=project,
        caseIds=[each["id"] for each in cases],
        addTags=["smoke"],
        maxAffected=len(cases),
    )
    return {"changed": done["changed"]}


async def _case_is_deprecated(answer: Answer, sql: Sql) -> None:
    [row] = await sql.rows(
        "SELECT 'C-' || c.number AS number, l.name AS state, (SELECT m.body FROM comments m WHERE m.case_id = c.id "
        "ORDER BY m.id DESC LIMIT 1) AS comment FROM cases c JOIN lifecycle_states l ON l.id = c.lifecycle_state_id "
        "WHERE c.title LIKE 'A return label can be printed%'"
    )
    assert (row["number"], row["state"]) == (answer["case"], "Deprecated")
    assert "SHOP-2170" in row["comment"]


@task(
    """With SHOP-2170 the Web Shop's return labels come by mail only. Deprecate the case that says they can be printed,
    and leave a comment on it that names the issue.""",
    '{"case": "C-1"}',
    calls=5,
    tokens=1_100,
    check=_case_is_deprecated,
)
def deprecate_a_case_and_say_why(agent: Agent) -> Answer:
    project = project_named(agent)
    [case] = agent("search_test_cases", project=project, query="return label")["items"]
    states = agent("get_lifecycles", project=project, context="REPOSITORY")["items"]
    [deprecated] = [each["id"] for each in states if each["name"] == "Deprecated"]
    agent("update_test_case", project=project, caseId=case["id"], lifecycleStateId=deprecated)
    agent("add_comment", project=project, caseId=case["id"], body="Labels come by mail only since SHOP-2170.")
    return {"case": case["number"]}


async def _trace_is_right(answer: Answer, _sql: Sql) -> None:
    assert answer == {"verdict": "FAILING", "cases": ["C-52"], "defects": ["SHOP-2149"]}


@task(
    """What do the Web Shop's tests say of the story SHOP-2102: do they pass, which cases cover it, and which defects
    were raised on their latest failures?""",
    '{"verdict": "PASSING", "cases": ["C-1"], "defects": ["SHOP-1"]}',
    calls=3,
    tokens=1_100,
    check=_trace_is_right,
)
def say_what_the_tests_tell_of_a_story(agent: Agent) -> Answer:
    project = project_named(agent)
    trace = agent("get_reverse_traceability", project=project, issueKey="SHOP-2102")
    defects: list[str] = []
    for case in trace["cases"]:
        latest = case["latestResult"]
        if latest["status"] == "Failed":
            [in_run] = agent("get_test_run", project=project, runId=latest["runId"], caseId=case["caseId"])["items"]
            defects += in_run["defects"]
    return {"verdict": trace["verdict"], "cases": [each["number"] for each in trace["cases"]], "defects": defects}


async def _sprint_is_closed(answer: Answer, sql: Sql) -> None:
    [sprint] = await sql.rows("SELECT state FROM cycles WHERE name = 'Sprint 46'")
    assert sprint["state"] == "COMPLETED"
    open_runs = f"{IN_CYCLE} SELECT r.id FROM runs r WHERE r.cycle_id IN (SELECT id FROM below) AND r.closed_at IS NULL"
    assert await column(sql, open_runs, "Sprint 46") == []
    carried = await run_titled(sql, "Left from Sprint 46")
    assert carried["cycle"] == "Sprint 47"
    assert set(carried["numbers"]) == await numbers_in(sql, "Sprint 46", ["Untested", "Retest"])
    assert answer["carried"] == len(carried["numbers"])


@task(
    """Finish the Web Shop's Sprint 46. What is untested or to be retested in its runs goes into a new run "Left from
    Sprint 46" in Sprint 47; then close its runs, even where defects are missing, and complete the sprint. How many
    cases were carried over?""",
    '{"carried": 0}',
    calls=9,
    tokens=3_700,
    check=_sprint_is_closed,
)
def finish_a_sprint_and_carry_over_what_is_left(agent: Agent) -> Answer:
    project = project_named(agent)
    cycles = {each["name"]: each["id"] for each in agent("get_cycles", project=project)["items"]}
    runs = agent("list_test_runs", project=project, cycleId=cycles["Sprint 46"], closed=False)["items"]
    left: set[str] = set()
    for run in runs:
        cases = agent.all("get_test_run", project=project, runId=run["id"], statusIds=["Untested", "Retest"])
        left |= {each["number"] for each in cases}
    agent(
        "start_test_run",
        project=project,
        title="Left from Sprint 46",
        cycleId=cycles["Sprint 47"],
        caseIds=sorted(left),
    )
    for run in runs:
        agent("close_test_run", project=project, runId=run["id"], force=True)
    agent("update_cycle", project=project, cycleId=cycles["Sprint 46"], state="COMPLETED")
    return {"carried": len(left)}


async def _work_is_handed_over(answer: Answer, sql: Sql) -> None:
    left = await sql.value(
        "SELECT count(*) FROM run_cases rc JOIN runs r ON r.id = rc.run_id JOIN users u ON u.id = rc.assignee_id "
        "JOIN statuses s ON s.id = rc.status_id JOIN projects p ON p.id = r.project_id WHERE p.name = 'Web Shop' "
        "AND r.closed_at IS NULL AND u.name = 'Ingrid Moen' AND s.is_initial"
    )
    assert left == 0
    handed = await sql.value(
        "SELECT count(*) FROM audit_log a WHERE a.tool = 'update_test_run' AND a.created_at > now() - interval '1 hour'"
    )
    assert (answer["handedOver"] > 0) == (handed > 0) is True


@task(
    """Ingrid Moen is ill. Give every case that is untested and assigned to her in the Web Shop's open runs to Marcus
    Hale; what she has executed stays hers. How many cases was that?""",
    '{"handedOver": 0}',
    calls=10,
    tokens=2_800,
    check=_work_is_handed_over,
)
def hand_over_a_testers_work(agent: Agent) -> Answer:
    project = project_named(agent)
    users = {each["name"]: each["id"] for each in agent("get_users", project=project)["items"]}
    count: Counter[int] = Counter()
    for run in agent("list_test_runs", project=project, closed=False)["items"]:
        mine = agent.all(
            "get_test_run",
            project=project,
            runId=run["id"],
            assigneeId=users["Ingrid Moen"],
            statusIds=["Untested"],
        )
        if mine:
            agent(
                "update_test_run",
                project=project,
                runId=run["id"],
                assigneeId=users["Marcus Hale"],
                assignCaseIds=[each["caseId"] for each in mine],
            )
            count[run["id"]] = len(mine)
    return {"handedOver": count.total()}


async def _one_step_is_changed(answer: Answer, sql: Sql) -> None:
    steps = "SELECT s.position, s.step, s.expected_result, s.notes FROM {} JOIN cases c ON c.id = s.case_id WHERE {}"
    now = await sql.rows(steps.format("case_steps s", "c.number = 5 AND c.title LIKE 'Five wrong%'") + " ORDER BY 1")
    [(before,)] = await sql.rows(
        "SELECT v.snapshot FROM case_versions v JOIN cases c ON c.id = v.case_id "
        "WHERE c.title LIKE 'Five wrong%' AND v.version = c.version - 1"
    )
    [was] = [value for value in before["fields"].values() if isinstance(value, list)]
    changed = [
        row["position"]
        for row, old in zip(now, was, strict=True)
        if (row["step"], row["expected_result"]) != (old.get("step", ""), old.get("expectedResult", ""))
    ]
    assert changed == [len(now)]
    assert "thirty minutes" in now[-1]["expected_result"]
    title = await sql.value("SELECT title FROM cases WHERE title LIKE 'Five wrong%'")
    assert "fifteen minutes" in title
    assert answer["version"] == await sql.value("SELECT version FROM cases WHERE title LIKE 'Five wrong%'")


@task(
    """In the Web Shop's case C-5 only the last step's expected result is to change: it becomes "The account is open
    again after thirty minutes". Make sure that you overwrite nobody's work. Which version is the case then?""",
    '{"version": 0}',
    calls=3,
    tokens=1_900,
    check=_one_step_is_changed,
)
def correct_one_step(agent: Agent) -> Answer:
    project = project_named(agent)
    case = agent("get_test_case", project=project, caseId="C-5")
    steps = case["fields"]["steps"]
    steps[-1]["expectedResult"] = "The account is open again after thirty minutes"
    done = agent(
        "update_test_case",
        project=project,
        caseId="C-5",
        fields={"steps": steps},
        expectedVersion=case["version"],
    )
    return {"version": done["version"]}


async def _never_run_cases_are_right(answer: Answer, sql: Sql) -> None:
    rows = await column(
        sql,
        "SELECT 'C-' || c.number FROM cases c JOIN projects p ON p.id = c.project_id WHERE p.name = 'Mobile Banking' "
        "AND NOT EXISTS (SELECT FROM results e WHERE e.case_id = c.id)",
    )
    assert sorted(answer["cases"]) == sorted(rows) != []


@task(
    "Which cases of the project Mobile Banking have never been executed?",
    '{"cases": ["C-1"]}',
    calls=2,
    tokens=800,
    check=_never_run_cases_are_right,
)
def find_what_was_never_executed(agent: Agent) -> Answer:
    project = project_named(agent, "Mobile Banking")
    return {
        "cases": [each["number"] for each in agent.all("get_coverage_gaps", project=project, kind="CASES_NEVER_RUN")]
    }


async def _comparison_is_right(answer: Answer, sql: Sql) -> None:
    rates = {
        row["title"]: float(row["rate"])
        for row in await sql.rows(
            "SELECT r.title::text, "
            "round((count(*) FILTER (WHERE s.success))::numeric / count(*) FILTER (WHERE s.completed), 4) "
            "AS rate FROM runs r JOIN run_cases rc ON rc.run_id = r.id JOIN statuses s ON s.id = rc.status_id "
            "WHERE r.title IN ('4.8 regression, Chrome', 'Sprint 46 regression, Chrome') GROUP BY r.title"
        )
    }
    assert abs(answer["before"] - rates["4.8 regression, Chrome"]) < 0.001
    assert abs(answer["now"] - rates["Sprint 46 regression, Chrome"]) < 0.001


@task(
    """Compare the pass rate of the Web Shop's current Chrome regression, of Sprint 46, with that of release 4.8, as
    numbers from 0 to 1.""",
    '{"before": 0.0, "now": 0.0}',
    calls=2,
    tokens=1_200,
    check=_comparison_is_right,
)
def compare_two_regressions(agent: Agent) -> Answer:
    project = project_named(agent)
    rate = {each["title"]: each.get("passRate") for each in agent("list_test_runs", project=project)["items"]}
    return {"before": rate["4.8 regression, Chrome"], "now": rate["Sprint 46 regression, Chrome"]}
