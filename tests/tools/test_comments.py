"""Comments: whose they are, what editing and deleting leave behind, pages."""

from __future__ import annotations

import pytest

from tests.conftest import MISSING
from tests.tools.conftest import new_case


@pytest.fixture
def case(lead, own_project):
    return new_case(lead, own_project)["id"]


def add(client, project, case, body="A comment"):
    return client.call("add_comment", project=project, caseId=case, body=body)


def bodies(client, project, case, **arguments):
    page = client.call("get_comments", project=project, caseId=case, **arguments)
    return [item["body"] for item in page["items"]], page


def test_comments_are_listed_with_their_authors_the_oldest_first(lead, person, own_project, case):
    add(lead, own_project, case, "# first\n\n<b>as it is</b>")
    add(person("tester"), own_project, f"C-{1}", "second 👩‍🚀")
    listed, page = bodies(lead, own_project, case)
    assert listed == ["# first\n\n<b>as it is</b>", "second 👩‍🚀"]
    assert page["total"] == 2
    assert [(item["author"]["name"], item["own"]) for item in page["items"]] == [("Lead", True), ("Tester", False)]
    assert lead.call("get_test_case", project=own_project, caseId=case)["commentCount"] == 2


def test_pages(lead, own_project, case):
    for number in range(5):
        add(lead, own_project, case, str(number))
    first, page = bodies(lead, own_project, case, limit=2)
    rest, last = bodies(lead, own_project, case, limit=200, cursor=page["nextCursor"])
    assert (first, rest, page["total"]) == (["0", "1"], ["2", "3", "4"], 5)
    assert "nextCursor" not in last


async def test_the_earlier_text_stays_in_the_audit_log(lead, own_project, case, sql):
    made = add(lead, own_project, case, "before")
    edited = lead.call("update_comment", project=own_project, commentId=made["id"], body="after")
    assert (edited["body"], edited["version"]) == ("after", 2)
    assert edited["editedAt"] >= edited["createdAt"]
    same = lead.call("update_comment", project=own_project, commentId=made["id"], body="after")
    assert same == edited
    deleted = lead.call("delete_comment", project=own_project, commentId=made["id"])
    assert (deleted["body"], deleted["deleted"]) == ("after", True)
    rows = await sql.rows(
        "SELECT action, details ->> 'body' AS body FROM audit_log WHERE object_id = $1 ORDER BY id", made["id"]
    )
    assert [tuple(row) for row in rows] == [("create", None), ("update", "before"), ("delete", "after")]
    assert await sql.value("SELECT body FROM comments WHERE id = $1", made["id"]) == "after"


def test_a_deleted_comment_is_gone(lead, own_project, case, failing):
    made = add(lead, own_project, case)
    lead.call("delete_comment", project=own_project, commentId=made["id"])
    assert bodies(lead, own_project, case)[0] == []
    assert lead.call("get_test_case", project=own_project, caseId=case)["commentCount"] == 0
    for tool, arguments in (("update_comment", {"body": "x"}), ("delete_comment", {})):
        error = failing(tool, project=own_project, commentId=made["id"], **arguments)
        assert error["code"] == "NOT_FOUND_OR_DENIED"


def test_whose_comment_it_is_decides(lead, person, own_project, case):
    tester, viewer = person("tester"), person("viewer")
    of_lead, of_tester = add(lead, own_project, case), add(tester, own_project, case)

    def outcome(client, tool, comment, **arguments):
        return not client.result(tool, project=own_project, commentId=comment["id"], **arguments).get("isError")

    assert not outcome(tester, "update_comment", of_lead, body="x")
    assert not outcome(lead, "update_comment", of_tester, body="x")
    assert not outcome(viewer, "update_comment", of_tester, body="x")
    assert outcome(tester, "update_comment", of_tester, body="x")
    assert not outcome(tester, "delete_comment", of_lead)
    assert not outcome(viewer, "delete_comment", of_lead)
    # The Lead has MANAGE_COMMENTS.
    assert outcome(lead, "delete_comment", of_tester)
    assert outcome(lead, "delete_comment", of_lead)


async def test_somebody_elses_comment_is_as_one_that_is_not_there(person, own_project, case, acme, sql):
    made = add(person("lead"), own_project, case)
    role = await sql.value("INSERT INTO roles (name, permissions) VALUES ('Writer', '{ADD_COMMENTS}') RETURNING id")
    await sql.rows(
        "INSERT INTO project_members (project_id, user_id, mode, forced_role_id) VALUES ($1, $2, 'FORCE_ROLE', $3)",
        own_project,
        acme.people["tester"].id,
        role,
    )
    answers = [
        person("tester").result("update_comment", project=own_project, commentId=comment, body="x")
        for comment in (made["id"], MISSING)
    ]
    assert answers[0] == answers[1]
    assert answers[0]["structuredContent"]["error"]["code"] == "NOT_FOUND_OR_DENIED"


async def test_a_comment_of_another_project_is_not_there(lead, own_project, case, failing, sql):
    elsewhere = await sql.new_project("elsewhere")
    made = add(lead, own_project, case)
    for tool, arguments in (("update_comment", {"body": "x"}), ("delete_comment", {})):
        error = failing(tool, project=elsewhere, commentId=made["id"], **arguments)
        assert error["code"] == "NOT_FOUND_OR_DENIED"


def test_two_editors_conflict(lead, own_project, case, failing):
    made = add(lead, own_project, case)
    lead.call("update_comment", project=own_project, commentId=made["id"], body="a", expectedVersion=1)
    error = failing("update_comment", project=own_project, commentId=made["id"], body="b", expectedVersion=1)
    assert (error["code"], error["currentVersion"]) == ("VERSION_CONFLICT", 2)


@pytest.mark.parametrize("body", ["", " \n ", "x" * 10_001])
def test_a_body_has_1_to_10000_characters(own_project, case, failing, body):
    assert failing("add_comment", project=own_project, caseId=case, body=body)["code"] == "INVALID_VALUE"


def test_the_longest_body_comes_back_as_it_was(lead, own_project, case):
    body = "é" * 10_000
    assert add(lead, own_project, case, body)["body"] == body
    assert bodies(lead, own_project, case)[0] == [body]
