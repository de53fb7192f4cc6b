"""The audit log on its page and as CSV: the same entries as plain SQL finds, by every filter, each on an index."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from html import unescape
from urllib.parse import urlencode

import pytest

from service.domain import audit_log
from service.sql import load
from service.web.admin.audit import cell, tell
from tenancy.keys import create_key
from tests.tools.conftest import Sql
from tests.web.conftest import place_of_its_own
from tests.web.offices import make_office
from tests.web.stages import HOSTILE

ENTRIES = 20_000
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]


class Log:
    """A workspace with a long audit log."""

    def __init__(self, admin, tenant, office) -> None:
        self.admin, self.tenant, self.office = admin, tenant, office
        self.sql = Sql(admin, tenant.workspace.schema_name)
        self.boss = office.tenant_admin

    def export(self, **query: object) -> list[dict[str, str]]:
        answer = self.boss.get(f"admin/audit/export?{urlencode(query)}")
        assert answer.status == 200
        return list(csv.DictReader(io.StringIO(answer.body, newline="")))


@pytest.fixture(scope="module")
async def log(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, _):
        sql = Sql(admin, tenant.workspace.schema_name)
        office = await make_office(admin, sql, tenant)
        await create_key(admin, workspace_id=tenant.workspace.id, user_id=tenant.people["tester"].id, label="=Rare")
        key = await admin.fetchval("SELECT max(id) FROM control.api_keys")
        users = [person.id for person in tenant.people.values()]
        # Some at the same moment, as the changes of one call are; and in an order in which ids do not follow time.
        await sql.rows(
            """
            INSERT INTO audit_log (
                created_at, user_id, api_key_id, tool, action, object_type, object_id, project_id, details
            )
            SELECT timestamptz '2026-01-01' + (i / 3) * interval '10 minutes' - (i % 7) * interval '1 day',
                ($1::bigint[])[1 + i % 4], CASE WHEN i % 1000 = 0 THEN $2 WHEN i % 3 > 0 THEN i % 3 END,
                CASE WHEN i % 5000 = 0 THEN 'rare_tool' ELSE 'tool_' || i % 5 END, 'update', 'case', 100000 + i % 900,
                $3::bigint, jsonb_build_object('title', jsonb_build_object('from', 'a' || i, 'to', '=b' || i))
            FROM generate_series(1, $4::integer) i
            """,
            users,
            key,
            tenant.project,
            ENTRIES,
        )
        await admin.execute("ANALYZE")
        made = Log(admin, tenant, office)
        made.key = key
        yield made


def filters(log) -> dict[str, tuple[dict[str, object], str, tuple[object, ...]]]:
    """Each filter, as the page gets it and as SQL says it."""
    email, tester = log.tenant.people["tester"].email, log.tenant.people["tester"].id
    since, before = "2026-02-01T12:30", "2026-02-03"
    time = f"l.created_at >= '{since}Z' AND l.created_at < '{before}T00:00Z'"
    return {
        "user": ({"user": email}, "l.user_id = $1", (tester,)),
        "user by id": ({"user": tester}, "l.user_id = $1", (tester,)),
        "key": ({"key": log.key}, "l.api_key_id = $1", (log.key,)),
        "tool": ({"tool": "tool_3"}, "l.tool = $1", ("tool_3",)),
        "rare tool": ({"tool": "rare_tool"}, "l.tool = $1", ("rare_tool",)),
        "object": ({"object": 100_007}, "l.object_id = $1", (100_007,)),
        "time": ({"since": since, "before": before}, time, ()),
        "since and tool": (
            {"since": "2026-02-10T00:00:30", "tool": "tool_1"},
            "l.created_at >= '2026-02-10T00:00:30Z' AND l.tool = 'tool_1'",
            (),
        ),
        "user and time": ({"user": email, "since": since, "before": before}, f"l.user_id = $1 AND {time}", (tester,)),
        "user and tool": ({"user": email, "tool": "tool_2"}, "l.user_id = $1 AND l.tool = 'tool_2'", (tester,)),
        "nothing": ({"tool": "no_such_tool"}, "false", ()),
    }


FILTERS = (
    *("nothing", "user", "user by id", "key", "tool", "rare tool", "object", "time", "since and tool", "user and time"),
    "user and tool",
)


@pytest.mark.parametrize("name", FILTERS)
async def test_pages_and_export_have_what_sql_finds(log, name):
    query, where, arguments = filters(log)[name]
    wanted = await log.sql.rows(
        f"SELECT l.object_id, l.tool, l.details FROM audit_log l WHERE {where} ORDER BY l.created_at DESC, l.id DESC",
        *arguments,
    )
    exported = log.export(**query)
    assert [(row["object_id"], row["tool"], json.loads(row["change"])) for row in exported] == [
        (str(row["object_id"]), row["tool"], row["details"]) for row in wanted
    ]
    seen: list[str] = []
    address = f"admin/audit?{urlencode(query)}"
    # Not all of the pages: the cursor is the same on each.
    for _ in range(4):
        page = log.boss.get(address)
        assert page.status == 200
        seen += re.findall(r"<ins>(=b\d+)</ins>", page.body)
        following = re.search(r'rel="next" href="([^"]+)"', page.body)
        if following is None:
            assert len(seen) == len(wanted)
            break
        address = unescape(following[1]).removeprefix(f"{log.boss.root}/")
    assert seen == [row["details"]["title"]["to"] for row in wanted[: len(seen)]]
    assert len(seen) >= min(200, len(wanted))
    if not wanted:
        assert "No change passes these filters." in page.body


async def test_every_filter_is_on_an_index_and_reads_little(log):
    query = load(audit_log.__file__)["entries"]
    tester = log.tenant.people["tester"].id
    since, before = "'2026-02-01T12:30Z'", "'2026-02-03Z'"
    null = "NULL"
    cases = {
        "all": ([null] * 6, "audit_log_created_at_idx"),
        "user": ([str(tester), *[null] * 5], "audit_log_user_idx"),
        "key": ([null, str(log.key), *[null] * 4], "audit_log_api_key_idx"),
        "tool": ([null, null, "'rare_tool'", *[null] * 3], "audit_log_tool_idx"),
        "object": ([*[null] * 3, "100007", null, null], "audit_log_object_idx"),
        "time": ([*[null] * 4, since, before], "audit_log_created_at_idx"),
        "user and time": ([str(tester), *[null] * 3, since, before], "audit_log_user_idx"),
    }
    for name, (values, index) in cases.items():
        text = query
        for number, value in reversed(list(enumerate([*values, null, null, "51"], start=1))):
            text = text.replace(f"${number}", value)
        async with log.admin.transaction():
            await log.admin.execute(f"SET LOCAL search_path = {log.tenant.workspace.schema_name}")
            [plan] = await log.admin.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}")
        scans = [
            node for node in nodes(plan["Plan"]) if "audit_log" in node.get("Relation Name", node.get("Index Name", ""))
        ]
        assert [node["Index Name"] for node in scans if "Index Name" in node] == [index], name
        assert not [node for node in scans if node["Node Type"] == "Seq Scan"], name
        assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0, name


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def test_tools_are_those_of_the_log(log):
    page = log.boss.get("admin/audit")
    found = await log.sql.rows("SELECT DISTINCT l.tool FROM audit_log l ORDER BY l.tool")
    offered = re.findall(r'<option value="([^"]+)"', page.body.partition('name="tool"')[2].partition("</select>")[0])
    assert sorted(unescape(one) for one in offered) == sorted(row["tool"] for row in found)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"user": "nobody@x.example"}, "user"),
        ({"user": HOSTILE}, "user"),
        ({"key": "abc"}, "key"),
        ({"key": "-1"}, "key"),
        ({"key": "9" * 40}, "key"),
        ({"object": "C-12"}, "object"),
        ({"object": HOSTILE}, "object"),
        ({"since": "yesterday"}, "since"),
        ({"before": "2026-13-01"}, "before"),
        ({"before": HOSTILE}, "before"),
    ],
)
def test_wrong_filter_is_told_beside_its_field_and_kept(log, query, field):
    answer = log.boss.get(f"admin/audit?{urlencode(query)}")
    assert answer.status == 422
    assert f'id="{field}-fault"' in answer.body
    assert query[field] in unescape(answer.body)
    assert "<script>alert" not in answer.body
    assert '<ol class="log">' not in answer.body
    export = log.boss.get(f"admin/audit/export?{urlencode(query)}")
    assert (export.status, export.location) == (303, f"{log.boss.root}/admin/audit?{urlencode(query)}")


@pytest.mark.parametrize("cursor", ["x", "WyJ4Il0", "9" * 400])
def test_wrong_cursor_is_refused(log, cursor):
    answer = log.boss.get(f"admin/audit?cursor={cursor}")
    assert answer.status == 422
    assert "start with the first page" in answer.body


def test_extreme_times_are_times(log):
    for query in ("since=0001-01-01", "before=9999-12-31T23:59", "since=2026-01-01T00:00%2B02:00", "since=9999-12-31"):
        assert log.boss.get(f"admin/audit?{query}").status == 200, query


def test_entry_is_told_with_its_user_key_and_change(log):
    page = log.boss.get(f"admin/audit?object={log.office.ids['role']}")
    text = unescape(page.body)
    assert HOSTILE[:40] in text
    assert "<script>alert" not in page.body
    assert f"<ins>New {HOSTILE}</ins>" in text
    assert "<dt>added</dt>" in page.body
    assert "=Rare" in unescape(log.boss.get(f"admin/audit?key={log.key}").body)


def test_export_is_a_file_without_formulas(log):
    answer = log.boss.get(f"admin/audit/export?key={log.key}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-log-initech.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.get("transfer-encoding") == "chunked"
    rows = list(csv.reader(io.StringIO(answer.body, newline="")))
    assert {row[3] for row in rows[1:]} == {"'=Rare"}
    assert not [one for one in itertools.chain.from_iterable(rows) if one.startswith(("=", "+", "-", "@"))]
    hostile = log.export(object=log.office.ids["role"])[0]
    assert HOSTILE[:40] in hostile["object"]
    assert json.loads(hostile["change"])["name"]["from"] == HOSTILE


def test_export_of_everything_comes_in_parts(log):
    rows = log.export()
    assert len(rows) >= ENTRIES
    times = [row["time"] for row in rows]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("path", ["admin/audit", "admin/audit/export"])
def test_log_is_for_tenant_admins(log, path):
    for visitor in (log.office.project_admin, log.office.regular):
        assert visitor.get(path).status == 404
    assert log.boss.post(path, csrf="x").status == 404


@pytest.mark.unit
@pytest.mark.parametrize("text", FORMULAS)
def test_cell_is_no_formula(text):
    assert cell(text) == f"'{text}"
    assert cell(f"a{text}") == f"a{text}"


@pytest.mark.unit
def test_cell_of_nothing_is_empty():
    assert cell(None) == ""
    assert cell(0) == "0"


@pytest.mark.unit
def test_change_is_told_part_by_part():
    told = tell(
        {
            "role_id": {"from": 1, "to": 2},
            "active": {"from": True, "to": False},
            "summary": {"from": "", "to": "x" * 1000},
            "permissions": {"from": ["A"], "to": []},
            "added": [7, 8],
            "override_role_id": None,
            "fields": {"deep": {"er": 1}},
        },
        {2: "Tester", 7: "ann@acme.example"},
    )
    assert [tuple(one) for one in told] == [
        ("role", "Tester", "1"),
        ("active", "no", "yes"),
        ("summary", f"{'x' * 300}…", "nothing"),
        ("permissions", "nothing", "A"),
        ("added", "ann@acme.example, 8", None),
        ("fields", '{"deep": {"er": 1}}', None),
    ]
