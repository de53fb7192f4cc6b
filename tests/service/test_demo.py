"""The demo workspace is what its files say, and keeps the rules that the tools keep."""

from __future__ import annotations

import datetime as dt
from functools import partial

import asyncpg
import pytest

from service.demo.load import DEMO_NAME, demo_owner_email, populate_demo
from service.demo.loading import read_content
from service.domain import case_writing, cases
from service.sql import load
from tenancy.errors import TenancyError
from tenancy.provision import create_workspace

TODAY = dt.date(2026, 3, 2)
WORKSPACE = read_content("workspace.yaml")
PROJECTS = [read_content(file_name) for file_name in WORKSPACE["projects"]]

CASES = [case for project in PROJECTS for case in project["cases"]]
RUNS = [run for project in PROJECTS for run in project["runs"]]
RESULTS = [result for run in RUNS for result in run.get("results", [])]
FAILURES = {"Failed", "Blocked"}

# Queries that find nothing.
OUT_OF_ORDER = {
    "result before its run": """
        SELECT e.id FROM results e JOIN runs r ON r.id = e.run_id WHERE e.created_at <= r.created_at
        """,
    "result after its run was closed": """
        SELECT e.id FROM results e JOIN runs r ON r.id = e.run_id WHERE e.created_at >= r.closed_at
        """,
    "result with a smaller id than an earlier one": """
        SELECT e.id FROM results e
        JOIN results later ON later.case_id = e.case_id AND later.created_at > e.created_at AND later.id < e.id
        """,
    "comment before its case": """
        SELECT m.id FROM comments m JOIN cases c ON c.id = m.case_id WHERE m.created_at <= c.created_at
        """,
    "link before its case": """
        SELECT k.id FROM links k JOIN cases c ON c.id = k.case_id WHERE k.created_at <= c.created_at
        """,
    "link before its result": """
        SELECT k.id FROM links k JOIN results e ON e.id = k.result_id WHERE k.created_at <= e.created_at
        """,
    "link before its issue": """
        SELECT k.id FROM links k JOIN issues i ON i.id = k.issue_id WHERE k.created_at < i.created_at
        """,
    "case before its folder": """
        SELECT c.id FROM cases c JOIN folders f ON f.id = c.folder_id WHERE c.created_at <= f.created_at
        """,
    "cycle before the one that it is in": """
        SELECT c.id FROM cycles c JOIN cycles p ON p.id = c.parent_id WHERE c.created_at <= p.created_at
        """,
    "audit log out of order": """
        SELECT a.id FROM audit_log a JOIN audit_log b ON b.project_id = a.project_id AND b.id > a.id
        WHERE b.created_at < a.created_at
        """,
}
AGAINST_THE_RULES = {
    "issue key that its source does not accept": """
        SELECT i.key FROM issues i JOIN sources s ON s.id = i.source_id
        WHERE i.key !~ ('^(?:' || s.key_pattern || ')$')
        """,
    "address of an issue not filled in": """
        SELECT i.url FROM issues i WHERE i.url !~ '^https://[a-z./]+/[A-Z]+-[0-9]+$'
        """,
    "outcome of a step that the executed version does not have": """
        SELECT p.result_id FROM result_steps p
        JOIN results e ON e.id = p.result_id
        JOIN case_versions v ON v.case_id = e.case_id AND v.version = e.case_version
        WHERE p.position > jsonb_array_length(v.snapshot #> '{fields,steps}')
        """,
    "result of another version than the run has": """
        SELECT e.id FROM results e JOIN run_cases rc USING (run_id, case_id) WHERE rc.case_version <> e.case_version
        """,
    "closed run that nobody closed, or the reverse": """
        SELECT r.id FROM runs r JOIN lifecycle_states l ON l.id = r.lifecycle_state_id
        WHERE (l.automation IS NOT DISTINCT FROM 'RUN_CLOSED') <> (r.closed_by IS NOT NULL)
        """,
    "run with results in its first state, or the reverse": """
        SELECT r.id FROM runs r JOIN lifecycle_states l ON l.id = r.lifecycle_state_id
        WHERE l.is_default = EXISTS (SELECT FROM results e WHERE e.run_id = r.id)
        """,
    "case by somebody who may not create one": """
        SELECT c.id FROM cases c WHERE NOT EXISTS (
            SELECT FROM project_access(c.created_by) a
            WHERE a.project_id = c.project_id AND 'CREATE_TEST_CASES' = ANY (a.permissions))
        """,
    "result by somebody who may not execute": """
        SELECT e.id FROM results e JOIN runs r ON r.id = e.run_id WHERE NOT EXISTS (
            SELECT FROM project_access(e.created_by) a
            WHERE a.project_id = r.project_id AND 'EXECUTE_TESTS' = ANY (a.permissions))
        """,
    "assignee who may not execute": """
        SELECT rc.case_id FROM run_cases rc WHERE rc.assignee_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM project_access(rc.assignee_id) a
            WHERE a.project_id = rc.project_id AND 'EXECUTE_TESTS' = ANY (a.permissions))
        """,
}
# Queries that find something in each project.
GAPS = {
    "case without issue": """
        SELECT c.id FROM cases c
        WHERE c.project_id = $1 AND NOT EXISTS (SELECT FROM links k WHERE k.case_id = c.id)
        """,
    "issue without case": """
        SELECT i.id FROM issues i
        WHERE i.project_id = $1 AND NOT EXISTS (SELECT FROM links k WHERE k.issue_id = i.id)
        """,
    "covered but not passing": """
        SELECT k.issue_id FROM links k JOIN relations n ON n.id = k.relation_id AND n.semantic = 'GENERAL'
        WHERE k.project_id = $1 AND NOT (
            SELECT s.success FROM results e JOIN statuses s ON s.id = e.status_id
            WHERE e.case_id = k.case_id ORDER BY e.id DESC LIMIT 1)
        """,
    "never run": """
        SELECT c.id FROM cases c JOIN lifecycle_states l ON l.id = c.lifecycle_state_id
        WHERE c.project_id = $1 AND l.include_in_runs AND NOT EXISTS (SELECT FROM results e WHERE e.case_id = c.id)
        """,
    "failed without defect": """
        SELECT e.id FROM results e JOIN runs r ON r.id = e.run_id JOIN statuses s ON s.id = e.status_id
        WHERE r.project_id = $1 AND s.failure AND NOT EXISTS (SELECT FROM links k WHERE k.result_id = e.id)
        """,
}


