"""The pages of projects: what they show, to whom, and that what is stored comes out as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from service.access import Permission
from tests.conftest import MISSING
from tests.tools.conftest import Sql
from tests.web.stages import HOSTILE, PAGES, Stage, make_stage
from tests.web.visiting import sign_in

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
# Which pages have names that are stored, so that hostile ones must be seen on them.
UNNAMED = {"/coverage", "/runs/{run}/progress"}


class Seen(HTMLParser):
    """What a browser makes of a page. Raises if elements are not closed as they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)

    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.elements if tag == "a" and attributes.get("href")]


def looked_at(html: str) -> Seen:
    """Return the page, which has nothing that the Content-Security-Policy refuses, and no id twice."""
    seen = Seen(html)
    for tag, attributes in seen.elements:
        assert tag not in {"style", "iframe", "object", "embed", "base", "img"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if tag == "script":
            assert attributes["src"].startswith("/static/")
        for name in ("href", "src", "action"):
            assert not re.match(r"\s*(javascript|data|vbscript):", attributes.get(name) or "", re.IGNORECASE)
    ids = [attributes["id"] for _, attributes in seen.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert "54439" not in html
    return seen


@pytest.fixture(scope="module")
def client(acme):
    made = acme.client()
    yield made
    made.close()


@pytest.fixture(scope="module")
async def stage(sql, client):
    return await make_stage(sql, client)


@pytest.fixture(scope="module")
async def other_stage(sql, client):
    return await make_stage(sql, client, name="Other")


@pytest.fixture(scope="module")
async def foreign_stage(connection, globex):
    client = globex.client()
    try:
        return await make_stage(Sql(connection, globex.workspace.schema_name), client, name="Foreign")
    finally:
        client.close()


@pytest.fixture(scope="module")
def stages(stage, other_stage, foreign_stage):
    return stage, other_stage, foreign_stage


@pytest.fixture(scope="module")
async def visitors(connection, sql, acme):
    """The people of acme, signed in, by name; another viewer, since that one has no password."""
    viewer = await sql.value(
        "INSERT INTO users (email, name, role_id) SELECT 'reads@acme.example', 'Reads', r.id FROM roles r "
        "WHERE r.name = 'Viewer' RETURNING id"
    )
    ids = {name: person.id for name, person in acme.people.items()} | {"viewer": viewer}
    return {name: await sign_in(connection, acme, user) for name, user in ids.items()}


@pytest.fixture
def lead(visitors):
    return visitors["lead"]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_stored_is_shown_as_text(lead, stage, page):
    answer = lead.get(stage.path(page))
    assert answer.status == 200
    seen = looked_at(answer.body)
    if page not in UNNAMED:
        assert HOSTILE[:40] in seen.text
    assert "<script>alert" not in answer.body
    assert "<img" not in answer.body


def test_the_list_of_projects_shows_those_that_one_may_enter(lead, stage, acme):
    seen = looked_at(lead.get().body)
    assert HOSTILE[:40] in seen.text
    assert f"/w/acme/projects/{stage.project}" in seen.links()
    assert f"/w/acme/projects/{acme.projects['secret']}" not in seen.links()


async def test_a_project_is_entered_by_the_first_page_that_one_may_see(probe, stage):
    for permissions, start in ((["VIEW_CYCLES", "VIEW_TEST_RUNS"], "/runs"), (["VIEW_DASHBOARD"], "")):
        visitor = await probe(permissions)
        assert f"/w/acme/{stage.path('')}{start}" in looked_at(visitor.get().body).links()
    seen = looked_at((await probe([])).get().body)
    assert HOSTILE[:40] in seen.text
    assert not [link for link in seen.links() if "/projects/" in link]


async def test_somebody_without_a_project_is_told_what_to_do(connection, sql, acme):
    user = await sql.value(
        "INSERT INTO users (email, name, role_id) SELECT 'alone@acme.example', 'Alone', r.id FROM roles r "
        "WHERE r.is_default RETURNING id"
    )
    await sql.rows(
        "INSERT INTO project_members (project_id, user_id, mode) SELECT p.id, $1, 'NO_ACCESS' FROM projects p", user
    )
    visitor = await sign_in(connection, acme, user)
    assert "You are in no project yet" in looked_at(visitor.get().body).words()


@pytest.mark.parametrize("page", PAGES)
def test_what_may_not_be_seen_is_answered_as_what_is_not_there(visitors, acme, stages, page):
    stage, other_stage, foreign_stage = stages
    lead = visitors["lead"]
    missing = lead.get(f"projects/{MISSING}")
    assert missing.status == 404
    wrong = [
        Stage(project, stage.ids).path(page)
        for project in (MISSING, acme.projects["secret"], foreign_stage.project, other_stage.project)
    ]
    kinds = re.findall(r"{(\w+)}", page)
    if not kinds:
        wrong.pop()
    for kind in kinds:
        wrong_ids = [MISSING, 0, 2**63, 10**30, stage.project]
        wrong_ids += [number for other, number in stage.ids.items() if other != kind]
        wrong_ids += [*other_stage.ids.values(), *foreign_stage.ids.values()]
        # What is no number is no filter, and what is too large for one is none either.
        wrong += [stage.path(page, **{kind: number}) for number in wrong_ids if kind != "folder" or number < 2**63]
    for path in wrong:
        if path.endswith("folder=0"):
            continue
        answer = lead.get(path)
        assert (answer.status, answer.body) == (404, missing.body), path
    # The outsider is shut out of one project only, and of that one wholly.
    outside = visitors["outsider"].get(f"projects/{acme.project}{page.format(**stage.ids)}")
    assert (outside.status, outside.body) == (404, missing.body)


@pytest.fixture(scope="module")
async def probe(connection, sql, acme):
    """Somebody whose permissions tests set; returns the visitor, and sets them."""
    role = await sql.value("INSERT INTO roles (name, permissions) VALUES ('Probe', '{}') RETURNING id")
    user = await sql.value(
        "INSERT INTO users (email, name, role_id) VALUES ('probe@acme.example', 'Probe', $1) RETURNING id", role
    )
    visitor = await sign_in(connection, acme, user)

    async def with_permissions(permissions):
        await sql.rows("UPDATE roles SET permissions = $2 WHERE id = $1", role, list(permissions))
        return visitor

    return with_permissions


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_needs_its_permissions_and_no_other(probe, stage, page):
    visitor = await probe(PAGES[page])
    assert looked_at(visitor.get(stage.path(page)).body)
    assert visitor.get(stage.path(page)).status == 200
    for lacking in PAGES[page]:
        visitor = await probe({permission.value for permission in Permission} - {lacking})
        answer = visitor.get(stage.path(page))
        assert answer.status == 404
        assert answer.body == visitor.get(f"projects/{MISSING}").body


async def test_only_tabs_that_one_may_open_are_shown_and_all_links_lead_on(probe, stage):
    for held in set(PAGES.values()):
        visitor = await probe(held)
        reachable = [page for page, needed in PAGES.items() if set(needed) <= set(held)]
        links = {link for page in reachable for link in looked_at(visitor.get(stage.path(page)).body).links()}
        for link in links:
            if link.startswith(f"{visitor.root}/projects/"):
                assert visitor.get(link.removeprefix(f"{visitor.root}/")).status == 200, (held, link)


async def test_the_dashboard_tells_nothing_of_what_one_may_not_see(probe, stage):
    visitor = await probe(["VIEW_DASHBOARD"])
    seen = looked_at(visitor.get(stage.path("")).body)
    for hidden in ("Open runs", "Test cases", "recorded", "Coverage", "created a case"):
        assert hidden not in seen.words()


async def test_the_dashboard_does_not_tell_what_administrators_do(lead, sql, acme, other_stage):
    await sql.rows(
        "INSERT INTO audit_log (user_id, tool, action, object_type, object_id, project_id) "
        "VALUES ($1, 'cli', 'update', 'project_rule', 1, $2)",
        acme.people["viewer"].id,
        other_stage.project,
    )
    assert "Viewer" not in looked_at(lead.get(other_stage.path("")).body).words()


def test_pages_say_when_and_by_which_key(lead, stage):
    for page in ("", "/cases/{case}?tab=results", "/cases/{case}?tab=history"):
        seen = looked_at(lead.get(stage.path(page)).body)
        assert re.search(r"\d\d \w{3} \d{4}, \d\d:\d\d UTC", seen.text)
        assert "key lead" in seen.words()


def test_a_run_shows_what_the_tools_say_of_it(lead, client, stage):
    run = client.call("get_test_run", project=stage.project, runId=stage.ids["run"])
    words = looked_at(lead.get(stage.path("/runs/{run}")).body).words()
    assert f"{100 * run['progress']:.0f}%" in words
    assert "1 failed case without a linked defect" in words
    assert "BUG-7" in words
    assert "C-2" in words


def test_a_history_tells_words_that_changed(lead, stage):
    body = lead.get(stage.path("/cases/{case}?tab=history")).body
    assert "<ins>Changed </ins>" in body
    assert "Step 2 added" in body
    first = lead.get(stage.path("/cases/{case}?tab=history&version=1"))
    assert first.status == 200
    for version in (0, 3, MISSING):
        assert lead.get(stage.path(f"/cases/{{case}}?tab=history&version={version}")).status in {200, 404}


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=%00",
        "sort=no",
        "folder=x",
        "folder=-1",
        "state=999999",
        "tag=1e3",
        "tag=99",
        "q=%00%ff",
        "q=",
    ],
)
def test_a_filter_that_is_none_is_refused_or_ignored(lead, stage, query):
    answer = lead.get(stage.path(f"/cases?{query}"))
    assert answer.status in {200, 404, 422}
    assert "Traceback" not in answer.body
    Seen(answer.body)


