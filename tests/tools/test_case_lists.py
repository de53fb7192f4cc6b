"""Listing and searching cases: filters, orders, pages, cursors, words; and that no answer floods its reader."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json

import pytest

from tests.conftest import ToolFailed
from tests.tools.conftest import new_case, new_folder

ORDERS = ["number", "-number", "title", "-title", "updated", "-updated"]
# Titles that sort and match badly where something is wrong; two are equal.
TITLES = [
    "Login works", "login works", "Login works", "Logout", "100% of 20_20", "100 of 2020", "C:\\temp", "C:/temp",
    "Größe ändern", "GRÖSSE", "Éclair", "😀 emoji", "שלום עולם", "12 angry testers", "x" * 255, " leading", "O'Brien",
    '"quoted"', "tab\there", "zebra",
]  # fmt: skip


@pytest.fixture(scope="module")
async def book(lead, project, sql):
    """The cases of the module's project, from the first number on."""
    made = lead.call("create_test_cases", project=project, cases=[{"title": title} for title in TITLES])
    # Times that differ, but for two, and not in the order of numbers.
    for index, item in enumerate(made["items"]):
        at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
            minutes=(index * 7) // 2 % 11, microseconds=index // 2
        )
        await sql.rows("UPDATE cases SET updated_at = $2 WHERE id = $1", item["id"], at)
    return made["items"]


def walk(client, tool, **arguments):
    """Return all pages' items, and the totals that the pages told."""
    items, totals = [], []
    cursor = {}
    while True:
        page = client.call(tool, **arguments, **cursor)
        items += page["items"]
        totals.append(page["total"])
        if "nextCursor" not in page:
            return items, totals
        cursor = {"cursor": page["nextCursor"]}


def numbers(items):
    return [int(item["number"][2:]) for item in items]


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.usefixtures("book")
def test_paging_shows_every_case_once_in_order_and_the_true_total(lead, project, sort, limit):
    items, totals = walk(lead, "list_test_cases", project=project, sort=sort, limit=limit)
    assert sorted(numbers(items)) == list(range(1, len(TITLES) + 1))
    assert set(totals) == {len(TITLES)}
    keys = [item[{"number": "id", "title": "title", "updated": "updatedAt"}[sort.lstrip("-")]] for item in items]
    assert keys == sorted(keys, reverse=sort.startswith("-"))


def test_without_sort_and_limit_the_first_fifty_come_by_number(lead, own_project):
    lead.call("create_test_cases", project=own_project, cases=[{"title": f"{n:03}"} for n in range(60)])
    page = lead.call("list_test_cases", project=own_project)
    assert numbers(page["items"]) == list(range(1, 51))
    assert page["total"] == 60
    rest = lead.call("list_test_cases", project=own_project, cursor=page["nextCursor"])
    assert numbers(rest["items"]) == list(range(51, 61))
    assert "nextCursor" not in rest


@pytest.mark.parametrize("sort", ORDERS)
def test_a_page_is_stable_while_cases_come_and_go(lead, own_project, sql, sort):
    lead.call("create_test_cases", project=own_project, cases=[{"title": f"m{n:03}"} for n in range(20)])
    seen, totals, cursor = [], [], {}
    for added in itertools.count():
        page = lead.call("list_test_cases", project=own_project, sort=sort, limit=3, **cursor)
        seen += [item["title"] for item in page["items"]]
        totals.append(page["total"])
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
        if added < 3:
            new_case(lead, own_project, f"a{added}")
            new_case(lead, own_project, f"z{added}")
    assert sql
    assert totals[:4] == [20, 22, 24, 26]
    old = [title for title in seen if title.startswith("m")]
    assert len(old) == len(set(old)) == 20
    assert len(seen) == len(set(seen))


@pytest.fixture(scope="module")
async def shelf(lead, sql):
    """A project with two folders in each other, tags, states, templates and field values."""
    project = await sql.new_project("shelf")
    outer = new_folder(lead, project, "Outer")["id"]
    inner = new_folder(lead, project, "Inner", parentId=outer)["id"]
    number = await sql.new_field("shelf_number", "INTEGER")
    choices = await sql.new_field("shelf_choices", "MULTI_SELECT", options={"a": "A", "b": "B", "c": "C"})
    severity = await sql.new_field("shelf_severity", "DROPDOWN", options={"s1": "S1"})
    template = await sql.new_template("Shelf", project=project, fields=(number, choices, severity))
    other = await sql.new_template("Other shelf", project=project, fields=(severity,))
    await sql.set_options(severity, "DROPDOWN", {"s2": "S2"}, template=other)
    draft = await sql.value("SELECT id FROM lifecycle_states WHERE name = 'Draft'")
    cases = [
        {"title": "1", "tags": ["smoke"], "fields": {"priority": "High"}},
        {"title": "2", "folderId": outer, "tags": ["smoke", "regression"]},
        {"title": "3", "folderId": inner, "lifecycleStateId": draft, "fields": {"priority": None}},
        {
            "title": "4",
            "folderId": inner,
            "templateId": template,
            "fields": {"shelf_number": 7, "shelf_choices": ["a"]},
        },
        {"title": "5", "templateId": template, "fields": {"shelf_choices": ["b", "a"], "shelf_severity": "S1"}},
        {"title": "6", "templateId": other, "fields": {"shelf_severity": "S2"}},
    ]
    lead.call("create_test_cases", project=project, cases=cases)
    return {"project": project, "outer": outer, "inner": inner, "template": template, "draft": draft, "other": other}