@pytest.fixture
async def demo(admin):
    """A connection to the demo workspace as it is loaded on TODAY."""
    workspace = await create_workspace(
        admin, slug="demo", name=DEMO_NAME, reserved=True, populate=partial(populate_demo, today=TODAY)
    )
    await admin.execute(f"SET search_path = {workspace.schema_name}")
    return admin


async def column(connection, query, *arguments):
    return [row[0] for row in await connection.fetch(query, *arguments)]


def all_of(key, parts):
    return [item for part in parts for item in part.get(key, [])]


def tree_size(nodes):
    return sum(1 + tree_size(node.get("children", [])) for node in nodes)


def versions(case):
    """The content of each version of *case*."""
    found = [case]
    for edit in case.get("edits", []):
        found.append(found[-1] | edit)
    return found


def case_title(project, key):
    return next(versions(case)[-1]["title"] for case in project["cases"] if case["key"] == key)


async def test_the_name_and_the_owner_are_those_of_the_file(demo):
    assert WORKSPACE["name"] == DEMO_NAME
    level = await demo.fetchval("SELECT access_level FROM users WHERE email = $1", demo_owner_email())
    assert level == "TENANT_ADMIN"


async def test_everything_in_the_files_is_loaded(demo):
    tables = {
        "users": len(WORKSPACE["users"]),
        "groups": len(WORKSPACE["groups"]),
        "group_members": len(all_of("members", WORKSPACE["groups"])),
        "platform_groups": len(WORKSPACE["platform_groups"]),
        "platforms": len(all_of("platforms", WORKSPACE["platform_groups"])),
        "environments": len(WORKSPACE["environments"]),
        "environment_platforms": len(all_of("platforms", WORKSPACE["environments"])),
        "tags": sum(len(tags) for tags in WORKSPACE["tags"].values()),
        "sources": len(WORKSPACE["sources"]),
        "projects": len(PROJECTS),
        "project_members": len(all_of("members", PROJECTS)),
        "project_groups": len(all_of("groups", PROJECTS)),
        "folders": sum(tree_size(project["folders"]) for project in PROJECTS),
        "cases": len(CASES),
        "case_versions": len(CASES) + len(all_of("edits", CASES)),
        "case_steps": sum(len(versions(case)[-1].get("steps", [])) for case in CASES),
        "case_tags": len(all_of("tags", CASES)),
        "case_environments": len(all_of("environments", CASES)),
        "comments": len(all_of("comments", CASES)),
        "cycles": sum(tree_size(project["cycles"]) for project in PROJECTS),
        "runs": len(RUNS),
        "run_tags": len(all_of("tags", RUNS)),
        "results": len(RESULTS),
        "result_steps": len(all_of("step_results", RESULTS)),
        "issues": len(all_of("issues", PROJECTS)),
        "links": len(all_of("links", PROJECTS)) + len(all_of("defects", PROJECTS)),
        "audit_log": len(CASES) + len(RUNS),
    }
    assert tables == {table: await demo.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_who_sees_which_project(demo):
    rows = await demo.fetch(
        """
        SELECT u.name AS person, p.name AS project, a.role
        FROM users u CROSS JOIN project_access(u.id) a JOIN projects p ON p.id = a.project_id
        WHERE a.allowed
        """
    )
    roles = {(row["person"], row["project"]): row["role"] for row in rows}
    assert roles == {
        ("Dana Reyes", "Web Shop"): "Lead",
        ("Tomasz Wójcik", "Web Shop"): "Lead",
        ("Priya Raman", "Web Shop"): "Tester",
        ("Marcus Hale", "Web Shop"): "Tester",
        ("Ingrid Moen", "Web Shop"): "Tester",
        ("Hannah Weiss", "Web Shop"): "Tester",
        ("Dana Reyes", "Mobile Banking"): "Lead",
        ("Tomasz Wójcik", "Mobile Banking"): "Lead",
        ("Priya Raman", "Mobile Banking"): "Tester",
        ("Marcus Hale", "Mobile Banking"): "Viewer",
    }


async def test_cases_are_numbered_by_age_without_gaps(demo):
    for project in PROJECTS:
        project_id, last = await demo.fetchrow(
            "SELECT id, last_case_number FROM projects WHERE name = $1", project["name"]
        )
        rows = await demo.fetch(
            "SELECT number, title, created_at FROM cases WHERE project_id = $1 ORDER BY number", project_id
        )
        by_age = sorted(project["cases"], key=lambda case: -case["created"])
        assert last == len(project["cases"])
        assert [row["number"] for row in rows] == list(range(1, last + 1))
        assert [row["title"] for row in rows] == [versions(case)[-1]["title"] for case in by_age]
        assert [row["created_at"] for row in rows] == sorted({row["created_at"] for row in rows})


async def test_every_history_is_gapless_and_ends_in_the_present(demo):
    assert not await demo.fetch(
        """
        SELECT c.id FROM cases c JOIN case_versions v ON v.case_id = c.id
        GROUP BY c.id
        HAVING array_agg(v.version ORDER BY v.created_at) <> ARRAY(SELECT generate_series(1, c.version))
            OR min(v.created_at) <> c.created_at OR max(v.created_at) <> c.updated_at
            OR (array_agg(v.created_by ORDER BY v.version))[1] <> c.created_by
            OR (array_agg(v.created_by ORDER BY v.version DESC))[1] <> c.updated_by
        """
    )
    query = load(cases.__file__)["case_documents"]
    for project_id in await column(demo, "SELECT id FROM projects"):
        ids = await column(demo, "SELECT id FROM cases WHERE project_id = $1", project_id)
        for row in await demo.fetch(query, project_id, ids, []):
            snapshot = await demo.fetchval(
                "SELECT snapshot FROM case_versions WHERE case_id = $1 AND version = $2", row["id"], row["version"]
            )
            assert snapshot == {key: row["document"][key] for key in case_writing.CONTENT if key in row["document"]}


async def test_every_version_is_the_case_as_it_was_then(demo):
    rows = await demo.fetch(
        "SELECT v.snapshot, v.created_at, u.email FROM case_versions v JOIN users u ON u.id = v.created_by"
    )
    found = sorted(
        (
            snapshot["title"],
            TODAY - at.date(),
            email,
            snapshot["folder"]["path"],
            snapshot["lifecycleState"]["name"],
            snapshot.get("estimateSeconds", 0),
            repr([snapshot["fields"].get(name) for name in ("priority", "preconditions")]),
            repr([sorted(step.items()) for step in snapshot["fields"].get("steps", [])]),
            repr([[held["name"] for held in snapshot[part]] for part in ("tags", "environments")]),
        )
        for snapshot, at, email in rows
    )
    expected = sorted(
        (
            version["title"],
            dt.timedelta(days=version.get("days_ago", version["created"])),
            version.get("by", version["author"]),
            version["folder"],
            version["state"],
            case_writing.read_estimate(version.get("estimate", "")),
            repr([version.get(name) for name in ("priority", "preconditions")]),
            repr([sorted(step.items()) for step in version.get("steps", [])]),
            repr([sorted(version.get(part, []), key=str.lower) for part in ("tags", "environments")]),
        )
        for case in CASES
        for version in versions(case)
    )
    assert found == expected


async def test_a_run_has_its_cases_in_the_version_of_its_day(demo):
    assert not await demo.fetch(
        """
        SELECT r.title, rc.case_id FROM run_cases rc JOIN runs r ON r.id = rc.run_id
        WHERE rc.case_version <> (
            SELECT max(v.version) FROM case_versions v WHERE v.case_id = rc.case_id AND v.created_at < r.created_at
        )
        """
    )
    for project in PROJECTS:
        for run in project["runs"]:
            ready = [case for case in project["cases"] if case["state"] == "Ready" and case["created"] > run["created"]]
            expected = set()
            for selector in run["cases"]:
                _, is_folder, path = selector.partition("folder:")
                if is_folder:
                    expected |= {case["key"] for case in ready if f"{case['folder']} / ".startswith(f"{path} / ")}
                else:
                    expected |= {case["key"] for case in ready} if selector == "all_ready" else {selector}
            assignees = {key: run.get("assignees", {}).get(key, run.get("assignee")) for key in expected}
            rows = await demo.fetch(
                """
                SELECT c.title, u.email
                FROM runs r
                JOIN run_cases rc ON rc.run_id = r.id
                JOIN cases c ON c.id = rc.case_id
                LEFT JOIN users u ON u.id = rc.assignee_id
                WHERE r.title = $1
                """,
                run["title"],
            )
            found = {row["title"]: row["email"] for row in rows}
            assert found == {case_title(project, key): email for key, email in assignees.items()}


async def test_a_case_in_a_run_has_the_status_of_its_last_result(demo):
    rows = await demo.fetch(
        """
        SELECT r.title AS run, c.title, s.name AS status, l.name AS state, latest.status_id = rc.status_id AS agrees
        FROM runs r
        JOIN lifecycle_states l ON l.id = r.lifecycle_state_id
        JOIN run_cases rc ON rc.run_id = r.id
        JOIN cases c ON c.id = rc.case_id
        JOIN statuses s ON s.id = rc.status_id
        LEFT JOIN results latest ON latest.id = rc.latest_result_id
        """
    )
    last = {
        (run["title"], case_title(project, result["case"])): result["status"]
        for project in PROJECTS
        for run in project["runs"]
        for result in run.get("results", [])
    }
    for row in rows:
        assert row["status"] == last.get((row["run"], row["title"]), "Untested")
        assert row["agrees"] is (None if row["status"] == "Untested" else True)
    assert {row["run"]: row["state"] for row in rows} == {run["title"]: run["state"] for run in RUNS}


async def test_time_runs_forwards_and_ends_yesterday(demo):
    assert not [what for what, query in OUT_OF_ORDER.items() if await demo.fetch(query)]
    for table in ("users", "projects", "folders", "cases", "comments", "cycles", "runs", "results", "issues", "links"):
        assert (await demo.fetchval(f"SELECT max(created_at) FROM {table}")).date() < TODAY, table
    active = await demo.fetch("SELECT start_date, completed_date FROM cycles WHERE state = 'ACTIVE'")
    assert all(row["start_date"] < TODAY and row["completed_date"] is None for row in active)


async def test_a_defect_is_on_the_latest_failure(demo):
    rows = await demo.fetch(
        """
        SELECT r.title AS run, c.title, i.key, s.name AS status, (
            SELECT array_agg(t.name::text ORDER BY later.id)
            FROM results later JOIN statuses t ON t.id = later.status_id
            WHERE later.run_id = e.run_id AND later.case_id = e.case_id AND later.id <> e.id
                AND (later.id > e.id OR t.name = 'Failed')
        ) AS others
        FROM links k
        JOIN relations n ON n.id = k.relation_id AND n.semantic = 'DEFECT'
        JOIN issues i ON i.id = k.issue_id
        JOIN results e ON e.id = k.result_id
        JOIN statuses s ON s.id = e.status_id
        JOIN runs r ON r.id = e.run_id
        JOIN cases c ON c.id = e.case_id
        """
    )
    expected = {
        (defect["run"], case_title(project, defect["case"]), defect["issue"])
        for project in PROJECTS
        for defect in project["defects"]
    }
    assert {(row["run"], row["title"], row["key"]) for row in rows} == expected
    for row in rows:
        worse = {"Failed"} if row["status"] == "Failed" else FAILURES
        assert row["status"] in FAILURES
        assert not worse & set(row["others"] or [])


async def test_the_content_keeps_the_rules_of_the_tools(demo):
    assert not [what for what, query in AGAINST_THE_RULES.items() if await demo.fetch(query)]


async def test_every_project_has_gaps_of_each_kind_to_find(demo):
    for project_id in await column(demo, "SELECT id FROM projects"):
        assert not [gap for gap, query in GAPS.items() if not await demo.fetch(query, project_id)]


async def traces(connection):
    """What a workspace leaves outside of its schema, and the names of schemas."""
    queries = (
        "SELECT slug FROM control.workspaces",
        "SELECT workspace_id FROM control.operations",
        "SELECT nspname FROM pg_namespace",
        "SELECT rolname FROM pg_roles",
    )
    return [sorted(await column(connection, query)) for query in queries]


async def test_a_second_demo_is_refused_and_leaves_nothing(admin):
    create = partial(create_workspace, admin, slug="demo", name=DEMO_NAME, reserved=True, populate=populate_demo)
    await create()
    before = await traces(admin)
    with pytest.raises(TenancyError, match="already"):
        await create()
    assert await traces(admin) == before


async def test_a_demo_that_fails_at_its_end_leaves_nothing(admin):
    async def fail_at_the_end(connection):
        await populate_demo(connection)
        await connection.fetch("SELECT 1 / count(*) FROM cases WHERE number < 0")

    before = await traces(admin)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await create_workspace(admin, slug="demo", name=DEMO_NAME, reserved=True, populate=fail_at_the_end)
    assert await traces(admin) == before
