"""Discovery: each list has what the project has to choose from, and nothing that it has not."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tests.tools.conftest import new_case


def names(answer):
    return [item["name"] for item in answer["items"]]


# Projects and people


@pytest.fixture(scope="module")
async def completed(sql):
    project = await sql.new_project("Completed")
    await sql.rows("UPDATE projects SET completed_at = now(), summary = 'Done.' WHERE id = $1", project)
    return project


def test_projects_are_those_that_the_caller_can_enter(person, acme, globex, completed):
    for name, client, expected in [
        ("lead", person("lead"), acme.project),
        ("viewer", person("viewer"), acme.project),
        ("globex", person("lead", globex), globex.project),
    ]:
        listed = {item["id"]: item for item in client.call("get_projects")["items"]}
        assert expected in listed, name
        assert not {acme.projects["secret"], globex.projects["secret"], completed} & set(listed)
    assert acme.project not in [item["id"] for item in person("outsider").call("get_projects")["items"]]


@pytest.mark.parametrize("included", [True, "true"])
def test_completed_projects_are_listed_when_asked_for(lead, completed, included):
    [item] = [i for i in lead.call("get_projects", includeCompleted=included)["items"] if i["id"] == completed]
    assert (item["completed"], item["summary"]) == (True, "Done.")
    assert completed not in [item["id"] for item in lead.call("get_projects", includeCompleted=False)["items"]]


def test_a_project_tells_the_callers_role_and_permissions(person, acme):
    def of(name):
        [item] = [i for i in person(name).call("get_projects")["items"] if i["id"] == acme.project]
        return item["role"], set(item["permissions"])

    role, lead = of("lead")
    assert (role, len(lead)) == ("Lead", 20)
    role, tester = of("tester")
    assert role == "Tester"
    assert lead - tester == {"DELETE_TEST_CASES", "BULK_EDIT_TEST_CASES", "DELETE_TEST_RUNS", "MANAGE_COMMENTS"}
    role, viewer = of("viewer")
    assert role == "Viewer"
    assert all(permission.startswith("VIEW_") for permission in viewer)


def test_users_are_those_who_can_enter_the_project(lead, acme):
    users = lead.call("get_users", project=acme.project)["items"]
    by_name = {user["name"]: user for user in users}
    assert "Outsider" not in by_name
    assert by_name["Tester"] == {
        "id": acme.people["tester"].id, "name": "Tester", "email": "tester@acme.example", "role": "Tester",
    }  # fmt: skip
    assert [user["name"].lower() for user in users] == sorted(user["name"].lower() for user in users)


async def test_a_deactivated_user_is_not_listed(lead, acme, sql):
    await sql.rows(
        "INSERT INTO users (email, name, role_id, active) SELECT 'gone@acme.example', 'Gone', id, false FROM roles "
        "WHERE is_default"
    )
    assert "Gone" not in names(lead.call("get_users", project=acme.project))


# Templates and fields


def test_the_default_template_comes_first_with_its_fields(lead, own_project):
    templates = lead.call("get_fields", project=own_project)["items"]
    assert (templates[0]["name"], templates[0]["default"]) == ("Test Case", True)
    assert not any(template["default"] for template in templates[1:])
    fields = {field["systemName"]: field for field in templates[0]["fields"]}
    priority = fields["priority"]
    assert (priority["type"], priority["required"], priority["default"]) == ("DROPDOWN", False, "Medium")
    assert [option["value"] for option in priority["options"]] == ["Critical", "High", "Medium", "Low"]
    assert set(fields["preconditions"]) == {"id", "systemName", "label", "type", "required"}
    assert [slot["name"] for slot in fields["steps"]["slots"]] == ["step", "expectedResult", "actualResult", "notes"]


async def test_one_template_can_be_asked_for(lead, failing, own_project, sql):
    field = await sql.new_field("discovered", "TEXT", label="Discovered")
    mine = await sql.new_template("Mine", project=own_project, fields=(field,))
    other = await sql.new_template("Not mine", project=await sql.new_project("other"))
    answer = lead.call("get_fields", project=own_project, templateId=mine)
    assert answer["total"] == 1
    assert answer["items"][0]["fields"] == [
        {"id": field, "systemName": "discovered", "label": "Discovered", "type": "TEXT", "required": False}
    ]
    assert failing("get_fields", project=own_project, templateId=other)["code"] == "NOT_FOUND_OR_DENIED"
    assert other not in [item["id"] for item in lead.call("get_fields", project=own_project)["items"]]


async def test_the_default_template_is_there_even_where_it_is_not_assigned(lead, own_project, sql):
    await sql.rows("UPDATE templates SET all_projects = false WHERE is_default")
    try:
        assert "Test Case" in names(lead.call("get_fields", project=own_project))
        assert new_case(lead, own_project)["template"]["name"] == "Test Case"
    finally:
        await sql.rows("UPDATE templates SET all_projects = true WHERE is_default")


# What administrators set up

CONFIGURED = [
    ("get_statuses", "statuses", "status_id", {"system_name": "set-up"}, {}),
    ("get_lifecycles", "lifecycle_states", "lifecycle_state_id", {"context": "REPOSITORY"}, {}),
    ("get_lifecycles", "lifecycle_states", "lifecycle_state_id", {"context": "RUNS"}, {"context": "RUNS"}),
    ("get_environments", "environments", "environment_id", {}, {}),
    ("get_external_sources", "sources", "source_id", {"system": "JIRA", "key_pattern": "[A-Z]+-[0-9]+"}, {}),
    ("get_external_sources", "relations", "relation_id", {"semantic": "DEFECT"}, {"in": "relations"}),
    ("get_cycles", "cycle_types", "cycle_type_id", {}, {"in": "types"}),
]


@pytest.mark.parametrize(("tool", "table", "column", "values", "how"), CONFIGURED, ids=[f"{c[0]} {c[1]} {c[4]}" for c in CONFIGURED])  # fmt: skip  # noqa: E501
async def test_what_is_enabled_for_the_project_is_listed(*, lead, own_project, sql, tool, table, column, values, how):
    given = {name: value for name, value in how.items() if name != "in"}
    place = how.get("in", "items")

    def listed():
        return "Set up" in [item["name"] for item in lead.call(tool, project=own_project, **given)[place]]

    columns = ["name", "all_projects", *values]
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    made = await sql.value(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) RETURNING id", "Set up", True, *values.values()
    )
    assert listed()
    await sql.rows(f"UPDATE {table} SET all_projects = false WHERE id = $1", made)
    assert not listed()
    await sql.make_available(own_project, **{column: made})
    assert listed()
    await sql.rows(f"UPDATE {table} SET enabled = false WHERE id = $1", made)
    assert not listed()
    await sql.rows(f"DELETE FROM {table} WHERE id = $1", made)


def test_statuses_say_what_they_count_as_in_order_of_display(lead, own_project):
    statuses = lead.call("get_statuses", project=own_project)["items"]
    assert [status["systemName"] for status in statuses] == [
        "untested", "passed", "failed", "blocked", "skipped", "retest",
    ]  # fmt: skip
    flags = {s["name"]: (s["success"], s["failure"], s["completed"], s["default"]) for s in statuses}
    assert flags["Untested"] == (False, False, False, True)
    assert flags["Passed"] == (True, False, True, False)
    assert flags["Failed"] == (False, True, True, False)
    assert flags["Skipped"] == (False, False, True, False)


def test_lifecycle_states_are_listed_by_context(lead, own_project):
    both = lead.call("get_lifecycles", project=own_project)["items"]
    cases = lead.call("get_lifecycles", project=own_project, context="REPOSITORY")["items"]
    runs = lead.call("get_lifecycles", project=own_project, context="RUNS")["items"]
    assert both == cases + runs
    assert [s["name"] for s in cases] == ["Draft", "Ready", "Deprecated"]
    assert [s["name"] for s in both if s["default"]] == ["Ready", "Planned"]
    assert [s["name"] for s in both if s["includeInRuns"]] == ["Ready"]


async def test_the_default_state_is_there_even_where_it_is_not_assigned(lead, own_project, sql):
    await sql.rows("UPDATE lifecycle_states SET all_projects = false WHERE is_default")
    try:
        listed = names(lead.call("get_lifecycles", project=own_project))
        assert {"Ready", "Planned"} <= set(listed)
        assert new_case(lead, own_project)["lifecycleState"]["name"] == "Ready"
    finally:
        await sql.rows("UPDATE lifecycle_states SET all_projects = true WHERE is_default")


async def test_environments_are_for_cases_or_runs_with_their_platforms(lead, own_project, sql):
    for name, cases, runs in (("Both", True, True), ("For cases", True, False), ("For runs", False, True)):
        made = await sql.value(
            "INSERT INTO environments (name, for_cases, for_runs, all_projects) "
            "VALUES ($1, $2, $3, false) RETURNING id",
            f"Discovery: {name}", cases, runs,
        )  # fmt: skip
        await sql.make_available(own_project, environment_id=made)
        if name != "Both":
            continue
        for position, (group, platform) in enumerate([("System", "Linux"), ("Browser", "Firefox")]):
            group_id = await sql.value(
                "INSERT INTO platform_groups (name, position) VALUES ($1, $2) RETURNING id", group, position
            )
            platform_id = await sql.value(
                "INSERT INTO platforms (group_id, name) VALUES ($1, $2) RETURNING id", group_id, platform
            )
            await sql.rows("INSERT INTO environment_platforms VALUES ($1, $2, $3)", made, group_id, platform_id)

    def listed(**context):
        items = lead.call("get_environments", project=own_project, **context)["items"]
        return [item["name"].removeprefix("Discovery: ") for item in items if item["name"].startswith("Discovery")]

    assert listed() == ["Both", "For cases", "For runs"]
    assert listed(context="REPOSITORY") == ["Both", "For cases"]
    assert listed(context="RUNS") == ["Both", "For runs"]
    items = {item["name"]: item for item in lead.call("get_environments", project=own_project)["items"]}
    assert items["Discovery: Both"]["platforms"] == ["Linux", "Firefox"]
    assert items["Discovery: For runs"]["platforms"] == []


async def test_tags_tell_their_usage_in_the_project(lead, own_project, sql):
    await sql.rows("INSERT INTO tags (context, name) VALUES ('RUNS', 'weekly')")
    for title in "ab":
        new_case(lead, own_project, title, tags=["smoke"])
    gone = new_case(lead, own_project, tags=["smoke"])
    await sql.rows("UPDATE cases SET deleted_at = now() WHERE id = $1", gone["id"])
    cases = {t["name"]: t for t in lead.call("get_tags", project=own_project, context="REPOSITORY")["items"]}
    assert (cases["smoke"]["usage"], cases["regression"]["usage"]) == (2, 0)
    assert "weekly" not in cases
    runs = lead.call("get_tags", project=own_project, context="RUNS")["items"]
    assert [(t["name"], t["usage"], t["context"]) for t in runs if t["name"] == "weekly"] == [("weekly", 0, "RUNS")]
    assert lead.call("get_tags", project=own_project)["total"] == len(cases) + len(runs)


async def test_sources_tell_the_form_of_their_keys_and_relations_their_meaning(lead, own_project, sql):
    await sql.rows(
        "INSERT INTO sources (name, system, key_pattern, example) VALUES ('Jira', 'JIRA', '[A-Z]+-[0-9]+', 'SHOP-12')"
    )
    answer = lead.call("get_external_sources", project=own_project)
    [jira] = [source for source in answer["items"] if source["name"] == "Jira"]
    assert (jira["system"], jira["keyPattern"], jira["example"]) == ("JIRA", "[A-Z]+-[0-9]+", "SHOP-12")
    meanings = {relation["name"]: relation["semantic"] for relation in answer["relations"]}
    assert {"Covers": "GENERAL", "Relates to": "GENERAL", "Defect": "DEFECT"}.items() <= meanings.items()


# Cycles


async def test_cycles_tell_state_dates_and_the_progress_of_all_below(lead, own_project, sql, acme):
    user = acme.people["lead"].id
    kind = await sql.value("SELECT id FROM cycle_types WHERE name = 'Sprint'")

    async def cycle(name, **columns):
        return await sql.value(
            f"INSERT INTO cycles (project_id, type_id, name{''.join(f', {c}' for c in columns)}) "
            f"VALUES ($1, $2, $3{''.join(f', ${n}' for n in range(4, 4 + len(columns)))}) RETURNING id",
            own_project, kind, name, *columns.values(),
        )  # fmt: skip

    old = dt.date(2020, 1, 1)
    parent = await cycle("Parent", state="ACTIVE", start_date=old, end_date=old)
    child = await cycle("Child", parent_id=parent, depth=2)
    await cycle("Done", state="COMPLETED", completed_date=old, end_date=old)
    cases = [new_case(lead, own_project, f"{n}")["id"] for n in range(4)]
    for place, passed in ((parent, 1), (child, 0)):
        run = await sql.value(
            "INSERT INTO runs (project_id, cycle_id, lifecycle_state_id, title, created_by) "
            "SELECT $1, $2, id, 'Run', $3 FROM lifecycle_states WHERE context = 'RUNS' AND is_default RETURNING id",
            own_project, place, user,
        )  # fmt: skip
        for number, case in enumerate(cases):
            await sql.rows(
                "INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id) "
                "SELECT $1, $2, $3, 1, id FROM statuses WHERE system_name = $4",
                run, case, own_project, "passed" if number < passed else "failed" if number == 3 else "untested",
            )  # fmt: skip
    answer = lead.call("get_cycles", project=own_project)
    cycles = {item["name"]: item for item in answer["items"]}
    assert (cycles["Parent"]["progress"], cycles["Child"]["progress"], cycles["Done"]["progress"]) == (0.375, 0.25, 0)
    assert cycles["Child"]["parentId"] == parent
    assert (cycles["Parent"]["pastDue"], cycles["Child"]["pastDue"], cycles["Done"]["pastDue"]) == (True, False, False)
    assert (cycles["Parent"]["startDate"], cycles["Done"]["completedDate"]) == ("2020-01-01", "2020-01-01")
    assert (cycles["Parent"]["type"], cycles["Parent"]["state"]) == ("Sprint", "ACTIVE")
    assert names(answer).index("Parent") < names(answer).index("Child")
    assert [kind["name"] for kind in answer["types"] if kind["default"]] == ["Sprint"]


# Floods


@pytest.fixture(scope="module")
async def flood(sql):
    """Thousands of tags, which no answer can hold."""
    await sql.rows(
        "INSERT INTO tags (context, name) "
        "SELECT 'RUNS', 'flood-' || n || repeat('x', 30) FROM generate_series(1, 2000) n"
    )
    yield
    await sql.rows("DELETE FROM tags WHERE name LIKE 'flood-%'")


@pytest.mark.usefixtures("flood")
def test_a_list_that_floods_is_cut_and_says_so(lead, own_project):
    answer = lead.call("get_tags", project=own_project)
    assert answer["total"] >= 2000
    assert 0 < len(answer["items"]) < 2000
    assert f"Only {len(answer['items'])} of {answer['total']}" in answer["truncated"]


async def test_a_template_of_many_fields_with_many_options_is_cut_and_says_so(lead, own_project, sql):
    options = {f"value {n} {'v' * 80}": f"label {n} {'l' * 80}" for n in range(50)}
    fields = [
        await sql.new_field(f"wide_{own_project}_{n}", "DROPDOWN", options=options)
        for n in range(12)
    ]  # fmt: skip
    template = await sql.new_template("Wide", project=own_project, fields=tuple(fields))
    answer = lead.call("get_fields", project=own_project, templateId=template)
    assert len(json.dumps(answer)) < 80_000
    assert len(answer["items"][0]["fields"]) == 12
    assert "at most 10 options" in answer["truncated"]
