"""Links to issues: keys in every spelling, what is linked and unlinked, closed runs, and many at once."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from service.tools.catalog import TOOLS
from service.tools.host import ToolHost
from tenancy.connection import connect
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.session import Gateway
from tests.conftest import ToolFailed
from tests.tools.conftest import new_case

_COUNTER = itertools.count(1)

JIRA = "[A-Z][A-Z0-9]+-[1-9][0-9]*"
NUMBER = "#[0-9]+"
IN_REPOSITORY = r"[\w.-]+(/[\w.-]+)+#[0-9]+"


@pytest.fixture
def new_source(sql, own_project):
    """Makes a tracker of the test's own project."""

    async def make(system="JIRA", pattern=JIRA, base_url="", *, project=own_project, **columns):
        values = {"name": f"Tracker {next(_COUNTER)}", "system": system, "key_pattern": pattern, "base_url": base_url}
        values |= {"all_projects": False, **columns}
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        source = await sql.value(
            f"INSERT INTO sources ({', '.join(values)}) VALUES ({places}) RETURNING id", *values.values()
        )
        await sql.make_available(project, source_id=source)
        return source

    return make


@pytest.fixture
async def source(new_source):
    return await new_source(name=f"Jira {next(_COUNTER)}", base_url="https://acme.example", example="SHOP-12")


@pytest.fixture
async def alone(sql):
    """Without the trackers that other tests have made for all projects."""
    rows = await sql.rows("UPDATE sources SET enabled = false WHERE all_projects AND enabled RETURNING id")
    yield
    await sql.rows("UPDATE sources SET enabled = true WHERE id = ANY ($1::bigint[])", [row["id"] for row in rows])


@pytest.fixture
def case(lead, own_project):
    return new_case(lead, own_project, "Pay by card")


@pytest.fixture
def link(lead, own_project, case, source):
    """Links the case to an issue of the tracker."""

    def call(key="SHOP-1", **arguments):
        given = {"project": own_project, "caseId": case["id"], "sourceId": source, "issueKey": key, **arguments}
        return lead.call("link_to_issue", **given)

    return call


@pytest.fixture
def refused(failing, own_project, case, source):
    """Links the case where that must be refused, and returns the error."""

    def call(key="SHOP-1", **arguments):
        given = {"project": own_project, "caseId": case["id"], "sourceId": source, "issueKey": key, **arguments}
        return failing("link_to_issue", **given)

    return call


@pytest.fixture
def run(lead, own_project, case):
    """A run of the case, without results."""
    return lead.call("start_test_run", project=own_project, title="Run", caseIds=[case["id"]])["id"]


@pytest.fixture
def record(lead, own_project, run, case):
    """Records a result of the case in the run, and returns its id."""

    def call(status="Failed", **arguments):
        given = {"project": own_project, "runId": run, "caseId": case["id"], "statusId": status, **arguments}
        return lead.call("record_test_result", **given)

    return call


async def relation(sql, name):
    return await sql.value("SELECT id FROM relations WHERE name = $1", name)


LINEAR_URL = "https://linear.app/acme/issue"
GITHUB_URL = "https://github.com/o/r"
GITLAB_URL = "https://gitlab.example/group/sub/shop"
AZURE_URL = "https://dev.azure.com/acme/My%20Shop"

