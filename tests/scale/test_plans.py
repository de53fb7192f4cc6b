"""How PostgreSQL goes about every query by which something is read, in a project of very many cases.

The real tools and pages are asked for, and each query that they send is planned again with what it was sent with. No
plan may read a large table from end to end, or sort a whole project to show a page of it. What must read much, because
it counts, is listed with the reason.

The project has 30,000 cases: so many that an index is much cheaper than the table, and the costs that the planner
compares grow with the tables alike. SCALE_CASES=1000000 shows that a million cases have the same plans.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from service.domain.cases import SORTS
from service.tools.catalog import TOOLS
from tenancy.keys import create_key
from tenancy.roles import APP
from tenancy.session import WorkspaceConnection
from tests.bench.large import Large, make_large
from tests.bench.scale import calls, object_ids
from tests.conftest import Person, Tenant, new_database, serving
from tests.migrations.test_tables import queries
from tests.web.showroom import PAGES, objects
from tests.web.visiting import sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = 30_000
CASES = int(os.environ.get("SCALE_CASES", DEFAULT))
LARGE = {
    "cases", "case_versions", "case_steps", "case_field_values", "case_tags", "run_cases", "results", "comments",
    "links", "audit_log",
}  # fmt: skip
# A sort of so many rows takes some milliseconds, and the project has more cases.
SMALL_SORT = 12_000

#: What reads much, with the reason: by a part of the name of what is asked for, and the table (or `sort`).
LINKS = "coverage is about all links of the project; where those are most of the table, reading that is cheaper"
ALLOWED = {
    (
        "list: with a common tag",
        "cases",
    ): "the tenth of 30,000 cases is found quicker in the table; a million's are not",
    ("search: two letters", "cases"): "an index of three letters does not know them",
    ("get_tags", "case_tags"): "every tag of every case is counted",
    ("gaps", "links"): LINKS,
    ("coverage", "links"): LINKS,
    ("page traceability", "links"): LINKS,
}

BY_NAME = {tool.name: tool for tool in TOOLS}

#: What finds little finds it by this index, whatever else it could use.
INDEXES = {
    "list: of a small folder": "cases_folder_number_idx",
    "list: in a rare state": "cases_lifecycle_state_idx",
    "list: with a rare tag": "case_tags_tag_id_idx",
    "list: with a rare value": "case_field_values_value_idx",
    "list: changed since an hour": "cases_updated_id_idx",
    "list: by title": "cases_title_id_idx",
    "search: rare word": "cases_title_words_idx",
    "get_test_run": "run_cases_status_idx",
    "get_reverse_traceability": "results_latest_idx",
}
#: Queries that nothing here sends, by how their names begin.
ELSEWHERE = {
    **dict.fromkeys(
        [
            "administration.",
            "audit_log.",
            "effective_access.",
            "groups.",
            "named.",
            "project_rules.",
            "roles.",
            "users.",
        ],
        "the administration: as much as there are people and projects; tests/web has the audit log's indexes",
    ),
    "project_settings.": "the administration",
    "user_states.": "operators' commands, by e-mail or id",
    "visitors.active_user": "signing in, by e-mail",
    "workspace_figures.": "for operators, who ask now and then; it counts everything",
    "load.": "the demo's loader",
    "runs.set_latest_results": "the demo's loader",
    "tags.names": "for an error's message",
    "versions.last_change": "for an error's message",
    "folders.folder_contents": "before a folder is deleted; the counts are those of get_folders",
    "host.kept_answer": "by its unique key",
    "links.same_link": "by its unique key",
    "run_writing.count_run_cases": "where a run is full; it counts by the run's key",
    "count by other": "always with words",
    "count by values": "as count by value, of fields with several values, of which there are none here",
    "listing of few": "as the list of a small folder",
}
# What is written comes with queries too; they are only tried.
WRITES: dict[str, dict[str, Any]] = {
    "create_test_case": {"title": "A new one", "tags": ["area-1"]},
    "update_test_case": {"caseId": "C-77", "title": "Another title", "addTags": ["area-2"]},
    "create_folder": {"name": "A new one"},
    "update_folder": {"folderId": "rare", "parentId": "area", "position": 0},
    "add_comment": {"caseId": "C-77", "body": "Seen"},
    "start_test_run": {"title": "A new one", "folderIds": ["rare"]},
    "update_test_run": {"runId": "run", "addCaseIds": ["C-77"]},
    "record_test_result": {"runId": "run", "caseId": "executed", "statusId": "Passed"},
    "record_test_results": {"runId": "run", "results": [{"caseId": "C-number", "statusId": "Failed"}]},
    "close_test_run": {"runId": "run", "force": True},
    "link_to_issue": {"issueKey": "SHOP-3", "caseId": "C-77", "sourceId": "source"},
    "create_cycle": {"name": "A new one"},
    "update_cycle": {"cycleId": "cycle", "name": "Another name"},
}


@dataclass
class Recorded:
    """What was sent while something was asked for: query and arguments, by a name for what that was."""

    sent: defaultdict[str, list[tuple[str, tuple[Any, ...]]]] = field(default_factory=lambda: defaultdict(list))
    #: By the same name, the tool.
    tools: dict[str, str] = field(default_factory=dict)
    asked: str = ""

    def add(self, query: str, arguments: tuple[Any, ...]) -> None:
        if self.asked:
            self.sent[self.asked].append((query, arguments))


@dataclass(frozen=True)
class Measured:
    large: Large
    admin: Any
    recorded: Recorded


@pytest.fixture(scope="module")
async def measured(postgres):
    """The large workspace, and all queries by which its tools and pages are answered."""
    recorded = Recorded()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        async with new_database(postgres) as (name, admin):
            large = await make_large(admin, cases=CASES, neighbour=CASES // 10)
            host, port = stack.enter_context(serving(postgres.dsn(user=APP, database=name)))
            spy_on(patch, recorded)
            await ask_for_all(admin, large, recorded, host, port)
            patch.undo()
            yield Measured(large, admin, recorded)
            stack.close()


def spy_on(patch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """Let every query of the service be written down on its way."""
    for method in ("fetch", "fetch_planned", "fetchrow", "fetchval", "execute"):
        original = getattr(WorkspaceConnection, method)

        def spying(self, query, *arguments, original=original):
            recorded.add(query, arguments)
            return original(self, query, *arguments)

        patch.setattr(WorkspaceConnection, method, spying)


async def ask_for_all(admin, large: Large, recorded: Recorded, host: str, port: int) -> None:
    key = await create_key(admin, workspace_id=large.workspace.id, user_id=large.user, label="plans")
    person = Person(large.user, "ann@large.example", key)
    tenant = Tenant(large.workspace, {"owner": person}, {"main": large.project}, host, port)
    client = tenant.client("owner")
    named = await object_ids(admin, large)
    for name, (tool, arguments) in calls(large, named).items():
        recorded.asked = name
        recorded.tools[name] = tool
        client.call(tool, project=large.project, **arguments)
    for sort in SORTS:
        for folder in ({}, {"folderId": named["rare"]}):
            recorded.asked = f"list: by {sort}"
            arguments = {"project": large.project, "sort": sort, "limit": 1, **folder}
            page = client.call("list_test_cases", **arguments)
            client.call("list_test_cases", **arguments, cursor=page["nextCursor"])
    for tool, arguments in WRITES.items():
        recorded.asked = f"write: {tool}"
        recorded.tools[recorded.asked] = tool
        client.call(tool, project=large.project, **with_ids(arguments, named), dryRun=True)
    client.close()
    recorded.asked = ""
    visitor = await sign_in(admin, tenant, large.user)
    project, _, ids = await objects(admin, large.workspace.schema_name, person.email)
    assert project == large.project
    for name, path in PAGES.items():
        recorded.asked = f"page {name}"
        assert visitor.get(f"projects/{project}{path.format(**ids)}").status == 200
    recorded.asked = "page projects"
    assert visitor.get("").status == 200


def with_ids(given: Any, ids: dict[str, int]) -> Any:
    if isinstance(given, dict):
        return {name: with_ids(value, ids) for name, value in given.items()}
    if isinstance(given, list):
        return [with_ids(value, ids) for value in given]
    return f"C-{ids['number']}" if given == "C-number" else ids.get(given, given)


async def test_every_query_uses_an_index_and_sorts_no_whole_project(measured):
    found, used = [], set()
    for asked, sent in measured.recorded.sent.items():
        for query, arguments in sent:
            for fault, where in await faults(measured, query, arguments):
                allowed = {key for key in ALLOWED if key[0] in asked and key[1] == where}
                used |= allowed
                if not allowed:
                    found.append(f"{asked}: {fault}")
    assert not found, "\n".join(found)
    if CASES == DEFAULT:
        assert used == set(ALLOWED), "allowed, but not needed any more"


async def test_tools_by_key_have_one_plan_for_all_arguments_that_uses_an_index_too(measured):
    found, tried = [], set()
    for asked, tool in measured.recorded.tools.items():
        if BY_NAME[tool].by_key:
            tried.add(tool)
            for query, arguments in measured.recorded.sent[asked]:
                found += [f"{asked}: {fault}" for fault, _ in await faults(measured, query, arguments, one_plan=True)]
    assert not found, "\n".join(found)
    assert tried >= {"get_test_case", "record_test_results", "update_test_case", "add_comment", "link_to_issue"}


@pytest.mark.parametrize("asked", INDEXES)
async def test_what_is_rare_is_found_by_its_index(measured, asked):
    used = set()
    for query, arguments in measured.recorded.sent[asked]:
        used |= {node.get("Index Name") for node in nodes(await plan_of(measured, query, arguments))}
    assert INDEXES[asked] in used


async def plan_of(
    measured: Measured, query: str, arguments: tuple[Any, ...], *, one_plan: bool = False
) -> dict[str, Any]:
    async with measured.admin.transaction():
        await measured.admin.execute(f"SET LOCAL search_path = {measured.large.workspace.schema_name}")
        if one_plan:
            await measured.admin.execute(f"SET LOCAL plan_cache_mode = force_generic_plan; PREPARE one_plan AS {query}")
            nothing = f"({', '.join(['NULL'] * len(arguments))})" if arguments else ""
            [plan] = await measured.admin.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE one_plan{nothing}")
            await measured.admin.execute("DEALLOCATE one_plan")
        else:
            [plan] = await measured.admin.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
    return plan["Plan"]


async def faults(
    measured: Measured, query: str, arguments: tuple[Any, ...], *, one_plan: bool = False
) -> list[tuple[str, str]]:
    found = []
    for node in nodes(await plan_of(measured, query, arguments, one_plan=one_plan)):
        relation = node.get("Relation Name", "")
        if node["Node Type"] == "Seq Scan" and relation in LARGE:
            found.append((f"reads all of {relation}", relation))
        if node["Node Type"] == "Sort" and node["Plan Rows"] > SMALL_SORT:
            found.append((f"sorts {node['Plan Rows']} rows by {node['Sort Key']}", "sort"))
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_no_query_is_forgotten(measured):
    sent = {" ".join(query.split()) for found in measured.recorded.sent.values() for query, _ in found}
    everything = "\n".join(sent)
    missing = {
        name
        for name, query in queries().items()
        if is_read(query) and " ".join(query.split()) not in everything and not name.startswith(tuple(ELSEWHERE))
    }
    assert not missing, "\n".join(sorted(missing))
    assert all(any(name.startswith(start) for name in queries()) for start in ELSEWHERE)


def is_read(query: str) -> bool:
    return not re.search(r"\b(INSERT INTO|UPDATE \w+ SET|DELETE FROM|FOR (NO KEY )?UPDATE|FOR SHARE)\b", query)
