"""Calls that are repeated, tried out, or made at once: each object is made once, each number given once."""

from __future__ import annotations

import pytest

from tests.conftest import ToolFailed
from tests.tools.conftest import new_case

CREATES = {
    "create_test_case": {"title": "Once", "fields": {"priority": "High"}, "tags": ["smoke"]},
    "create_test_cases": {"cases": [{"title": "Once"}, {"title": "Twice"}]},
    "create_folder": {"name": "Once"},
}
EACH_CREATE = pytest.mark.parametrize("tool", CREATES)


def count(client, project):
    return (
        client.call("list_test_cases", project=project)["total"] + client.call("get_folders", project=project)["total"]
    )


@EACH_CREATE
def test_the_same_key_and_arguments_replay_the_first_answer(lead, own_project, tool):
    arguments = {"project": own_project, **CREATES[tool], "idempotencyKey": f"replay {own_project}"}
    first = lead.call(tool, **arguments)
    made = count(lead, own_project)
    assert lead.call(tool, **arguments) == first
    assert lead.call(tool, **{**arguments, "project": str(own_project)}) == first
    assert count(lead, own_project) == made


@pytest.mark.parametrize(
    "other", [{"title": "Other"}, {"tags": []}, {"estimate": "1h"}, {"fields": {"priority": "Low"}}]
)
def test_the_same_key_with_other_arguments_is_refused(lead, failing, own_project, other):
    arguments = {"project": own_project, **CREATES["create_test_case"], "idempotencyKey": f"other {own_project}"}
    lead.call("create_test_case", **arguments)
    error = failing("create_test_case", **{**arguments, **other})
    assert error["code"] == "IDEMPOTENCY_CONFLICT"
    assert "new one" in error["message"]
    assert count(lead, own_project) == 1


def test_the_same_key_for_another_tool_is_refused(lead, failing, own_project):
    key = f"tool {own_project}"
    lead.call("create_folder", project=own_project, name="Once", idempotencyKey=key)
    error = failing("create_test_case", project=own_project, title="Once", idempotencyKey=key)
    assert error["code"] == "IDEMPOTENCY_CONFLICT"


def test_another_api_key_has_idempotency_keys_of_its_own(lead, person, own_project):
    arguments = {"project": own_project, "title": "Once", "idempotencyKey": f"mine {own_project}"}
    first = lead.call("create_test_case", **arguments)
    second = person("tester").call("create_test_case", **arguments)
    assert first["id"] != second["id"]


def test_a_failure_is_not_kept(lead, failing, own_project):
    arguments = {"project": own_project, "title": "Once", "idempotencyKey": f"failed {own_project}"}
    failing("create_test_case", **arguments, tags=["nowhere"])
    assert lead.call("create_test_case", **arguments)["number"] == "C-1"


def test_a_dry_run_does_not_use_the_key_up(lead, own_project):
    arguments = {"project": own_project, "title": "Once", "idempotencyKey": f"dry {own_project}"}
    assert lead.call("create_test_case", **arguments, dryRun=True)["dryRun"] is True
    first = lead.call("create_test_case", **arguments)
    assert "dryRun" not in first
    assert lead.call("create_test_case", **arguments, dryRun=False)["id"] == first["id"]


async def test_a_key_is_free_again_after_a_day(lead, own_project, sql):
    arguments = {"project": own_project, "title": "Once", "idempotencyKey": f"day {own_project}"}
    first = lead.call("create_test_case", **arguments)
    for hours, same in ((23, True), (25, False)):
        await sql.rows(
            "UPDATE idempotency_keys SET created_at = now() - $2 * interval '1 hour' WHERE idempotency_key = $1",
            arguments["idempotencyKey"],
            hours,
        )
        assert (lead.call("create_test_case", **arguments)["id"] == first["id"]) == same


async def test_a_replay_needs_the_permission_still(lead, person, own_project, sql, acme):
    arguments = {"project": own_project, "title": "Once", "idempotencyKey": f"denied {own_project}"}
    tester = person("tester")
    tester.call("create_test_case", **arguments)
    await sql.rows(
        "INSERT INTO project_members (project_id, user_id, mode) VALUES ($1, $2, 'NO_ACCESS')",
        own_project,
        acme.people["tester"].id,
    )
    with pytest.raises(ToolFailed, match="not found or access denied"):
        tester.call("create_test_case", **arguments)
    assert lead.call("list_test_cases", project=own_project)["total"] == 1


@pytest.mark.parametrize(
    ("key", "path"), [("", "idempotencyKey"), ("x" * 65, "idempotencyKey"), ("  ", "idempotencyKey")]
)
def test_a_key_has_1_to_64_characters(failing, own_project, key, path):
    error = failing("create_test_case", project=own_project, title="x", idempotencyKey=key)
    assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", path)


@EACH_CREATE
def test_twins_at_once_make_one_object_and_get_one_answer(lead, own_project, at_once, tool):
    arguments = {"project": own_project, **CREATES[tool], "idempotencyKey": f"twins {own_project}"}
    answers = at_once([lambda client: client.call(tool, **arguments)] * 8)
    assert all(answer == answers[0] for answer in answers)
    assert count(lead, own_project) == (2 if tool == "create_test_cases" else 1)


# Dry runs