# Of which system, with which pattern and address; what is given; the key, and the address that is kept.
KEYS = [
    ("JIRA", JIRA, "", "SHOP-12", "SHOP-12", None),
    ("JIRA", JIRA, "", "  shop-12\n", "SHOP-12", None),
    ("JIRA", JIRA, "https://acme.example", "shop-12", "SHOP-12", "https://acme.example/browse/SHOP-12"),
    ("JIRA", JIRA, "https://acme.example/jira/", "SHOP-1", "SHOP-1", "https://acme.example/jira/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "HTTPS://ACME.example/browse/shop-1", "SHOP-1", "as given"),
    ("JIRA", JIRA, "http://acme.example:80", "https://acme.example:443/browse/SHOP-1?x=1#y", "SHOP-1", "as given"),
    ("JIRA", JIRA, "https://acme.example", "https://acme.example/boards/7?selectedIssue=SHOP-1", "SHOP-1", "as given"),
    ("JIRA", JIRA, "", "https://any.example/projects/SHOP/issues/SHOP-1/", "SHOP-1", "as given"),
    ("JIRA", f"^{JIRA}$", "", "SHOP-12", "SHOP-12", None),
    ("JIRA", "SHOP-[0-9]+|PAY-[0-9]+", "", "PAY-12", "PAY-12", None),
    ("JIRA", "(?i)shop-[0-9]+", "", "SHOP-12", "SHOP-12", None),
    ("LINEAR", JIRA, "", "eng-42", "ENG-42", None),
    ("LINEAR", JIRA, "https://linear.app/acme", "ENG-42", "ENG-42", f"{LINEAR_URL}/ENG-42"),
    ("LINEAR", JIRA, "https://linear.app/acme", f"{LINEAR_URL}/ENG-42/fix-shop-7", "ENG-42", "as given"),
    ("LINEAR", JIRA, "https://linear.app/acme", f"{LINEAR_URL}/eng-42#comment-1", "ENG-42", "as given"),
    ("GITHUB", NUMBER, "", "12", "#12", None),
    ("GITHUB", NUMBER, "", "#012", "#12", None),
    ("GITHUB", "[0-9]+", "", "#12", "12", None),
    ("GITHUB", NUMBER, GITHUB_URL, "12", "#12", f"{GITHUB_URL}/issues/12"),
    ("GITHUB", NUMBER, GITHUB_URL, "o/r#12", "#12", f"{GITHUB_URL}/issues/12"),
    ("GITHUB", f"{NUMBER}|{IN_REPOSITORY}", GITHUB_URL, "O/R#12", "#12", f"{GITHUB_URL}/issues/12"),
    ("GITHUB", NUMBER, GITHUB_URL, f"{GITHUB_URL}/issues/7", "#7", "as given"),
    ("GITHUB", NUMBER, GITHUB_URL, f"{GITHUB_URL}/pull/7#issuecomment-9", "#7", "as given"),
    ("GITHUB", IN_REPOSITORY, "https://github.com", "o/r#7", "o/r#7", f"{GITHUB_URL}/issues/7"),
    ("GITHUB", IN_REPOSITORY, "https://github.com", f"{GITHUB_URL}/issues/7", "o/r#7", "as given"),
    ("GITLAB", NUMBER, GITLAB_URL, "7", "#7", f"{GITLAB_URL}/-/issues/7"),
    ("GITLAB", NUMBER, GITLAB_URL, f"{GITLAB_URL}/-/issues/7", "#7", "as given"),
    ("GITLAB", NUMBER, GITLAB_URL, f"{GITLAB_URL}/issues/7?tab=x", "#7", "as given"),
    ("GITLAB", NUMBER, GITLAB_URL, f"{GITLAB_URL}/-/work_items/7", "#7", "as given"),
    ("GITLAB", IN_REPOSITORY, "", f"{GITLAB_URL}/-/issues/7", "group/sub/shop#7", "as given"),
    ("AZURE_DEVOPS", "[0-9]+", "", "55", "55", None),
    ("AZURE_DEVOPS", "[0-9]+", "", "#55", "55", None),
    ("AZURE_DEVOPS", "[0-9]+", AZURE_URL, "ab#55", "55", f"{AZURE_URL}/_workitems/edit/55"),
    ("AZURE_DEVOPS", "[0-9]+", AZURE_URL, f"{AZURE_URL}/_workitems/edit/55/", "55", "as given"),
    ("AZURE_DEVOPS", "[0-9]+", AZURE_URL, f"{AZURE_URL}/_boards/board?workitem=55", "55", "as given"),
    ("CUSTOM", "[a-z ]+/[0-9]+", "", "bug/7", "bug/7", None),
    ("CUSTOM", "[a-z ]+/[0-9]+", "https://t.example", "a bug/7", "a bug/7", "https://t.example/a%20bug%2F7"),
    ("CUSTOM", "[a-z ]+/[0-9]+", "https://t.example", "https://t.example/a%20bug%2F7?x", "a bug/7", "as given"),
]


@pytest.mark.parametrize(("system", "pattern", "base_url", "given", "key", "url"), KEYS)
async def test_a_key_in_any_spelling_is_the_one_that_the_tracker_knows(
    *, new_source, link, system, pattern, base_url, given, key, url
):
    made = link(given, sourceId=await new_source(system, pattern, base_url))
    assert (made["issueKey"], made.get("url")) == (key, given if url == "as given" else url)
    assert made["created"] is True


OWN_TEMPLATES = [
    ("{baseUrl}/view.php?id={key}&tab=all", "https://t.example/view.php?id=17&tab=all", "17"),
    ("{baseUrl}/t/{key}/", "https://t.example/t/17/", "17"),
    ("{baseUrl}/t/{key}", "https://t.example/t/17/some-title", "17"),
]


@pytest.mark.parametrize(("template", "url", "key"), OWN_TEMPLATES)
async def test_an_address_is_read_and_made_by_the_sources_own_template(new_source, link, template, url, key):
    tracker = await new_source("CUSTOM", "[0-9]+", "https://t.example", issue_url_template=template)
    assert link(url, sourceId=tracker)["issueKey"] == key
    assert link("18", sourceId=tracker)["url"] == template.replace("{baseUrl}", "https://t.example").replace(
        "{key}", "18"
    )


WRONG = [
    ("JIRA", JIRA, "", "SHOP"),
    ("JIRA", JIRA, "", "SHOP-1 SHOP-2"),
    ("JIRA", JIRA, "", "SHOP-1\nSHOP-2"),
    ("JIRA", JIRA, "", "XSHOP-1x"),
    ("JIRA", "SHOP-1|x", "", "SHOP-12"),
    ("JIRA", ".*", "", "A" * 101),
    ("JIRA", ".*", "", "A\x07B"),
    ("JIRA", "x)|(?:.*", "", "SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "https://other.example/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "https://acme.example.evil.example/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "https://acme.example:8443/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "https://user:secret@acme.example/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example/jira", "https://acme.example/jirafe/browse/SHOP-1"),
    ("JIRA", JIRA, "https://acme.example", "https://acme.example/wiki/SHOP-1-plan"),
    ("JIRA", JIRA, "", "javascript://acme.example/browse/SHOP-1"),
    ("JIRA", JIRA, "", "https:///browse/SHOP-1"),
    ("JIRA", JIRA, "", "https://[acme/browse/SHOP-1"),
    ("JIRA", JIRA, "", "https://acme.example:port/browse/SHOP-1"),
    ("JIRA", JIRA, "", "https://acme.example/\n/browse/SHOP-1"),
    ("LINEAR", JIRA, "https://linear.app/acme", "https://linear.app/other/issue/ENG-42"),
    ("GITHUB", NUMBER, GITHUB_URL, "o/other#12"),
    ("GITHUB", NUMBER, GITHUB_URL, "https://github.com/o/r2/issues/7"),
    ("GITHUB", NUMBER, GITHUB_URL, f"{GITHUB_URL}/commit/7"),
    ("GITHUB", NUMBER, "", "x12"),
    ("AZURE_DEVOPS", "[0-9]+", AZURE_URL, f"{AZURE_URL}/_wiki/55"),
    ("CUSTOM", "[0-9]+", "", "https://t.example/17"),
]


@pytest.mark.parametrize(("system", "pattern", "base_url", "given"), WRONG)
async def test_what_is_no_issue_of_the_tracker_is_refused(
    *, new_source, refused, sql, own_project, system, pattern, base_url, given
):
    error = refused(given, sourceId=await new_source(system, pattern, base_url))
    assert error["code"] == "INVALID_VALUE"
    assert error["field"] in {"issueKey", "sourceId"}
    assert "secret" not in error["message"]
    assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 0


def test_a_refused_key_tells_what_keys_are_like(refused):
    error = refused("shop")
    assert JIRA in error["message"]
    assert "for example SHOP-12" in error["message"]
    assert "get_external_sources" in error["message"]
    assert len(refused("😀" * 1_000)["message"]) < 500
    assert "https://acme.example" in refused("https://other.example/browse/SHOP-1")["message"]


class TestPatterns:
    """An administrator's regular expression is no fault of the caller's, and never the service's end."""

    @pytest.mark.parametrize("pattern", ["[A-Z", "SHOP-[0-9]{1,300}", "a)(b", "*", "***:x", "x" * 150 + "{255}{255}"])
    async def test_one_that_is_none_is_told(self, new_source, refused, pattern):
        error = refused("SHOP-1", sourceId=await new_source("JIRA", pattern, name=f"Broken {next(_COUNTER)}"))
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "sourceId")
        assert "Broken" in error["message"]
        assert "administrator" in error["message"]

    async def test_one_that_takes_for_ever_is_stopped(self, *, new_source, world, acme, own_project, case):
        tracker = await new_source(
            "CUSTOM", r"(.+)(.+)(.+)(.+)(.+)(.+)\1\2\3\4\5\6(x|.+)", name=f"Slow {next(_COUNTER)}"
        )
        pool = Pool(world.service_url, size=1)
        try:
            gateway = Gateway(pool, statement_timeout_ms=200)
            host = ToolHost(gateway, TOOLS, release=this_release())
            caller = await host.authenticate(acme.people["lead"].key)
            arguments = {"project": own_project, "caseId": case["id"], "sourceId": tracker, "issueKey": "a" * 100}
            result = await host.call(caller, "link_to_issue", arguments)
        finally:
            await pool.close()
        error = result.structured["error"]
        assert error["code"] == "INVALID_VALUE"
        assert "takes too long" in error["message"]

    @pytest.mark.usefixtures("own_sources_only")
    async def test_one_of_several_trackers_does_not_hide_the_others(self, new_source, lead, own_project):
        good = await new_source("JIRA", JIRA)
        await new_source("JIRA", "[A-Z", name=f"A broken one {next(_COUNTER)}")
        traced = lead.call("get_reverse_traceability", project=own_project, issueKey="shop-1")
        assert (traced["issueKey"], traced["source"]["id"], traced["verdict"]) == ("SHOP-1", good, "NOT_COVERED")


class TestLinks:
    async def test_the_answer_is_the_link(self, *, link, case, source, sql, lead, own_project):
        made = link(" shop-7 ")
        assert made.pop("createdAt")
        [stored] = await sql.rows("SELECT id, issue_id, created_by FROM links WHERE case_id = $1", case["id"])
        covers = await relation(sql, "Covers")
        assert made == {
            "id": stored["id"],
            "caseId": case["id"],
            "number": "C-1",
            "issueKey": "SHOP-7",
            "source": {"id": source, "name": made["source"]["name"]},
            "relation": {"id": covers, "name": "Covers", "semantic": "GENERAL"},
            "url": "https://acme.example/browse/SHOP-7",
            "created": True,
        }
        [shown] = lead.call("get_test_case", project=own_project, caseId="C-1")["links"]
        assert (shown["id"], shown["issueKey"], shown["relation"]) == (made["id"], "SHOP-7", "Covers")

    async def test_the_same_link_again_is_the_one_there_is(self, link, sql, own_project):
        first = link("SHOP-7")
        last = await sql.value("SELECT max(id) FROM audit_log")
        for again in ("shop-7", "https://acme.example/browse/SHOP-7/"):
            assert link(again) == {**first, "created": False}
        assert link("SHOP-7", caseId="C-1") == {**first, "created": False}
        assert await sql.value("SELECT max(id) FROM audit_log") == last
        assert await sql.value("SELECT count(*) FROM links WHERE project_id = $1", own_project) == 1

    async def test_another_relation_issue_or_case_is_another_link(self, link, sql, lead, own_project):
        other = new_case(lead, own_project, "Other")["id"]
        relates = await relation(sql, "Relates to")
        made = [link(), link(relationId=relates), link("SHOP-2"), link(caseId=other)]
        assert len({one["id"] for one in made}) == 4
        assert all(one["created"] for one in made)
        assert made[1]["relation"]["name"] == "Relates to"
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 2

    async def test_a_known_issue_keeps_what_is_known_of_it(self, link, sql, own_project, source):
        await sql.rows(
            "INSERT INTO issues (project_id, source_id, key, url, title, synced_at) "
            "VALUES ($1, $2, 'SHOP-1', 'https://acme.example/x', 'Pay', now()), ($1, $2, 'SHOP-2', '', NULL, now())",
            own_project,
            source,
        )
        assert link("SHOP-1")["url"] == "https://acme.example/x"
        assert link("https://acme.example/browse/SHOP-2?a")["url"] == "https://acme.example/browse/SHOP-2?a"
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 2

    async def test_the_default_relation_is_one_of_the_project(self, link, refused, sql, own_project):
        covers = await relation(sql, "Covers")
        try:
            await sql.rows("UPDATE relations SET all_projects = false WHERE id = $1", covers)
            assert link()["relation"]["name"] == "Relates to"
            assert refused(relationId=covers)["code"] == "NOT_FOUND_OR_DENIED"
            await sql.rows("UPDATE relations SET all_projects = false WHERE semantic = 'GENERAL'")
            error = refused("SHOP-2")
            assert (error["code"], error["field"]) == ("INVALID_VALUE", "relationId")
            assert "Defect (" in error["message"]
            await sql.make_available(own_project, relation_id=covers)
            assert link()["relation"]["name"] == "Covers"
        finally:
            await sql.rows("UPDATE relations SET all_projects = true WHERE name IN ('Covers', 'Relates to')")

    async def test_a_tracker_that_is_disabled_or_anothers_is_not_found(self, refused, new_source, sql, source):
        elsewhere = await new_source(project=await sql.new_project("elsewhere"))
        assert refused(sourceId=elsewhere)["code"] == "NOT_FOUND_OR_DENIED"
        await sql.rows("UPDATE sources SET enabled = false WHERE id = $1", source)
        assert refused()["code"] == "NOT_FOUND_OR_DENIED"

    async def test_a_deleted_case_is_not_found(self, refused, sql, case):
        await sql.rows("UPDATE cases SET deleted_at = now() WHERE id = $1", case["id"])
        assert refused()["code"] == "NOT_FOUND_OR_DENIED"

    async def test_a_dry_run_leaves_no_issue(self, link, sql, own_project):
        assert link(dryRun=True)["created"] is True
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 0


class TestDefects:
    def test_it_is_on_the_latest_result_of_the_case_there(self, *, link, record, run, lead, own_project, case):
        record()
        second = record("Blocked")
        made = link("SHOP-9", runId=run)
        assert (made["runId"], made["resultId"], made["caseId"]) == (run, second["id"], case["id"])
        assert made["relation"]["semantic"] == "DEFECT"
        assert link("shop-9", runId=run) == {**made, "created": False}
        shown = lead.call("get_test_run", project=own_project, runId=run, caseId=case["id"])
        assert [result.get("issues") for result in shown["results"]] == [
            [{"linkId": made["id"], "issueKey": "SHOP-9", "relation": "Defect"}],
            None,
        ]
        assert lead.call("get_test_case", project=own_project, caseId=case["id"])["links"] == []

    async def test_it_may_have_any_relation(self, link, record, run, sql):
        record()
        assert link(runId=run, relationId=await relation(sql, "Relates to"))["relation"]["semantic"] == "GENERAL"
        assert link(relationId=await relation(sql, "Defect"))["relation"]["semantic"] == "DEFECT"

    def test_without_a_result_there_it_is_refused(self, refused, run, lead, own_project):
        error = refused(runId=run)
        assert (error["code"], error["field"]) == ("INVALID_STATE", "runId")
        assert "record_test_result" in error["message"]
        other = new_case(lead, own_project, "Not in the run")["id"]
        error = refused(runId=run, caseId=other)
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "runId")

    def test_a_closed_run_accepts_none_and_loses_none(self, *, link, refused, failing, record, run, lead, own_project):
        record()
        made = link("SHOP-1", runId=run)
        lead.call("close_test_run", project=own_project, runId=run)
        for key in ("SHOP-1", "SHOP-2"):
            error = refused(key, runId=run)
            assert error["code"] == "RUN_CLOSED"
            assert "case itself" in error["message"]
        assert failing("unlink_from_issue", project=own_project, linkId=made["id"])["code"] == "RUN_CLOSED"
        assert link("SHOP-2")["created"] is True

    async def test_a_run_that_is_being_closed_is_waited_for(
        self, *, acme, world, link, record, run, own_project, case, source
    ):
        record()
        made = link(runId=run)
        closer = await connect(world.admin_url, name="the test server")
        clients = [acme.client(), acme.client()]
        given = {"project": own_project, "caseId": case["id"], "sourceId": source, "issueKey": "SHOP-2", "runId": run}
        calls = [
            ("link_to_issue", given),
            ("unlink_from_issue", {"project": own_project, "linkId": made["id"]}),
        ]
        try:
            async with closer.transaction():
                await closer.execute(
                    f"UPDATE {acme.workspace.schema_name}.runs SET closed_at = now(), closed_by = $2 WHERE id = $1",
                    run,
                    acme.people["lead"].id,
                )
                running = [
                    asyncio.create_task(asyncio.to_thread(client.result, tool, **arguments))
                    for client, (tool, arguments) in zip(clients, calls, strict=True)
                ]
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'FROM runs'"
                while await closer.fetchval(waiting) < 2 and not any(call.done() for call in running):
                    await closer.execute("SELECT pg_stat_clear_snapshot()")
            answers = await asyncio.gather(*running)
        finally:
            await closer.close()
            for client in clients:
                client.close()
        assert [answer["structuredContent"]["error"]["code"] for answer in answers] == ["RUN_CLOSED", "RUN_CLOSED"]


