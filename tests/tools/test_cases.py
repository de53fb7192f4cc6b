"""Creating, reading and changing test cases: what is stored, what stays, what is refused, and the history."""

from __future__ import annotations

import json

import pytest

from tests.conftest import MISSING, RpcFailed
from tests.tools.conftest import new_case, new_folder

STEPS = [{"step": "Open /login", "expectedResult": "The form shows"}, {"step": "Sign in", "notes": "as Ann"}]


@pytest.fixture(scope="module")
async def states(sql):
    rows = await sql.rows("SELECT id, name FROM lifecycle_states WHERE context = 'REPOSITORY'")
    return {row["name"]: row["id"] for row in rows}


@pytest.fixture(scope="module")
async def tags(sql):
    """The ids of tags by name; one is all digits."""
    for name in ("login", "Über-Fast", "20240", "slow"):
        await sql.rows("INSERT INTO tags (context, name) VALUES ('REPOSITORY', $1)", name)
    rows = await sql.rows("SELECT id, name FROM tags WHERE context = 'REPOSITORY'")
    return {row["name"]: row["id"] for row in rows}


@pytest.fixture(scope="module")
async def environments(sql, project):
    ids = [
        await sql.value("INSERT INTO environments (name, all_projects) VALUES ($1, false) RETURNING id", name)
        for name in ("Cases: Firefox", "Cases: Chrome")
    ]
    for environment in ids:
        await sql.make_available(project, environment_id=environment)
    return ids


@pytest.fixture
def full(lead, project, states, environments):
    """A case with something in everything."""
    folder = new_folder(lead, project, "Login")
    return new_case(
        lead,
        project,
        "Sign in",
        folderId=folder["id"],
        lifecycleStateId=states["Draft"],
        fields={"priority": "High", "preconditions": "An account", "steps": STEPS},
        tags=["smoke", "regression"],
        environmentIds=environments,
        estimate="1h 30m",
    )


def content(case):
    """Return what makes a version of a case."""
    volatile = {"updatedAt", "updatedBy", "version", "dryRun"}
    return {name: value for name, value in case.items() if name not in volatile}


# Creating


def test_a_case_is_created_with_the_projects_defaults(lead, project, acme):
    case = new_case(lead, project, "Only a title")
    assert case["template"]["name"] == "Test Case"
    assert case["lifecycleState"]["name"] == "Ready"
    assert case["fields"] == {"priority": "Medium"}
    assert (case["tags"], case["environments"], case["links"], case["commentCount"]) == ([], [], [], 0)
    assert case["createdBy"] == case["updatedBy"] == {"id": acme.people["lead"].id, "name": "Lead"}
    assert case["version"] == 1
    assert not {"folder", "estimateSeconds", "latestResult", "dropped"} & set(case)


def test_a_case_is_stored_with_all_that_was_sent(lead, project, full, environments):
    case = lead.call("get_test_case", project=project, caseId=full["id"])
    assert case == full
    assert case["folder"]["path"] == "Login"
    assert case["lifecycleState"]["name"] == "Draft"
    assert case["fields"] == {"priority": "High", "preconditions": "An account", "steps": STEPS}
    assert [tag["name"] for tag in case["tags"]] == ["regression", "smoke"]
    assert {environment["id"] for environment in case["environments"]} == set(environments)
    assert case["estimateSeconds"] == 5400


def test_a_null_at_creation_keeps_the_default_out(lead, project):
    assert new_case(lead, project, fields={"priority": None})["fields"] == {}


def test_a_case_is_found_by_id_and_by_number_however_written(lead, project, full):
    number = full["number"]
    for ref in (full["id"], str(full["id"]), number, number.lower(), number.replace("-", "-00")):
        assert lead.call("get_test_case", project=project, caseId=ref)["id"] == full["id"]


def test_numbers_count_from_one_in_each_project(lead, own_project):
    assert [new_case(lead, own_project)["number"] for _ in range(3)] == ["C-1", "C-2", "C-3"]


def test_a_refused_case_takes_no_number(lead, own_project, failing):
    new_case(lead, own_project)
    failing("create_test_case", project=own_project, title="x", tags=["nowhere"])
    failing("create_test_case", project=own_project, title="x", folderId=MISSING)
    new_case(lead, own_project, dryRun=True)
    failing("create_test_cases", project=own_project, cases=[{"title": "x"}, {"title": "y", "tags": ["nowhere"]}])
    assert new_case(lead, own_project)["number"] == "C-2"


