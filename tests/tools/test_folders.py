"""The folder tree: creating, renaming, moving, ordering, deleting, and what two who do so at once get."""

from __future__ import annotations

import json

import pytest

from tests.conftest import MISSING, ToolFailed
from tests.tools.conftest import new_case, new_folder


@pytest.fixture
def tree(lead, own_project):
    """Makes folders by paths such as A / B; returns the ids by name."""

    def make(*paths):
        ids = {}
        for path in paths:
            *above, name = path.split(" / ")
            parent = {"parentId": ids[above[-1]]} if above else {}
            ids[name] = new_folder(lead, own_project, name, **parent)["id"]
        return ids

    return make


def paths(client, project, **arguments):
    return [item["path"] for item in client.call("get_folders", project=project, **arguments)["items"]]


def test_the_tree_is_listed_depth_first_with_paths_and_the_cases_directly_in_each(lead, own_project, tree):
    ids = tree("B", "B / D", "B / C", "B / C / E", "A")
    new_case(lead, own_project, folderId=ids["C"])
    new_case(lead, own_project, folderId=ids["C"])
    new_case(lead, own_project, folderId=ids["E"])
    listed = lead.call("get_folders", project=own_project)
    assert listed == {
        "items": [
            {"id": ids["B"], "name": "B", "path": "B", "caseCount": 0},
            {"id": ids["D"], "name": "D", "parentId": ids["B"], "path": "B / D", "caseCount": 0},
            {"id": ids["C"], "name": "C", "parentId": ids["B"], "path": "B / C", "caseCount": 2},
            {"id": ids["E"], "name": "E", "parentId": ids["C"], "path": "B / C / E", "caseCount": 1},
            {"id": ids["A"], "name": "A", "path": "A", "caseCount": 0},
        ],
        "total": 5,
    }
    assert paths(lead, own_project, parentId=ids["B"]) == ["B / D", "B / C", "B / C / E"]
    assert paths(lead, own_project, parentId=ids["E"]) == []
    assert paths(lead, own_project, parentId=0) == paths(lead, own_project)


def test_an_empty_tree_is_an_empty_list(lead, own_project):
    assert lead.call("get_folders", project=own_project) == {"items": [], "total": 0}


async def test_of_a_tree_that_floods_the_upper_levels_are_shown_and_the_rest_by_branch(lead, own_project, sql):
    await sql.rows(
        """
        WITH top AS (
            INSERT INTO folders (project_id, name, position)
            SELECT $1, 'Top ' || n || repeat('x', 100), n FROM generate_series(1, 40) n RETURNING id, position
        )
        INSERT INTO folders (project_id, parent_id, depth, name, position)
        SELECT $1, top.id, 2, 'Sub ' || n || repeat('y', 100), n FROM top, generate_series(1, 20) n
        """,
        own_project,
    )
    listed = lead.call("get_folders", project=own_project)
    assert len(json.dumps(listed)) < 80_000
    assert listed["total"] == 840
    assert len(listed["items"]) == 40
    assert "parentId" in listed["truncated"]
    branch = lead.call("get_folders", project=own_project, parentId=listed["items"][7]["id"])
    assert branch["total"] == len(branch["items"]) == 20
    assert "truncated" not in branch


def test_a_folder_is_created_last_among_its_siblings(lead, own_project, tree):
    ids = tree("A", "A / B")
    made = new_folder(lead, own_project, "C", parentId=ids["A"], description="What C holds")
    assert made["path"] == "A / C"
    assert (made["parentId"], made["position"], made["caseCount"], made["version"]) == (ids["A"], 1, 0, 1)
    assert made["description"] == "What C holds"
    assert "description" not in new_folder(lead, own_project, "D", parentId=0)
    assert paths(lead, own_project) == ["A", "A / B", "A / C", "D"]


def test_two_folders_may_have_one_name(lead, own_project, tree):
    tree("A")
    assert new_folder(lead, own_project, "A")["position"] == 1


def test_what_is_not_sent_stays(lead, own_project, tree):
    ids = tree("A", "B")
    folder = new_folder(lead, own_project, "C", parentId=ids["A"], description="Kept")
    update = {"project": own_project, "folderId": folder["id"]}
    renamed = lead.call("update_folder", **update, name="Renamed")
    assert (renamed["name"], renamed["description"], renamed["parentId"]) == ("Renamed", "Kept", ids["A"])
    assert renamed["version"] == 2
    cleared = lead.call("update_folder", **update, description="")
    assert (cleared["name"], cleared.get("description"), cleared["version"]) == ("Renamed", None, 3)
    moved = lead.call("update_folder", **update, parentId=ids["B"])
    assert (moved["path"], moved["version"]) == ("B / Renamed", 4)
    assert lead.call("update_folder", **update, name="Renamed", parentId=ids["B"], position=0) == moved
    assert lead.call("update_folder", **update) == moved