class TestUnlinking:
    async def test_the_link_is_gone_and_the_audit_log_keeps_what_it_was(
        self, *, link, lead, failing, sql, own_project, case, source
    ):
        made = link()
        gone = lead.call("unlink_from_issue", project=own_project, linkId=made["id"])
        assert gone == {**{k: v for k, v in made.items() if k != "created"}, "deleted": True}
        assert lead.call("get_test_case", project=own_project, caseId="C-1")["links"] == []
        rows = await sql.rows("SELECT action, details FROM audit_log WHERE object_id = $1 ORDER BY id", made["id"])
        kept = {"issueKey": "SHOP-1", "sourceId": source, "relationId": made["relation"]["id"], "caseId": case["id"]}
        assert [(row["action"], row["details"]) for row in rows] == [("create", kept), ("delete", kept)]
        again = failing("unlink_from_issue", project=own_project, linkId=made["id"])
        assert again["code"] == "NOT_FOUND_OR_DENIED"

    def test_a_defect_goes_while_the_run_is_open(self, *, link, record, run, lead, own_project):
        record()
        made = link(runId=run)
        gone = lead.call("unlink_from_issue", project=own_project, linkId=made["id"])
        assert (gone["deleted"], gone["resultId"]) == (True, made["resultId"])
        assert lead.call("get_test_run_summary", project=own_project, runId=run)["failed"]["withoutDefect"] == 1

    async def test_the_issue_stays_while_it_is_linked_or_the_tracker_told_of_it(
        self, *, link, lead, sql, own_project, record, run
    ):
        keys = "SELECT key FROM issues WHERE project_id = $1 ORDER BY key"

        async def known():
            return [row["key"] for row in await sql.rows(keys, own_project)]

        record()
        first, defect, synced = link("SHOP-1"), link("SHOP-1", runId=run), link("SHOP-2")
        await sql.rows("UPDATE issues SET synced_at = now() WHERE project_id = $1 AND key = 'SHOP-2'", own_project)
        lead.call("unlink_from_issue", project=own_project, linkId=synced["id"])
        lead.call("unlink_from_issue", project=own_project, linkId=first["id"])
        assert await known() == ["SHOP-1", "SHOP-2"]
        lead.call("unlink_from_issue", project=own_project, linkId=defect["id"])
        assert await known() == ["SHOP-2"]

    async def test_links_of_other_objects_are_not_its_business(self, *, failing, sql, own_project, source, run, acme):
        issue = await sql.value(
            "INSERT INTO issues (project_id, source_id, key) VALUES ($1, $2, 'SHOP-1') RETURNING id",
            own_project,
            source,
        )
        made = await sql.value(
            "INSERT INTO links (project_id, issue_id, relation_id, run_id, created_by) "
            "SELECT $1, $2, r.id, $3, $4 FROM relations r WHERE r.name = 'Covers' RETURNING id",
            own_project,
            issue,
            run,
            acme.people["lead"].id,
        )
        assert failing("unlink_from_issue", project=own_project, linkId=made)["code"] == "NOT_FOUND_OR_DENIED"