@pytest.mark.parametrize(
    ("estimate", "seconds"),
    [
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("90m", 5400),
        ("30s", 30),
        ("1:30:00", 5400),
        ("1H 5M 3S", 3903),
        (" 2h ", 7200),
        ("1000h", 3_600_000),
        ("0", None),
        ("", None),
    ],
)
def test_an_estimate_is_read(lead, project, estimate, seconds):
    assert new_case(lead, project, estimate=estimate, dryRun=True).get("estimateSeconds") == seconds


@pytest.mark.parametrize("estimate", ["90", "an hour", "1:30", "1001h", "-5m", "99999h 99m", "m", "1.5h", "30s 1h"])
def test_an_estimate_that_is_no_duration_is_refused(failing, project, estimate):
    error = failing("create_test_case", project=project, title="x", estimate=estimate)
    assert (error["code"], error["field"]) == ("INVALID_VALUE", "estimate")
    assert "1h 30m" in error["message"] or "1000 hours" in error["message"]


def test_all_that_is_wrong_with_a_case_is_told_at_once(failing, project):
    error = failing(
        "create_test_case",
        project=project,
        title="x",
        fields={"priority": "Urgent", "colour": "red"},
        tags=["nowhere"],
        estimate="long",
    )
    assert [one["field"] for one in error["errors"]] == ["priority", "colour", "tags", "estimate"]
    for words in ("Critical, High, Medium, Low", "steps", "smoke", "1h 30m"):
        assert words in error["message"]


# Changing


UNTOUCHED = [
    {"title": "Another title"},
    {"folderId": 0},
    {"lifecycleStateId": "Ready"},
    {"fields": {"priority": "Low"}},
    {"fields": {"preconditions": None}},
    {"fields": {"steps": [{"step": "Only one"}]}},
    {"fields": {"steps": []}},
    {"fields": {"steps": None}},
    {"fields": {}},
    {"tags": []},
    {"tags": ["smoke"]},
    {"addTags": ["login"]},
    {"removeTags": ["smoke"]},
    {"environmentIds": []},
    {"estimate": "10m"},
    {"estimate": "0"},
]
TOUCHED = {
    "folderId": "folder",
    "lifecycleStateId": "lifecycleState",
    "addTags": "tags",
    "removeTags": "tags",
    "environmentIds": "environments",
    "estimate": "estimateSeconds",
}


@pytest.mark.parametrize("patch", UNTOUCHED, ids=[json.dumps(patch) for patch in UNTOUCHED])
@pytest.mark.usefixtures("tags")
def test_what_is_not_sent_stays(lead, project, full, states, patch):
    sent = {name: states.get(value, value) if isinstance(value, str) else value for name, value in patch.items()}
    after = lead.call("update_test_case", project=project, caseId=full["id"], **sent)
    [name] = patch
    touched = TOUCHED.get(name, name)
    assert after == lead.call("get_test_case", project=project, caseId=full["id"])
    same = [key for key in content(full) if key not in {touched, "fields"}]
    assert {key: after[key] for key in same} == {key: full[key] for key in same}
    fields = patch.get("fields", {})
    untouched = {key: value for key, value in full["fields"].items() if key not in fields}
    assert {key: value for key, value in after["fields"].items() if key not in fields} == untouched
    if patch == {"fields": {}}:
        assert after == full
    else:
        assert after.get(touched) != full[touched]
        assert after["version"] == full["version"] + 1


def test_sent_steps_replace_all_steps(lead, project, full):
    steps = ["Only this", {"step": "And this", "expectedResult": "Seen"}]
    after = lead.call("update_test_case", project=project, caseId=full["id"], fields={"steps": steps})
    assert after["fields"]["steps"] == [{"step": "Only this"}, steps[1]]


def test_null_clears_a_field(lead, project, full):
    cleared = {"priority": None, "steps": None}
    after = lead.call("update_test_case", project=project, caseId=full["id"], fields=cleared)
    assert after["fields"] == {"preconditions": "An account"}