def test_a_move_takes_the_subtree_along(lead, own_project, tree):
    ids = tree("A", "A / B", "A / B / C", "D")
    moved = lead.call("update_folder", project=own_project, folderId=ids["B"], parentId=ids["D"])
    assert moved["path"] == "D / B"
    assert paths(lead, own_project) == ["A", "D", "D / B", "D / B / C"]
    at_root = lead.call("update_folder", project=own_project, folderId=ids["B"], parentId=0)
    assert "parentId" not in at_root
    assert paths(lead, own_project) == ["A", "D", "B", "B / C"]


@pytest.mark.parametrize("target", ["A", "B", "C"])
def test_a_move_under_itself_or_below_is_refused(lead, failing, own_project, tree, target):
    ids = tree("A", "A / B", "A / B / C")
    error = failing("update_folder", project=own_project, folderId=ids["A"], parentId=ids[target])
    assert error["code"] == "INVALID_MOVE"
    assert "parentId" in error["message"]
    assert paths(lead, own_project) == ["A", "A / B", "A / B / C"]


def test_folders_nest_twenty_levels_deep_and_no_deeper(lead, failing, own_project):
    chain = [0]
    for level in range(20):
        chain.append(new_folder(lead, own_project, f"L{level + 1}", parentId=chain[-1])["id"])
    error = failing("create_folder", project=own_project, name="L21", parentId=chain[-1])
    assert error["code"] == "INVALID_MOVE"
    assert "20 levels" in error["message"]
    pair = new_folder(lead, own_project, "Pair")["id"]
    new_folder(lead, own_project, "Below", parentId=pair)
    assert failing("update_folder", project=own_project, folderId=pair, parentId=chain[19])["code"] == "INVALID_MOVE"
    deep = lead.call("update_folder", project=own_project, folderId=pair, parentId=chain[18])
    assert deep["path"].count(" / ") == 18


ORDERINGS = [
    ({"folderId": "C", "position": 0}, "CABD"),
    ({"folderId": "C", "position": 1}, "ACBD"),
    ({"folderId": "A", "position": 2}, "BCAD"),
    ({"folderId": "A", "position": 3}, "BCDA"),
    ({"folderId": "A", "position": 10_000}, "BCDA"),
    ({"folderId": "B", "position": 1}, "ABCD"),
]


@pytest.mark.parametrize(("change", "expected"), ORDERINGS, ids=[f"{c['folderId']} to {c['position']}" for c, _ in ORDERINGS])  # fmt: skip  # noqa: E501
def test_siblings_are_ordered(lead, own_project, tree, change, expected):
    ids = tree("A", "B", "C", "D")
    answer = lead.call(
        "update_folder", project=own_project, folderId=ids[change["folderId"]], position=change["position"]
    )
    assert "".join(paths(lead, own_project)) == expected
    assert answer["position"] == expected.index(change["folderId"])


def test_a_folder_is_moved_to_a_place_among_its_new_siblings(lead, own_project, tree):
    ids = tree("A", "A / B", "A / C", "D", "D / E")
    lead.call("update_folder", project=own_project, folderId=ids["E"], parentId=ids["A"], position=1)
    assert paths(lead, own_project) == ["A", "A / B", "A / E", "A / C", "D"]
    lead.call("update_folder", project=own_project, folderId=ids["D"], parentId=ids["A"])
    assert paths(lead, own_project)[-1] == "A / D"


def test_only_an_empty_folder_is_deleted(lead, failing, own_project, tree):
    ids = tree("A", "A / B")
    case = new_case(lead, own_project, folderId=ids["B"])
    error = failing("delete_folder", project=own_project, folderId=ids["A"])
    assert (error["code"], error["folders"], error["cases"]) == ("FOLDER_NOT_EMPTY", 1, 0)
    error = failing("delete_folder", project=own_project, folderId=ids["B"])
    assert (error["code"], error["folders"], error["cases"]) == ("FOLDER_NOT_EMPTY", 0, 1)
    assert "update_test_cases" in error["message"]
    lead.call("update_test_case", project=own_project, caseId=case["id"], folderId=0)
    gone = lead.call("delete_folder", project=own_project, folderId=ids["B"])
    assert (gone["path"], gone["deleted"]) == ("A / B", True)
    assert failing("delete_folder", project=own_project, folderId=ids["B"])["code"] == "NOT_FOUND_OR_DENIED"
    assert paths(lead, own_project) == ["A"]


async def test_a_deleted_case_keeps_no_folder_from_being_deleted(lead, own_project, tree, sql):
    ids = tree("A")
    case = new_case(lead, own_project, folderId=ids["A"])
    await sql.rows("UPDATE cases SET deleted_at = now() WHERE id = $1", case["id"])
    assert lead.call("delete_folder", project=own_project, folderId=ids["A"])["deleted"] is True


def test_a_renamed_folder_shows_in_the_paths_of_cases_without_new_versions_of_them(lead, own_project, tree):
    ids = tree("A", "A / B")
    case = new_case(lead, own_project, folderId=ids["B"])
    assert case["folder"] == {"id": ids["B"], "path": "A / B"}
    lead.call("update_folder", project=own_project, folderId=ids["A"], name="Z")
    after = lead.call("get_test_case", project=own_project, caseId=case["id"])
    assert (after["folder"]["path"], after["version"]) == ("Z / B", 1)