class TestAtOnce:
    async def test_of_many_the_same_link_is_made_once(self, *, at_once, own_project, case, source, sql):
        given = {"project": own_project, "caseId": case["id"], "sourceId": source, "issueKey": "SHOP-1"}
        answers = at_once([lambda client: client.call("link_to_issue", **given)] * 8)
        assert [answer for answer in answers if isinstance(answer, ToolFailed)] == []
        assert sorted(answer["created"] for answer in answers) == [False] * 7 + [True]
        [link_id] = {answer["id"] for answer in answers}
        assert await sql.value("SELECT count(*) FROM audit_log WHERE object_id = $1", link_id) == 1

    def test_of_two_one_unlinks(self, at_once, link, own_project):
        made = link()
        call = {"project": own_project, "linkId": made["id"]}
        answers = at_once([lambda client: client.call("unlink_from_issue", **call)] * 2)
        failed = [answer for answer in answers if isinstance(answer, ToolFailed)]
        assert [error.code for error in failed] == ["NOT_FOUND_OR_DENIED"]

    async def test_linking_and_unlinking_the_last_link_of_an_issue_never_collide(
        self, *, at_once, own_project, source, lead, sql
    ):
        cases = [new_case(lead, own_project, "Case")["id"] for _ in range(6)]

        def back_and_forth(case_id):
            def work(client):
                given = {"project": own_project, "caseId": case_id, "sourceId": source, "issueKey": "SHOP-1"}
                for _ in range(15):
                    made = client.call("link_to_issue", **given)
                    client.call("unlink_from_issue", project=own_project, linkId=made["id"])

            return work

        answers = at_once([back_and_forth(case_id) for case_id in cases])
        assert answers == [None] * 6
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 0


