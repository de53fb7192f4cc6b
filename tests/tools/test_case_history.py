"""The history of a case: every way of changing it makes a version, with author and key, that can be read again."""

from __future__ import annotations

import json

import pytest

from service.domain.pages import LARGEST_ANSWER
from tests.tools.conftest import new_case, new_folder

STEPS = [{"step": "Open", "expectedResult": "Form"}, {"step": "Pay"}]


def get(client, project, case, **arguments):
    return client.call("get_test_case", project=project, caseId=case, **arguments)


def history(client, project, case):
    return get(client, project, case, history=True)["versions"]


async def test_every_part_that_changes_is_named(lead, own_project, sql):
    await sql.rows("INSERT INTO tags (context, name) VALUES ('REPOSITORY', 'history') ON CONFLICT DO NOTHING")
    environment = await sql.value("INSERT INTO environments (name) VALUES ('History') RETURNING id")
    field = await sql.new_field("history_note", "STRING")
    template = await sql.new_template("History", project=own_project, fields=(field,))
    folder = new_folder(lead, own_project)["id"]
    case = new_case(lead, own_project, "First", fields={"steps": STEPS, "priority": "High"})["id"]
    draft = await sql.value("SELECT id FROM lifecycle_states WHERE name = 'Draft'")
    for changes in (
        {"title": "Second"},
        {"fields": {"priority": "Low", "steps": STEPS[:1]}},
        {"folderId": folder, "lifecycleStateId": draft},
        {"addTags": ["history"], "environmentIds": [environment], "estimate": "5m"},
        {"removeTags": ["history"], "estimate": "0"},
        {"templateId": template, "fields": {"history_note": "n"}},
    ):
        lead.call("update_test_case", project=own_project, caseId=case, **changes)
    assert [(one["version"], one["changed"]) for one in history(lead, own_project, case)] == [
        (7, ["fields.history_note", "fields.priority", "fields.steps", "template"]),
        (6, ["estimateSeconds", "tags"]),
        (5, ["environments", "estimateSeconds", "tags"]),
        (4, ["folder", "lifecycleState"]),
        (3, ["fields.priority", "fields.steps"]),
        (2, ["title"]),
        (1, ["created"]),
    ]


def test_an_old_version_is_as_it_was(lead, own_project):
    folder = new_folder(lead, own_project, "Checkout")["id"]
    before = new_case(lead, own_project, "First", folderId=folder, fields={"steps": STEPS}, estimate="90s")
    lead.call("update_test_case", project=own_project, caseId="C-1", title="Second", fields={"steps": []}, folderId=0)
    now = lead.call("update_test_case", project=own_project, caseId="C-1", estimate="0")
    old = get(lead, own_project, "C-1", version=1)
    assert old.pop("currentVersion") == 3
    assert old == before
    assert get(lead, own_project, "C-1", version=3) == now
    second = get(lead, own_project, "C-1", version=2)
    assert (second["title"], second["estimateSeconds"]) == ("Second", 90)
    assert "folder" not in second


def test_each_version_has_its_author_and_key(lead, person, own_project, acme):
    case = new_case(lead, own_project)["id"]
    person("tester").call("update_test_case", project=own_project, caseId=case, title="By the tester")
    tester, first = history(lead, own_project, case)
    assert (first["author"]["id"], tester["author"]["id"]) == (acme.people["lead"].id, acme.people["tester"].id)
    assert first["apiKeyId"] != tester["apiKeyId"]
    assert get(lead, own_project, case, version=1)["updatedBy"]["name"] == "Lead"


def test_bulk_changes_make_a_version_of_each_case_that_changes(lead, own_project):
    lead.call("create_test_cases", project=own_project, cases=[{"title": "A"}, {"title": "B", "estimate": "1m"}])
    lead.call("update_test_cases", project=own_project, caseIds=["C-1", "C-2"], estimate="1m")
    assert [one["changed"] for one in history(lead, own_project, "C-1")] == [["estimateSeconds"], ["created"]]
    assert [one["changed"] for one in history(lead, own_project, "C-2")] == [["created"]]


def test_renaming_a_folder_is_no_change_of_its_cases(lead, own_project):
    folder = new_folder(lead, own_project, "Before")["id"]
    new_case(lead, own_project, folderId=folder)
    lead.call("update_folder", project=own_project, folderId=folder, name="After")
    lead.call("update_test_case", project=own_project, caseId="C-1", title="Changed")
    assert [one["changed"] for one in history(lead, own_project, "C-1")] == [["title"], ["created"]]


def test_a_version_that_is_not_there(lead, own_project, failing):
    new_case(lead, own_project)
    error = failing("get_test_case", project=own_project, caseId="C-1", version=2)
    assert (error["code"], error["field"]) == ("INVALID_VALUE", "version")
    assert "last one is 1" in error["message"]