async def test_an_update_that_changes_nothing_keeps_version_and_time(lead, project, full, sql):
    same = {"title": full["title"], "tags": ["SMOKE", "regression"], "fields": {"priority": "high", "steps": STEPS}}
    last = await sql.value("SELECT max(id) FROM audit_log")
    assert lead.call("update_test_case", project=project, caseId=full["id"], **same) == full
    assert await sql.value("SELECT max(id) FROM audit_log") == last
    assert await sql.value("SELECT count(*) FROM case_versions WHERE case_id = $1", full["id"]) == 1


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"tags": ["login"]}, ["login"]),
        ({"tags": ["LOGIN", "login", "Login"]}, ["login"]),
        ({"tags": ["über-fast"]}, ["Über-Fast"]),
        ({"tags": ["ÜBER-FAST"]}, ["Über-Fast"]),
        ({"tags": ["20240"]}, ["20240"]),
        ({"tags": []}, []),
        ({"addTags": ["login"]}, ["login", "regression", "smoke"]),
        ({"addTags": ["smoke"]}, ["regression", "smoke"]),
        ({"removeTags": ["smoke", "login"]}, ["regression"]),
        ({"addTags": ["login"], "removeTags": ["smoke"]}, ["login", "regression"]),
        ({"tags": ["login"], "addTags": ["slow"]}, ["login", "slow"]),
        ({"addTags": ["login"], "removeTags": ["login"]}, ["login", "regression", "smoke"]),
    ],
    ids=lambda value: json.dumps(value, ensure_ascii=False),
)
@pytest.mark.usefixtures("tags")
def test_tags_are_replaced_added_and_removed(lead, project, full, sent, expected):
    after = lead.call("update_test_case", project=project, caseId=full["id"], **sent)
    assert [tag["name"] for tag in after["tags"]] == expected


@pytest.mark.parametrize("form", [lambda tag: tag, str], ids=["a number", "digits"])
def test_a_tag_can_be_named_by_id(lead, project, full, tags, form):
    after = lead.call("update_test_case", project=project, caseId=full["id"], tags=[form(tags["login"])])
    assert after["tags"] == [{"id": tags["login"], "name": "login"}]


def test_an_unknown_tag_is_refused_with_those_that_exist(failing, project, full):
    error = failing("update_test_case", project=project, caseId=full["id"], addTags=["smok"])
    assert (error["code"], error["field"]) == ("INVALID_VALUE", "tags")
    assert "smoke" in error["message"]


async def test_a_tag_of_runs_is_none_of_cases(failing, project, full, sql):
    tag = await sql.value("INSERT INTO tags (context, name) VALUES ('RUNS', 'nightly') RETURNING id")
    by_name = failing("update_test_case", project=project, caseId=full["id"], addTags=["nightly"])
    assert by_name["code"] == "INVALID_VALUE"
    assert "nightly" not in by_name["message"].partition("Tags for cases")[2]
    by_id = failing("update_test_case", project=project, caseId=full["id"], addTags=[tag])
    assert by_id["code"] == "NOT_FOUND_OR_DENIED"


async def test_a_case_carries_at_most_50_tags(lead, failing, own_project, sql):
    names = [f"many-{number}" for number in range(60)]
    await sql.rows("INSERT INTO tags (context, name) SELECT 'REPOSITORY', n FROM unnest($1::text[]) n", names)
    case = new_case(lead, own_project, tags=names[:50])
    error = failing("update_test_case", project=own_project, caseId=case["id"], addTags=names[50:])
    assert error["code"] == "INVALID_VALUE"
    assert "at most 50" in error["message"]
    await sql.rows("DELETE FROM tags WHERE name = ANY ($1)", names)


# Versions


async def test_every_version_is_kept_with_author_and_key(*, lead, person, project, full, sql, acme):
    tester = person("tester")
    tester.call("update_test_case", project=project, caseId=full["id"], title="Second")
    lead.call("update_test_case", project=project, caseId=full["id"], fields={"steps": ["One"]})
    rows = await sql.rows(
        "SELECT version, snapshot, created_by, api_key_id FROM case_versions WHERE case_id = $1 ORDER BY version",
        full["id"],
    )
    assert [row["version"] for row in rows] == [1, 2, 3]
    ids = {name: acme.people[name].id for name in ("lead", "tester")}
    assert [row["created_by"] for row in rows] == [ids["lead"], ids["tester"], ids["lead"]]
    keys = [row["api_key_id"] for row in rows]
    assert None not in keys
    assert keys[0] == keys[2] != keys[1]
    assert [row["snapshot"]["title"] for row in rows] == ["Sign in", "Second", "Second"]
    assert rows[1]["snapshot"]["fields"]["steps"] == STEPS
    assert rows[2]["snapshot"]["fields"]["steps"] == [{"step": "One"}]
    latest = lead.call("get_test_case", project=project, caseId=full["id"])
    assert rows[2]["snapshot"] == {name: latest[name] for name in rows[2]["snapshot"]}
    assert latest["updatedBy"]["name"] == "Lead"