def test_an_update_made_from_an_old_version_is_refused_with_who_and_when(lead, person, failing, own_project, tree):
    ids = tree("A")
    theirs = person("tester").call("update_folder", project=own_project, folderId=ids["A"], name="Theirs")
    error = failing("update_folder", project=own_project, folderId=ids["A"], name="Mine", expectedVersion=1)
    assert (error["code"], error["currentVersion"], error["changedBy"]) == ("VERSION_CONFLICT", 2, "Tester")
    assert error["changedAt"] == theirs["updatedAt"]
    assert (
        lead.call("update_folder", project=own_project, folderId=ids["A"], name="Mine", expectedVersion=2)["version"]
        == 3
    )


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_folder", {"name": "New"}),
        ("update_folder", {"folderId": "A", "name": "New"}),
        ("update_folder", {"folderId": "B", "parentId": 0, "position": 0}),
        ("delete_folder", {"folderId": "B"}),
    ],
)
def test_a_dry_run_answers_as_if_and_stores_nothing(lead, own_project, tree, tool, arguments):
    ids = tree("A", "A / B")
    before = lead.call("get_folders", project=own_project)
    given = {name: ids.get(value, value) for name, value in arguments.items()}
    dry = lead.call(tool, project=own_project, **given, dryRun=True)
    assert dry.pop("dryRun") is True
    assert lead.call("get_folders", project=own_project) == before
    real = lead.call(tool, project=own_project, **given)
    volatile = {"id", "createdAt", "updatedAt"}
    assert {k: v for k, v in dry.items() if k not in volatile} == {k: v for k, v in real.items() if k not in volatile}


@pytest.mark.parametrize("tool", ["create_folder", "update_folder", "get_folders"])
def test_a_missing_parent_is_not_found(lead, failing, own_project, tree, tool):
    ids = tree("A")
    arguments = {"create_folder": {"name": "x"}, "update_folder": {"folderId": ids["A"]}, "get_folders": {}}[tool]
    error = failing(tool, project=own_project, parentId=MISSING, **arguments)
    assert error["code"] == "NOT_FOUND_OR_DENIED"
    assert paths(lead, own_project) == ["A"]


# At once


def test_opposite_moves_at_once_never_make_a_cycle(lead, own_project, tree, at_once):
    for attempt in range(8):
        ids = tree(f"A{attempt}", f"B{attempt}")
        a, b = ids.values()
        answers = at_once(
            [
                lambda client, a=a, b=b: client.call("update_folder", project=own_project, folderId=a, parentId=b),
                lambda client, a=a, b=b: client.call("update_folder", project=own_project, folderId=b, parentId=a),
            ]
        )
        failed = [answer for answer in answers if isinstance(answer, ToolFailed)]
        assert [answer.code for answer in failed] == ["INVALID_MOVE"]
    listed = lead.call("get_folders", project=own_project)
    assert listed["total"] == 16
    assert max(item["path"].count(" / ") for item in listed["items"]) == 1


def test_moves_in_a_ring_at_once_never_make_a_cycle(lead, own_project, tree, at_once):
    ids = list(tree(*"ABCDEF").values())
    ring = list(zip(ids, [*ids[1:], ids[0]], strict=True))
    answers = at_once(
        [
            lambda client, f=folder, p=parent: client.call("update_folder", project=own_project, folderId=f, parentId=p)
            for folder, parent in ring
        ]
    )
    assert sum(isinstance(answer, ToolFailed) for answer in answers) == 1
    assert lead.call("get_folders", project=own_project)["total"] == 6


def test_folders_created_at_once_have_places_of_their_own(lead, own_project, at_once):
    made = at_once([lambda client, n=n: new_folder(client, own_project, f"{n}") for n in range(8)])
    assert sorted(folder["position"] for folder in made) == list(range(8))
    assert lead.call("get_folders", project=own_project)["total"] == 8


def test_a_folder_is_either_deleted_or_filled(lead, own_project, tree, at_once):
    for attempt in range(8):
        folder = tree(f"F{attempt}")[f"F{attempt}"]
        answers = at_once(
            [
                lambda client, f=folder: client.call("delete_folder", project=own_project, folderId=f),
                lambda client, f=folder: new_case(client, own_project, folderId=f),
                lambda client, f=folder: new_folder(client, own_project, parentId=f),
            ]
        )
        codes = [answer.code if isinstance(answer, ToolFailed) else "done" for answer in answers]
        if codes[0] == "done":
            assert set(codes[1:]) <= {"NOT_FOUND_OR_DENIED", "BUSY"}
        else:
            assert codes[0] in {"FOLDER_NOT_EMPTY", "BUSY"}
            assert "done" in codes[1:]
    listed = {item["id"] for item in lead.call("get_folders", project=own_project)["items"]}
    for item in lead.call("list_test_cases", project=own_project)["items"]:
        assert item["folder"]["id"] in listed