async def test_a_long_history_says_what_it_leaves_out(lead, own_project, sql):
    case = new_case(lead, own_project)["id"]
    await sql.rows(
        """
        INSERT INTO case_versions (case_id, version, snapshot, created_by)
        SELECT v.case_id, n, v.snapshot || jsonb_build_object('title', 'Version ' || n), v.created_by
        FROM case_versions v, generate_series(2, 900) n WHERE v.case_id = $1
        """,
        case,
    )
    await sql.rows("UPDATE cases SET version = 900 WHERE id = $1", case)
    shown = get(lead, own_project, case, history=True)
    assert [one["version"] for one in shown["versions"][:2]] == [900, 899]
    assert f"latest {len(shown['versions'])} of 900" in shown["truncated"]
    assert get(lead, own_project, case, version=2)["title"] == "Version 2"


async def test_what_is_large_in_all_ways_still_fits_one_answer(lead, own_project, acme, sql):
    steps = [{"step": "s" * 900, "expectedResult": "e" * 900}] * 30
    case = new_case(lead, own_project, "Large", fields={"steps": steps})["id"]
    for number in range(12):
        lead.call("update_test_case", project=own_project, caseId=case, title=f"Small {number}", fields={"steps": []})
    await sql.rows(
        """
        WITH source AS (
            INSERT INTO sources (name, system, key_pattern) VALUES ('History', 'JIRA', '[A-Z]+-[0-9]+') RETURNING id
        ), issue AS (
            INSERT INTO issues (project_id, source_id, key, url)
            SELECT $1, s.id, 'LARGE-' || n, 'https://tracker.example/' || repeat('u', 200)
            FROM source s, generate_series(1, 600) n
            RETURNING id
        )
        INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by)
        SELECT $1, i.id, (SELECT min(r.id) FROM relations r), $2, $3 FROM issue i
        """,
        own_project,
        case,
        acme.people["lead"].id,
    )
    now, old = get(lead, own_project, case), get(lead, own_project, case, version=1)
    both = get(lead, own_project, case, version=1, history=True)
    for shown in (now, old, both, get(lead, own_project, case, history=True)):
        assert len(json.dumps(shown, ensure_ascii=False, separators=(",", ":"))) <= LARGEST_ANSWER
        assert f"Only {len(shown['links'])} of 600 links are shown" in shown["truncated"]
    assert old["fields"]["steps"] == both["fields"]["steps"] == steps
    assert len(old["links"]) < len(now["links"])
    assert [one["version"] for one in both["versions"]] == list(range(13, 0, -1))


@pytest.mark.parametrize("version", [0, -1, 2**31])
def test_a_version_out_of_range(own_project, failing, lead, version):
    new_case(lead, own_project)
    assert failing("get_test_case", project=own_project, caseId="C-1", version=version)["code"] == "INVALID_VALUE"


async def test_results_of_all_runs_the_latest_first(lead, own_project, sql):
    case = new_case(lead, own_project)["id"]
    other = new_case(lead, own_project)["id"]
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern) VALUES ('Results', 'JIRA', 'RES-[0-9]+') RETURNING id"
    )
    assert get(lead, own_project, case, results=True)["results"] == []
    runs = [lead.call("start_test_run", project=own_project, title=title, includeAll=True) for title in ("A", "B")]
    for run, status, defect in ((0, "Failed", "RES-1"), (1, "Passed", None), (0, "Passed", None)):
        given = {"issueKey": defect, "sourceId": source} if defect else {}
        where = {"project": own_project, "runId": runs[run]["id"]}
        lead.call("record_test_result", **where, caseId=case, statusId=status, **given)
        lead.call("record_test_result", **where, caseId=other, statusId="Skipped")
    shown = get(lead, own_project, case, results=True)
    assert shown["resultCount"] == 3
    assert [(one["run"], one["status"], one.get("defects")) for one in shown["results"]] == [
        ("A", "Passed", None),
        ("B", "Passed", None),
        ("A", "Failed", ["RES-1"]),
    ]
    assert shown["results"][0]["createdAt"] == shown["latestResult"]["at"]
    assert "results" not in get(lead, own_project, case)


async def test_results_have_room_beside_the_rest_of_a_case(lead, own_project):
    case = new_case(lead, own_project, fields={"preconditions": "x" * 10_000})["id"]
    run = lead.call("start_test_run", project=own_project, title="t" * 255, caseIds=[case])["id"]
    for _ in range(2):
        one = {"caseId": case, "statusId": "Passed"}
        lead.call("record_test_results", project=own_project, runId=run, results=[one] * 100)
    shown = get(lead, own_project, case, results=True, history=True)
    assert shown["resultCount"] == 200
    assert 10 < len(shown["results"]) <= 100
    assert len(json.dumps(shown, separators=(",", ":"))) <= LARGEST_ANSWER