def test_an_update_made_from_an_old_version_is_refused_with_who_and_when(person, failing, project, full):
    changed = person("tester").call("update_test_case", project=project, caseId=full["id"], title="Theirs")
    error = failing("update_test_case", project=project, caseId=full["id"], title="Mine", expectedVersion=1)
    assert (error["code"], error["currentVersion"]) == ("VERSION_CONFLICT", 2)
    assert (error["changedBy"], error["changedAt"]) == ("Tester", changed["updatedAt"])
    assert "get_test_case" in error["message"] or "Read the object again" in error["message"]
    after = person("lead").call("update_test_case", project=project, caseId=full["id"], title="Mine", expectedVersion=2)
    assert (after["title"], after["version"]) == ("Mine", 3)


def test_an_update_made_from_a_version_to_come_is_refused(failing, project, full):
    error = failing("update_test_case", project=project, caseId=full["id"], title="Mine", expectedVersion=2)
    assert (error["code"], error["currentVersion"]) == ("VERSION_CONFLICT", 1)


@pytest.mark.parametrize("version", [0, -1, 2**31, 2**63, 10**30])
def test_a_version_that_cannot_be_is_refused(failing, project, full, version):
    error = failing("update_test_case", project=project, caseId=full["id"], title="x", expectedVersion=version)
    assert error["code"] == "INVALID_VALUE"
    assert error["errors"][0]["path"] == "expectedVersion"


# Many at once


def test_many_cases_are_created_in_the_order_given(lead, own_project):
    folder = new_folder(lead, own_project)["id"]
    other = new_folder(lead, own_project)["id"]
    cases = [{"title": f"Case {n}"} for n in range(200)]
    cases[7] |= {"folderId": other, "fields": {"steps": STEPS, "priority": "Low"}, "tags": ["smoke"], "estimate": "5m"}
    cases[8] |= {"folderId": 0}
    made = lead.call("create_test_cases", project=own_project, cases=cases, folderId=folder)
    assert made["total"] == 200
    assert [item["title"] for item in made["items"]] == [case["title"] for case in cases]
    assert [item["number"] for item in made["items"]] == [f"C-{n}" for n in range(1, 201)]
    assert [item.get("folder", {}).get("id") for item in made["items"][6:10]] == [folder, other, None, folder]
    seventh = lead.call("get_test_case", project=own_project, caseId="C-8")
    assert seventh["fields"] == {"priority": "Low", "steps": STEPS}
    assert seventh["estimateSeconds"] == 300


def test_many_cases_are_all_refused_if_one_is_and_every_fault_is_told(lead, failing, own_project):
    error = failing(
        "create_test_cases",
        project=own_project,
        cases=[
            {"title": "Good"},
            {"title": "Two faults", "fields": {"priority": "Urgent"}, "estimate": "long"},
            {"title": "Good too"},
            {"title": "No such folder", "folderId": MISSING},
            {"title": "No such tag", "tags": ["nowhere"]},
        ],
    )
    assert error["code"] == "BULK_REFUSED"
    assert [one["index"] for one in error["errors"]] == [1, 3, 4]
    assert [one["code"] for one in error["errors"]] == ["INVALID_VALUE", "NOT_FOUND_OR_DENIED", "INVALID_VALUE"]
    assert [one["field"] for one in error["errors"][0]["errors"]] == ["priority", "estimate"]
    for words in ("3 of 5", "cases[1]", "cases[3]", "cases[4]", "Critical, High"):
        assert words in error["message"]
    assert lead.call("list_test_cases", project=own_project)["total"] == 0


def test_a_flood_of_errors_is_cut_and_says_so(lead, failing, own_project):
    fields = {f"no such field {n}": n for n in range(30)}
    cases = [{"title": f"Case {n}", "fields": fields, "tags": [f"nowhere-{n}"]} for n in range(200)]
    error = failing("create_test_cases", project=own_project, cases=cases)
    assert "200 of 200" in error["message"]
    assert len(json.dumps(error)) < 80_000
    assert len(error["message"]) < 8_000
    assert "truncated" in error
    assert lead.call("list_test_cases", project=own_project)["total"] == 0