@EACH_CREATE
async def test_a_dry_run_stores_nothing(lead, own_project, sql, tool):
    tables = ("cases", "case_versions", "folders", "audit_log", "idempotency_keys")
    query = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    before = await sql.rows(query)
    dry = lead.call(tool, project=own_project, **CREATES[tool], dryRun="true", idempotencyKey="never")
    assert dry["dryRun"] is True
    assert await sql.rows(query) == before


def test_a_dry_run_answers_what_the_write_will(lead, own_project):
    arguments = {"project": own_project, **CREATES["create_test_case"]}
    dry, real = lead.call("create_test_case", **arguments, dryRun=True), lead.call("create_test_case", **arguments)
    differing = {"id", "createdAt", "updatedAt", "dryRun"}
    assert {k: v for k, v in dry.items() if k not in differing} == {k: v for k, v in real.items() if k not in differing}
    assert real["number"] == "C-1"


def test_a_dry_run_of_an_update_changes_nothing(lead, own_project):
    case = new_case(lead, own_project, tags=["smoke"])
    update = {"project": own_project, "title": "Changed", "fields": {"steps": ["Go"]}, "tags": []}
    dry = lead.call("update_test_case", **update, caseId=case["id"], dryRun=True)
    assert (dry["title"], dry["version"], dry["dryRun"]) == ("Changed", 2, True)
    many = lead.call("update_test_cases", **update, caseIds=[case["id"]], dryRun=True)
    assert (many["changed"], many["items"][0]["version"], many["dryRun"]) == (1, 2, True)
    assert lead.call("get_test_case", project=own_project, caseId=case["id"]) == case


def test_a_dry_run_is_refused_what_the_write_would_be(failing, own_project):
    error = failing("create_test_case", project=own_project, title="x", fields={"priority": "Urgent"}, dryRun=True)
    assert error["code"] == "INVALID_VALUE"


# At once


def test_numbers_have_no_gaps_among_twenty_who_create_at_once(lead, own_project, at_once):
    def create(number):
        if number % 5 == 0:
            return lambda client: client.call("create_test_case", project=own_project, title="x", tags=["nowhere"])
        if number % 5 == 1:
            return lambda client: new_case(client, own_project, dryRun=True)
        if number % 5 == 2:
            cases = [{"title": "x"}] * 3
            return lambda client: client.call("create_test_cases", project=own_project, cases=cases)
        return lambda client: new_case(client, own_project)

    for _ in range(2):
        answers = at_once([create(number) for number in range(20)])
        failed = [answer.code for answer in answers if isinstance(answer, ToolFailed)]
        assert failed == ["INVALID_VALUE"] * 4
    listed = lead.call("list_test_cases", project=own_project, limit=200)
    assert [item["number"] for item in listed["items"]] == [f"C-{n}" for n in range(1, 2 * (4 * 3 + 8) + 1)]


def test_of_two_updates_at_once_from_one_version_one_is_refused(lead, own_project, at_once):
    case = new_case(lead, own_project)

    def update(title):
        return lambda client: client.call(
            "update_test_case", project=own_project, caseId=case["id"], title=title, expectedVersion=1
        )

    answers = at_once([update(f"Title {n}") for n in range(6)])
    stored = [answer for answer in answers if not isinstance(answer, ToolFailed)]
    refused = [answer.error for answer in answers if isinstance(answer, ToolFailed)]
    assert len(stored) == 1
    assert {(error["code"], error["currentVersion"]) for error in refused} == {("VERSION_CONFLICT", 2)}
    assert lead.call("get_test_case", project=own_project, caseId=case["id"]) == stored[0]


async def test_updates_at_once_without_a_version_are_all_kept_one_after_the_other(lead, own_project, at_once, sql):
    case = new_case(lead, own_project, tags=["smoke"])
    changes = [{"title": "Other"}, {"estimate": "5m"}, {"addTags": ["regression"]}, {"fields": {"steps": ["Go"]}}]
    at_once(
        [
            lambda client, change=change: client.call(
                "update_test_case", project=own_project, caseId=case["id"], **change
            )
            for change in changes
        ]
    )
    after = lead.call("get_test_case", project=own_project, caseId=case["id"])
    assert (after["title"], after["estimateSeconds"], len(after["tags"]), after["version"]) == ("Other", 300, 2, 5)
    assert after["fields"] == {"priority": "Medium", "steps": [{"step": "Go"}]}
    versions = await sql.rows("SELECT version FROM case_versions WHERE case_id = $1 ORDER BY version", case["id"])
    assert [row["version"] for row in versions] == [1, 2, 3, 4, 5]


def test_bulk_updates_at_once_in_opposite_orders_do_not_block_each_other(lead, own_project, at_once):
    made = lead.call("create_test_cases", project=own_project, cases=[{"title": f"{n}"} for n in range(30)])
    ids = [item["id"] for item in made["items"]]

    def update(order, title):
        return lambda client: client.call("update_test_cases", project=own_project, caseIds=order, title=title)

    answers = at_once([update(ids, "up"), update(ids[::-1], "down"), update(ids, "up"), update(ids[::-1], "down")])
    assert not [answer for answer in answers if isinstance(answer, ToolFailed)]
    titles = {item["title"] for item in lead.call("list_test_cases", project=own_project)["items"]}
    assert len(titles) == 1