@pytest.fixture(scope="module")
async def long_stage(sql, client):
    """A project with more of everything than fits on a page."""
    project = await sql.new_project("Long")
    drafts = [{"title": f"Case number {n:03}"} for n in range(1, 121)]
    client.call("create_test_cases", project=project, cases=drafts)
    run = client.call("start_test_run", project=project, title="All", includeAll=True)["id"]
    for number in range(55):
        client.call("start_test_run", project=project, title=f"Run {number:02}", caseIds=["C-1"])
    for number in range(55):
        client.call("add_comment", project=project, caseId="C-1", body=f"Comment {number:02}")
    first = client.call("get_test_case", project=project, caseId="C-1")["id"]
    return Stage(project, {"run": run, "case": first})


@pytest.mark.parametrize(
    ("page", "pattern", "number"),
    [
        ("/cases", r"Case number \d{3}", 120),
        ("/cases?q=number+case", r"Case number \d{3}", 120),
        ("/cases?sort=-updated", r"Case number \d{3}", 120),
        ("/runs", r"Run \d\d", 55),
        ("/runs/{run}", r"Case number \d{3}", 120),
        ("/cases/{case}", r"Comment \d\d", 55),
        ("/traceability/gaps?kind=CASES_NEVER_RUN", r"Case number \d{3}", 120),
    ],
)
def test_pages_of_a_list_lead_through_all_of_it(lead, long_stage, page, pattern, number):
    found, path, pages = set(), long_stage.path(page), 0
    while path:
        answer = lead.get(path)
        assert answer.status == 200
        seen = looked_at(answer.body)
        found |= set(re.findall(pattern, seen.text))
        following = [a["href"] for tag, a in seen.elements if tag == "a" and a.get("rel") == "next"]
        path = following[0].removeprefix(f"{lead.root}/") if following else ""
        pages += 1
    assert len(found) >= number
    assert pages > 1