def test_shape_faults_of_many_cases_are_told_with_their_paths(lead, own_project):
    with pytest.raises(RpcFailed) as raised:
        lead.call("create_test_cases", project=own_project, cases=[{"title": 1}, {"titel": "x"}])
    assert raised.value.code == -32602
    faults = raised.value.error["data"]["faults"]
    assert [fault["path"] for fault in faults] == ["cases[0].title", "cases[1].titel", "cases[1].title"]
    assert faults[1]["expected"] == "perhaps title"


@pytest.fixture
def three(lead, own_project):
    made = lead.call(
        "create_test_cases", project=own_project, cases=[{"title": f"Case {n}", "tags": ["smoke"]} for n in (1, 2, 3)]
    )
    return made["items"]


def test_many_cases_are_moved_retagged_and_changed(lead, own_project, three, states):
    folder = new_folder(lead, own_project)["id"]
    answer = lead.call(
        "update_test_cases",
        project=own_project,
        caseIds=["C-3", three[0]["id"]],
        folderId=folder,
        lifecycleStateId=states["Deprecated"],
        fields={"priority": "critical"},
        addTags=["regression"],
        removeTags=["smoke"],
    )
    assert [item["number"] for item in answer["items"]] == ["C-3", "C-1"]
    assert (answer["total"], answer["changed"]) == (2, 2)
    for item in answer["items"]:
        assert (item["folder"]["id"], item["lifecycleState"], item["priority"], item["tags"], item["version"]) == (
            folder, "Deprecated", "Critical", ["regression"], 2,
        )  # fmt: skip
    untouched = lead.call("get_test_case", project=own_project, caseId="C-2")
    assert (untouched["version"], [tag["name"] for tag in untouched["tags"]]) == (1, ["smoke"])


async def test_only_changed_cases_get_a_new_version_and_an_audit_row(lead, own_project, three, sql):
    lead.call("update_test_case", project=own_project, caseId="C-2", title="Same")
    last = await sql.value("SELECT max(id) FROM audit_log")
    answer = lead.call(
        "update_test_cases", project=own_project, caseIds=["C-1", "C-2", "C-3", three[2]["id"]], title="Same"
    )
    assert [item["version"] for item in answer["items"]] == [2, 2, 2]
    assert (answer["total"], answer["changed"]) == (3, 2)
    rows = await sql.rows("SELECT object_id FROM audit_log WHERE id > $1 ORDER BY id", last)
    assert [row["object_id"] for row in rows] == [three[0]["id"], three[2]["id"]]


def test_many_cases_are_not_changed_if_one_is_missing(lead, failing, own_project, three):
    error = failing(
        "update_test_cases", project=own_project, caseIds=["C-1", "C-77", MISSING, three[1]["id"]], title="x"
    )
    assert error["code"] == "BULK_REFUSED"
    assert error["errors"] == [
        {"caseIds": ["C-77", MISSING], "code": "NOT_FOUND_OR_DENIED", "message": "not found or access denied"}
    ]
    assert "2 of 4" in error["message"]
    assert f"C-77, {MISSING}" in error["message"]
    titles = [item["title"] for item in lead.call("list_test_cases", project=own_project)["items"]]
    assert titles == ["Case 1", "Case 2", "Case 3"]


async def test_a_bad_value_for_many_cases_names_the_field_and_the_cases(lead, failing, own_project, three, sql):
    bare = await sql.new_template("Bare", project=own_project)
    lead.call("update_test_case", project=own_project, caseId="C-2", templateId=bare)
    error = failing(
        "update_test_cases",
        project=own_project,
        caseIds=[case["id"] for case in three],
        fields={"priority": "High", "preconditions": "None"},
    )
    assert error["code"] == "BULK_REFUSED"
    [one] = error["errors"]
    assert one["caseIds"] == ["C-2"]
    assert [part["field"] for part in one["errors"]] == ["priority", "preconditions"]
    assert "1 of 3" in error["message"]
    assert "C-2: Template Bare" in error["message"]
    assert lead.call("get_test_case", project=own_project, caseId="C-1")["version"] == 1
    error = failing("update_test_cases", project=own_project, caseIds=["C-1", "C-3"], fields={"priority": "Urgent"})
    assert error["errors"][0]["caseIds"] == ["C-1", "C-3"]
    assert "Field Priority" in error["message"]