FILTERS = [
    ({}, "123456"),
    ({"folderId": 0}, "123456"),
    ({"folderId": 0, "includeSubfolders": False}, "156"),
    ({"folderId": "outer"}, "234"),
    ({"folderId": "outer", "includeSubfolders": False}, "2"),
    ({"folderId": "inner"}, "34"),
    ({"includeSubfolders": False}, "123456"),
    ({"templateId": "template"}, "45"),
    ({"lifecycleStateId": "draft"}, "3"),
    ({"tags": ["smoke"]}, "12"),
    ({"tags": ["SMOKE", "regression"]}, "2"),
    ({"tags": []}, "123456"),
    ({"fields": {"priority": "high"}}, "1"),
    ({"fields": {"Priority": "Medium"}}, "2"),
    ({"fields": {"shelf_number": "7"}}, "4"),
    ({"fields": {"shelf_choices": ["A"]}}, "45"),
    ({"fields": {"shelf_choices": ["a", "b"]}}, "5"),
    ({"fields": {"shelf_choices": "c"}}, ""),
    ({"fields": {"shelf_severity": "S1"}}, "5"),
    ({"fields": {"shelf_severity": "S2"}}, "6"),
    ({"fields": {}}, "123456"),
    ({"updatedSince": "2020-01-01"}, "123456"),
    ({"updatedSince": "2999-01-01T00:00:00Z"}, ""),
    ({"folderId": "outer", "templateId": "template", "fields": {"shelf_number": 7}}, "4"),
    ({"folderId": "outer", "tags": ["smoke"], "fields": {"priority": "Low"}}, ""),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=[json.dumps(f) for f, _ in FILTERS])
def test_all_filters_must_match_and_the_total_counts_them(lead, shelf, filters, expected):
    given = {name: shelf.get(value, value) if isinstance(value, str) else value for name, value in filters.items()}
    items, totals = walk(lead, "list_test_cases", project=shelf["project"], limit=2, **given)
    assert "".join(item["title"] for item in items) == expected
    assert set(totals) == {len(expected)}


def test_updated_since_the_time_that_an_answer_told_finds_that_case(lead, shelf):
    case = lead.call("get_test_case", project=shelf["project"], caseId="C-1")
    found = lead.call("list_test_cases", project=shelf["project"], updatedSince=case["updatedAt"])
    assert "C-1" in [item["number"] for item in found["items"]]