def test_an_unchanged_progress_is_not_sent_again(lead, client, long_stage):
    path = long_stage.path("/runs/{run}/progress")
    first = lead.get(path)
    assert lead.get(path, **{"If-None-Match": first.headers["etag"]}).status == 304
    run = {"project": long_stage.project, "runId": long_stage.ids["run"]}
    client.call("record_test_result", **run, caseId="C-1", statusId="Passed")
    changed = lead.get(path, **{"If-None-Match": first.headers["etag"]})
    assert changed.status == 200
    assert "Passed 1" in changed.body
    assert "<html" not in changed.body


def test_numbers_are_written_for_people(lead, long_stage):
    assert "120 cases" in looked_at(lead.get(long_stage.path("/cases")).body).words()


async def test_an_empty_project_says_what_to_ask_for(lead, sql):
    empty = Stage(await sql.new_project("Empty"), {})
    for page in ("", "/cases", "/runs", "/cycles", "/traceability"):
        seen = looked_at(lead.get(empty.path(page)).body)
        assert "Ask your agent to:" in seen.words(), page
    for page in ("/coverage", "/traceability/gaps"):
        assert lead.get(empty.path(page)).status == 200


def comment_on(stage, comment=""):
    return stage.path(f"/cases/{{case}}/comments{comment}")