@pytest.mark.usefixtures("alone")
class TestResults:
    """Defects that are recorded with results."""

    @pytest.fixture
    def record_all(self, lead, own_project, run, case):
        def call(links, **arguments):
            results = [{"caseId": case["id"], "statusId": "Failed", **one} for one in links]
            return lead.call("record_test_results", project=own_project, runId=run, results=results, **arguments)

        return call

    async def test_the_only_tracker_needs_no_naming(self, record_all, source, sql):
        made = record_all([{"issueKey": "shop-1"}, {}, {"issueKey": "SHOP-1"}, {"issueKey": "SHOP-2"}])
        assert [item.get("issues") for item in made["items"]] == [["SHOP-1"], None, ["SHOP-1"], ["SHOP-2"]]
        rows = await sql.rows(
            "SELECT k.id, k.result_id, m.semantic, i.source_id, i.url FROM links k "
            "JOIN relations m ON m.id = k.relation_id JOIN issues i ON i.id = k.issue_id "
            "WHERE k.result_id = ANY ($1::bigint[]) ORDER BY k.result_id",
            [item["id"] for item in made["items"]],
        )
        assert [row["result_id"] for row in rows] == [made["items"][place]["id"] for place in (0, 2, 3)]
        assert {(row["semantic"], row["source_id"]) for row in rows} == {("DEFECT", source)}
        assert rows[2]["url"] == "https://acme.example/browse/SHOP-2"
        audited = "SELECT count(*) FROM audit_log WHERE object_type = 'link' AND object_id = ANY ($1::bigint[])"
        assert await sql.value(audited, [row["id"] for row in rows]) == 3

    async def test_among_several_it_is_to_be_named(
        self, *, record, failing, own_project, run, case, source, new_source
    ):
        other = await new_source("GITHUB", NUMBER, name=f"Code {next(_COUNTER)}")
        given = {"project": own_project, "runId": run, "caseId": case["id"], "statusId": "Failed", "issueKey": "7"}
        error = failing("record_test_result", **given)
        assert (error["code"], error["field"]) == ("INVALID_VALUE", "sourceId")
        assert f"({source})" in error["message"]
        assert f"({other})" in error["message"]
        assert record(issueKey="7", sourceId=other)["issues"][0]["issueKey"] == "#7"

    def test_without_a_tracker_it_is_refused(self, failing, own_project, run, case):
        given = {"project": own_project, "runId": run, "caseId": case["id"], "statusId": "Failed", "issueKey": "7"}
        assert "no issue tracker" in failing("record_test_result", **given)["message"]

    async def test_every_wrong_link_is_told_and_nothing_is_written(
        self, *, failing, own_project, run, case, source, new_source, sql
    ):
        other = await new_source("GITHUB", NUMBER)
        wrong = [
            {"issueKey": "SHOP-1", "sourceId": source},
            {"issueKey": "SHOP", "sourceId": source},
            {"issueKey": "7"},
            {"issueKey": "7", "sourceId": 987_654_321},
            {"issueKey": "x", "sourceId": other},
            {"issueKey": "7", "sourceId": other, "relationId": 987_654_321},
        ]
        results = [{"caseId": case["id"], "statusId": "Failed", **one} for one in wrong]
        error = failing("record_test_results", project=own_project, runId=run, results=results)
        assert [(one["index"], one["code"]) for one in error["errors"]] == [
            (1, "INVALID_VALUE"),
            (2, "INVALID_VALUE"),
            (3, "NOT_FOUND_OR_DENIED"),
            (4, "INVALID_VALUE"),
            (5, "NOT_FOUND_OR_DENIED"),
        ]
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 0

    async def test_of_five_hundred_each_has_its_own(self, record_all, source, sql, own_project):
        made = record_all([{"issueKey": f"SHOP-{n}", "sourceId": source} for n in range(500, 0, -1)])
        assert [item["issues"] for item in made["items"]] == [[f"SHOP-{n}"] for n in range(500, 0, -1)]
        assert await sql.value("SELECT count(*) FROM issues WHERE project_id = $1", own_project) == 500

    def test_many_at_once_record_the_same_defects_in_any_order(self, at_once, lead, own_project, source):
        cases = [new_case(lead, own_project, "Case")["id"] for _ in range(6)]
        run = lead.call("start_test_run", project=own_project, title="Busy", caseIds=cases)["id"]

        def agent(case_id, order):
            results = [
                {"caseId": case_id, "statusId": "Failed", "issueKey": f"SHOP-{n}", "sourceId": source} for n in order
            ]
            return lambda client: client.call("record_test_results", project=own_project, runId=run, results=results)

        orders = [range(1, 60), range(59, 0, -1)] * 3
        answers = at_once([agent(case_id, order) for case_id, order in zip(cases, orders, strict=True)])
        assert [answer for answer in answers if isinstance(answer, ToolFailed)] == []