def test_no_more_cases_than_expected_are_changed(lead, failing, own_project, three):
    ids = [case["id"] for case in three]
    lead.call("update_test_case", project=own_project, caseId="C-2", title="Same")
    error = failing("update_test_cases", project=own_project, caseIds=ids, title="Same", maxAffected=1)
    assert (error["code"], error["affected"]) == ("TOO_MANY_AFFECTED", 2)
    assert lead.call("get_test_case", project=own_project, caseId="C-1")["title"] == "Case 1"
    answer = lead.call("update_test_cases", project=own_project, caseIds=ids, title="Same", maxAffected=2)
    assert answer["changed"] == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "path"),
    [
        ("create_test_cases", {"cases": []}, "cases"),
        ("create_test_cases", {"cases": [{"title": "x"}] * 201}, "cases"),
        ("update_test_cases", {"caseIds": [], "title": "x"}, "caseIds"),
        ("update_test_cases", {"caseIds": list(range(1, 202)), "title": "x"}, "caseIds"),
        ("update_test_cases", {"caseIds": [1], "title": "x", "maxAffected": -1}, "maxAffected"),
    ],
)
def test_too_few_or_too_many_at_once_are_refused(failing, project, tool, arguments, path):
    error = failing(tool, project=project, **arguments)
    assert error["code"] == "INVALID_VALUE"
    assert error["errors"][0]["path"] == path


# Deleted cases


async def test_a_deleted_case_is_missing_everywhere(lead, failing, own_project, three, sql):
    await sql.rows("UPDATE cases SET deleted_at = now() WHERE id = $1", three[1]["id"])
    for arguments in ({"caseId": "C-2"}, {"caseId": three[1]["id"]}):
        for tool in ("get_test_case", "update_test_case"):
            assert failing(tool, project=own_project, **arguments)["code"] == "NOT_FOUND_OR_DENIED"
    assert lead.call("list_test_cases", project=own_project)["total"] == 2
    assert lead.call("search_test_cases", project=own_project, query="C-2")["total"] == 0
    assert new_case(lead, own_project)["number"] == "C-4"


# The latest result, links and comments


async def test_a_case_shows_its_latest_result_links_and_comments(lead, own_project, sql, acme):
    case = new_case(lead, own_project)
    user = acme.people["tester"].id
    run = await sql.value(
        "INSERT INTO runs (project_id, lifecycle_state_id, title, created_by) "
        "SELECT $1, id, 'Nightly', $2 FROM lifecycle_states WHERE context = 'RUNS' AND is_default RETURNING id",
        own_project, user,
    )  # fmt: skip
    await sql.rows(
        "INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id) "
        "SELECT $1, $2, $3, 1, id FROM statuses WHERE is_initial",
        run, case["id"], own_project,
    )  # fmt: skip
    for status in ("failed", "passed"):
        await sql.rows(
            "INSERT INTO results (run_id, case_id, case_version, status_id, created_by) "
            "SELECT $1, $2, 1, id, $3 FROM statuses WHERE system_name = $4",
            run, case["id"], user, status,
        )  # fmt: skip
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern) VALUES ('Tracker of cases', 'JIRA', '.*') RETURNING id"
    )
    issue = await sql.value(
        "INSERT INTO issues (project_id, source_id, key, url) VALUES ($1, $2, 'SHOP-1', 'https://t.example/SHOP-1') "
        "RETURNING id",
        own_project, source,
    )  # fmt: skip
    link = await sql.value(
        "INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by) "
        "SELECT $1, $2, id, $3, $4 FROM relations WHERE name = 'Covers' RETURNING id",
        own_project, issue, case["id"], user,
    )  # fmt: skip
    for deleted in ("NULL", "now()"):
        await sql.rows(
            "INSERT INTO comments (project_id, case_id, author_id, body, deleted_at) "
            f"VALUES ($1, $2, $3, 'Hm', {deleted})",
            own_project, case["id"], user,
        )  # fmt: skip
    shown = lead.call("get_test_case", project=own_project, caseId=case["id"])
    assert shown["commentCount"] == 1
    assert (shown["latestResult"]["status"], shown["latestResult"]["run"]) == ("Passed", "Nightly")
    assert shown["latestResult"]["runId"] == run
    assert shown["links"] == [
        {
            "id": link, "issueKey": "SHOP-1", "source": "Tracker of cases", "relation": "Covers",
            "url": "https://t.example/SHOP-1",
        }
    ]  # fmt: skip
    assert shown["version"] == 1