def test_comments_are_added_changed_and_deleted(lead, client, long_stage):
    lead.get(long_stage.path("/cases/{case}"))
    case = {"project": long_stage.project, "caseId": long_stage.ids["case"]}
    answer = lead.post(comment_on(long_stage), body="From the *page*\r\nsecond line")
    assert answer.status == 303
    [made] = [c for c in client.call("get_comments", **case, limit=200)["items"] if c["body"].startswith("From")]
    assert made["body"] == "From the *page*\nsecond line"
    assert answer.headers["location"].endswith(f"#comment-{made['id']}")
    assert lead.post(comment_on(long_stage, f"/{made['id']}"), body="Changed").status == 303
    [changed] = [c for c in client.call("get_comments", **case, limit=200)["items"] if c["id"] == made["id"]]
    assert changed["body"] == "Changed"
    assert lead.post(comment_on(long_stage, f"/{made['id']}/delete")).status == 303
    assert made["id"] not in [c["id"] for c in client.call("get_comments", **case, limit=200)["items"]]
    assert "The comment was deleted." in lead.get(long_stage.path("/cases/{case}")).body


async def test_what_a_person_does_is_in_the_audit_log_without_a_key(lead, sql, acme, long_stage):
    lead.get(long_stage.path("/cases/{case}"))
    lead.post(comment_on(long_stage), body="For the log")
    [entry] = await sql.rows(
        "SELECT user_id, api_key_id, tool, action, object_type FROM audit_log "
        "WHERE project_id = $1 AND object_type = 'comment' ORDER BY id DESC LIMIT 1",
        long_stage.project,
    )
    assert tuple(entry.values()) == (acme.people["lead"].id, None, "web", "create", "comment")


@pytest.mark.parametrize(
    ("body", "fault"), [("", "Write something first."), (" \n ", "Write something first."), ("x" * 10_001, "10,000")]
)
def test_a_comment_that_is_refused_is_not_lost(lead, client, stage, body, fault):
    lead.get(stage.path("/cases/{case}"))
    answer = lead.post(comment_on(stage), body=body)
    assert answer.status == 422
    seen = looked_at(answer.body)
    assert fault in seen.text
    assert body in seen.text
    assert client.call("get_comments", project=stage.project, caseId=stage.ids["case"])["total"] == 1


def test_hostile_comments_are_shown_as_text_and_kept_when_refused(lead, stage):
    lead.get(stage.path("/cases/{case}"))
    answer = lead.post(comment_on(stage), body=HOSTILE + "x" * 10_000)
    assert answer.status == 422
    assert HOSTILE in looked_at(answer.body).text
    edit = lead.get(stage.path(f"/cases/{{case}}?edit={stage.ids['comment']}"))
    assert HOSTILE in looked_at(edit.body).text


def test_a_form_of_another_session_writes_nothing(lead, client, stage):
    lead.get(stage.path("/cases/{case}"))
    for csrf in ("", "x"):
        assert lead.post(comment_on(stage), csrf=csrf, body="Forged").status == 400
    assert client.call("get_comments", project=stage.project, caseId=stage.ids["case"])["total"] == 1


def test_others_comments_are_their_own(visitors, client, stage):
    for name in ("tester", "viewer"):
        visitor = visitors[name]
        page = visitor.get(stage.path("/cases/{case}")).body
        assert ("Add a comment" in page) == (name == "tester")
        assert "Delete this comment" not in page
        for action, form in ((f"/{stage.ids['comment']}", {"body": "Mine"}), (f"/{stage.ids['comment']}/delete", {})):
            assert visitor.post(comment_on(stage, action), **form).status == 404
    assert visitors["viewer"].post(comment_on(stage), body="No").status == 404
    assert client.call("get_comments", project=stage.project, caseId=stage.ids["case"])["total"] == 1


def test_a_comment_is_reached_by_its_own_case_only(lead, client, stage, other_stage):
    lead.get(stage.path("/cases/{case}"))
    for wrong in (other_stage.ids["comment"], MISSING, stage.ids["run"]):
        assert lead.post(comment_on(stage, f"/{wrong}"), body="Wrong").status == 404
        assert lead.post(comment_on(stage, f"/{wrong}/delete")).status == 404
    assert client.call("get_comments", project=other_stage.project, caseId=other_stage.ids["case"])["total"] == 1


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light(lead, stage, page):
    answer = lead.get(stage.path(page))
    static = {
        attributes.get("src") or attributes.get("href")
        for tag, attributes in Seen(answer.body).elements
        if tag in {"script", "link"}
    }
    weight = len(answer.body) + sum(len(lead.static(path)) for path in static)
    assert weight < 100_000