def test_an_item_is_short(lead, shelf):
    [item] = lead.call("list_test_cases", project=shelf["project"], folderId=shelf["outer"], tags=["smoke"])["items"]
    assert set(item) == {
        "id",
        "number",
        "title",
        "folder",
        "lifecycleState",
        "priority",
        "tags",
        "updatedAt",
        "version",
    }
    assert item["folder"] == {"id": shelf["outer"], "name": "Outer"}
    assert (item["lifecycleState"], item["priority"], item["tags"]) == ("Ready", "Medium", ["regression", "smoke"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "red"}, "priority"),
        ({"steps": ["x"]}, "priority"),
        ({"priority": "Urgent"}, "Critical, High"),
        ({"priority": None}, "a value to filter by"),
        ({"shelf_number": "x"}, "no number"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_what_can(failing, shelf, fields, words):
    error = failing("list_test_cases", project=shelf["project"], fields=fields)
    assert error["code"] == "INVALID_VALUE"
    assert words in error["message"]


# Cursors


@pytest.fixture(scope="module")
def first_page(lead, book, project):
    assert book
    return lead.call("list_test_cases", project=project, sort="title", limit=2)


OTHER_QUERIES = [
    {"sort": "-title"},
    {"sort": "number"},
    {"sort": "title", "folderId": 0, "includeSubfolders": False},
    {"sort": "title", "tags": ["smoke"]},
    {"sort": "title", "fields": {"priority": "High"}},
    {"sort": "title", "updatedSince": "2020-01-01"},
]


@pytest.mark.parametrize("query", OTHER_QUERIES, ids=json.dumps)
def test_a_cursor_is_bound_to_its_query(failing, project, first_page, query):
    error = failing("list_test_cases", project=project, cursor=first_page["nextCursor"], **query)
    assert error["code"] == "INVALID_CURSOR"
    assert "leave it out" in error["message"]


def test_a_cursor_is_bound_to_its_project_and_tool_but_not_to_the_limit(
    lead, failing, project, own_project, first_page
):
    cursor = first_page["nextCursor"]
    assert failing("list_test_cases", project=own_project, sort="title", cursor=cursor)["code"] == "INVALID_CURSOR"
    assert failing("search_test_cases", project=project, query="o", cursor=cursor)["code"] == "INVALID_CURSOR"
    more = lead.call("list_test_cases", project=project, sort="title", limit=100, cursor=cursor)
    assert len(more["items"]) == len(TITLES) - 2


def test_a_cursor_works_for_another_key(person, project, first_page):
    more = person("viewer").call("list_test_cases", project=project, sort="title", cursor=first_page["nextCursor"])
    assert more["total"] == len(TITLES)


def encoded(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def garbage(cursor):
    """Yield cursors that are none of ours."""
    check, *key = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    yield from ("x", "====", "null", "W10", "😀", "a" * 1000, cursor[:-3], cursor.swapcase(), "-_-_", " ")
    for other in ([], {}, "text", 5, None, [check], [[check], *key], [check, *reversed(key)], [check, *key, 1]):
        yield encoded(other)
    deep = b'["' + check.encode() + b'",' + b"[" * 300 + b"]" * 300 + b"]"
    yield base64.urlsafe_b64encode(deep).decode().rstrip("=")
    for value in (None, True, -1, 2**63, 10**30, "\x00", "b", [1], {"a": 1}, 1.5):
        yield encoded([check, key[0], value])
        yield encoded([check, value, key[1]])


def test_a_cursor_that_is_none_is_refused(lead, project, first_page):
    answers = set()
    for cursor in garbage(first_page["nextCursor"]):
        with pytest.raises(ToolFailed) as raised:
            lead.call("list_test_cases", project=project, sort="title", cursor=cursor)
        answers.add(raised.value.code)
    assert answers == {"INVALID_CURSOR"}


# Searching


SEARCHES = [
    ("login", [0, 1, 2]),
    ("LOGIN works", [0, 1, 2]),
    ("works  login", [0, 1, 2]),
    ("ogi", [0, 1, 2]),
    ("log", [0, 1, 2, 3]),
    ("log out", [3]),
    ("100%", [4]),
    ("%", [4]),
    ("_", [4]),
    ("20_20", [4]),
    ("2020", [5]),
    ("\\", [6]),
    ("c:\\T", [6]),
    ("c:/", [7]),
    ("größe", [8]),
    ("ÄNDERN", [8]),
    ("éclair", [10]),
    ("😀", [11]),
    ("שלום", [12]),
    ("12", [11, 13]),
    ("C-12", [11]),
    ("c-12", [11]),
    ("C-012", [11]),
    ("4", [3]),
    ("999999999", []),
    ("99999999999999999999", []),
    ("angry 12", [13]),
    ("C-99", []),
    ("o'b", [16]),
    ('"', [17]),
    ("nothing like it", []),
    ("login zebra", []),
    ("x" * 200, [14]),
]


@pytest.mark.parametrize(("query", "expected"), SEARCHES, ids=[query[:20] for query, _ in SEARCHES])
def test_search_matches_every_word_anywhere_literally_and_the_number_first(lead, project, book, query, expected):
    items, totals = walk(lead, "search_test_cases", project=project, query=query, limit=1)
    assert [item["number"] for item in items] == [book[index]["number"] for index in expected]
    assert set(totals) == {len(expected)}


@pytest.mark.parametrize("query", ["", "   ", "x" * 201])
def test_a_query_must_have_words_but_not_too_many(failing, project, query):
    assert failing("search_test_cases", project=project, query=query)["errors"][0]["path"] == "query"


# Size


def tokens(answer):
    return len(json.dumps(answer, ensure_ascii=False, separators=(",", ":"))) / 4


@pytest.fixture(scope="module")
async def heavy(lead, sql):
    """A project of 200 cases with titles of 255 characters, and all that a list shows at its longest."""
    project = await sql.new_project("heavy")
    names = [f"heavy-{n:02}-{'x' * 40}" for n in range(50)]
    await sql.rows("INSERT INTO tags (context, name) SELECT 'REPOSITORY', n FROM unnest($1::text[]) n", names)
    folder = new_folder(lead, project, "F" * 255)["id"]
    cases = [{"title": "x" * 255, "folderId": folder, "tags": names[: n % 51]} for n in range(200)]
    made = lead.call("create_test_cases", project=project, cases=cases)
    yield project, made
    await sql.rows("DELETE FROM tags WHERE name = ANY ($1)", names)


@pytest.mark.parametrize(("limit", "most"), [({}, 5_000), ({"limit": 20}, 5_000), ({"limit": 200}, 20_000)])
@pytest.mark.parametrize(("tool", "query"), [("list_test_cases", {}), ("search_test_cases", {"query": "xx"})])
def test_a_page_floods_nobody_and_nothing_is_lost_between_pages(*, lead, heavy, tool, query, limit, most):
    project, _ = heavy
    seen, cursor = [], {}
    while True:
        page = lead.call(tool, project=project, **query, **limit, **cursor)
        assert tokens(page) < most
        assert page["items"]
        seen += numbers(page["items"])
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == list(range(1, 201))


def test_what_many_writes_return_is_cut_and_says_so(heavy):
    _, made = heavy
    assert tokens(made) < 20_000
    assert made["total"] == 200
    assert len(made["items"]) < 200
    assert f"Only {len(made['items'])} of 200" in made["truncated"]


def test_the_largest_case_can_be_stored_read_and_changed_and_a_larger_one_cannot(lead, failing, heavy):
    project, made = heavy
    tags = [f"heavy-{n:02}-{'x' * 40}" for n in range(50)]
    steps = [{"step": "s" * 140, "expectedResult": "e" * 110} for _ in range(200)]
    case = new_case(lead, project, "t" * 255, fields={"steps": steps}, tags=tags)
    assert len(case["fields"]["steps"]) == 200
    shown = lead.call("get_test_case", project=project, caseId=case["id"])
    assert shown == case
    assert 12_000 < tokens(shown) < 20_000
    after = lead.call("update_test_case", project=project, caseId=case["id"], title="u" * 255)
    assert after["fields"] == case["fields"]
    larger = {"steps": [{"step": "s" * 140, "expectedResult": "e" * 140}] * 200}
    for tool, arguments in [
        ("create_test_case", {"title": "x"}),
        ("update_test_case", {"caseId": case["id"]}),
        ("update_test_cases", {"caseIds": [made["items"][0]["id"], case["id"]]}),
        ("create_test_cases", {"cases": [{"title": "x", "fields": larger}, {"title": "y"}]}),
    ]:
        fields = {} if "cases" in arguments else {"fields": larger}
        error = failing(tool, project=project, **arguments, **fields)
        assert "60,000" in error["message"]


def test_a_case_as_large_as_can_be_stored_can_be_changed(lead, failing, heavy):
    project, _ = heavy
    room = 60_000 - len('{"preconditions":"","priority":"Medium","steps":[{"step":"' + '"}]}')
    parts = [20_000, 20_000, room - 40_000 - len('"},{"step":"')]
    fields = {"preconditions": "p" * parts[0], "steps": ["s" * parts[1], "s" * parts[2]]}
    case = new_case(lead, project, fields=fields)
    assert lead.call("update_test_case", project=project, caseId=case["id"], title="x")["version"] == 2
    lead.call("update_test_case", project=project, caseId=case["id"], fields={"priority": "High"})
    failing("update_test_case", project=project, caseId=case["id"], fields={"preconditions": "p" * 20_000, "priority": "Critical"})  # fmt: skip  # noqa: E501


async def test_a_case_with_very_many_links_shows_as_many_as_fit_and_says_so(lead, heavy, sql, acme):
    project, _ = heavy
    case = new_case(lead, project, fields={"preconditions": "p" * 20_000, "steps": ["s" * 20_000, "s" * 15_000]})
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern) VALUES ('Heavy', 'JIRA', '.*') RETURNING id"
    )
    await sql.rows(
        """
        WITH made AS (
            INSERT INTO issues (project_id, source_id, key, url)
            SELECT $1, $2, 'KEY-' || n, 'https://tracker.example/' || repeat('u', 500) FROM generate_series(1, 300) n
            RETURNING id
        )
        INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by)
        SELECT $1, made.id, r.id, $3, $4 FROM made, relations r WHERE r.name = 'Covers'
        """,
        project,
        source,
        case["id"],
        acme.people["lead"].id,
    )
    for shown in (
        lead.call("get_test_case", project=project, caseId=case["id"]),
        lead.call("update_test_case", project=project, caseId=case["id"], title="Linked"),
    ):
        assert tokens(shown) < 20_000
        assert 0 < len(shown["links"]) < 300
        assert f"Only {len(shown['links'])} of 300 links" in shown["truncated"]
        assert len(shown["fields"]["preconditions"]) == 20_000
