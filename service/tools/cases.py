"""Test cases: list, search, read, create and update, one or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.domain import case_history, case_writing
from service.domain import cases as reading
from service.domain.case_writing import CaseDraft, CasePatch
from service.domain.pages import whole_list
from service.tools.arguments import (
    array,
    boolean,
    case_identifier,
    choice,
    described,
    expected_version,
    id_or_name,
    identifier,
    integer,
    mapping,
    moment,
    optional,
    record,
    required,
    text,
)
from service.tools.paging import CURSOR, LIMIT
from service.tools.registry import read_tool, write_tool
from service.tools.results import INTEGER, NAMED, STRING, TIME, page
from service.tools.results import array as array_of
from service.tools.results import record as object_of

if TYPE_CHECKING:
    from service.domain.case_references import CaseRef
    from service.domain.work import Document, Work

MOST_CASES = 200
MOST_ENVIRONMENTS = 30

TITLE = text(minimum=1, maximum=255)
TAGS = array(id_or_name(), maximum=case_writing.MOST_TAGS)
FIELDS = described(
    mapping(),
    'Values by system name, label or id: {"priority": "High", "steps": [{"step": "Open /login", "expectedResult": '
    '"Form shows"}]}. Sent steps replace all steps; null clears. See get_fields',
)

CONTENT = (
    optional("folderId", identifier("0: the root")),
    optional("templateId", identifier()),
    optional("lifecycleStateId", identifier()),
    optional("fields", FIELDS),
    optional("tags", described(TAGS, "Tags by name or id")),
    optional("environmentIds", array(identifier(), maximum=MOST_ENVIRONMENTS)),
    optional("estimate", described(text(maximum=30), "1h 30m, 90m, 30s or 1:30:00; 0: none")),
)
PATCH = (
    optional("title", TITLE),
    *CONTENT,
    optional("addTags", TAGS),
    optional("removeTags", TAGS),
)

ITEM = object_of(
    {
        "id": INTEGER,
        "number": STRING,
        "title": STRING,
        "lifecycleState": STRING,
        "tags": array_of(STRING),
        "updatedAt": TIME,
        "version": INTEGER,
    },
    {"folder": NAMED, "priority": STRING},
)
CASE_REQUIRED = {
    "id": INTEGER,
    "number": STRING,
    "title": STRING,
    "template": NAMED,
    "lifecycleState": NAMED,
    "fields": {"type": "object"},
    "tags": array_of(NAMED),
    "environments": array_of(NAMED),
    "links": array_of(
        object_of({"id": INTEGER, "issueKey": STRING, "source": STRING, "relation": STRING}, {"url": STRING})
    ),
    "commentCount": INTEGER,
    "createdBy": NAMED,
    "createdAt": TIME,
    "updatedBy": NAMED,
    "updatedAt": TIME,
    "version": INTEGER,
}
CASE_OPTIONAL = {
    "folder": object_of({"id": INTEGER, "path": STRING}),
    "estimateSeconds": INTEGER,
    "latestResult": object_of({"status": STRING, "runId": INTEGER, "run": STRING, "at": TIME}),
    "dropped": array_of(STRING),
    "truncated": STRING,
}
CASE = object_of(CASE_REQUIRED, CASE_OPTIONAL)
VERSION = object_of(
    {"version": INTEGER, "author": NAMED, "createdAt": TIME, "changed": array_of(STRING)}, {"apiKeyId": INTEGER}
)
RESULT = object_of(
    {
        "status": STRING,
        "runId": INTEGER,
        "run": STRING,
        "caseVersion": INTEGER,
        "createdBy": NAMED,
        "createdAt": TIME,
    },
    {"defects": array_of(STRING)},
)
MANY = object_of({"items": array_of(ITEM), "total": INTEGER}, {"truncated": STRING})
CHANGED = object_of(
    {"items": array_of(ITEM), "total": INTEGER, "changed": INTEGER},
    {"dropped": array_of(STRING), "truncated": STRING},
)


@read_tool(
    title="List test cases",
    description="List a project's test cases by filters, a page at a time, without steps and long texts (those: "
    "get_test_case). All filters must match; all tags too; fields compares by equality "
    "(a MULTI_SELECT: has all given). total counts every match. "
    "For words in titles use search_test_cases. "
    'Example: {"project": 1, "fields": {"priority": "High"}, "sort": "-updated", "limit": 20}',
    arguments=(
        optional("folderId", identifier("With all below it, unless includeSubfolders is false; so 0, the root: all")),
        optional("includeSubfolders", boolean(default=True)),
        optional("templateId", identifier()),
        optional("lifecycleStateId", identifier()),
        optional("tags", described(TAGS, "Tags by name or id")),
        optional("fields", described(mapping(), "Values by system name, label or id")),
        optional("updatedSince", moment()),
        optional("sort", choice(*reading.SORTS)),
        LIMIT,
        CURSOR,
    ),
    returns=page(ITEM),
    permissions=(Permission.VIEW_TEST_CASES,),
)
async def list_test_cases(work: Work, *, project: int, **filters: Any) -> Document:
    return await reading.list_cases(work, project, **filters)


@read_tool(
    title="Search test cases",
    description="Find test cases whose title contains every word of the query, in any order, parts of words too, "
    "whatever the case of letters; or whose number is the query (12 or C-12: that one comes first). It matches "
    "characters, not meaning: try other words. "
    'Example: {"project": 1, "query": "login lock"}',
    arguments=(required("query", text(minimum=1, maximum=200)), LIMIT, CURSOR),
    returns=page(ITEM),
    permissions=(Permission.VIEW_TEST_CASES,),
)
async def search_test_cases(work: Work, *, project: int, query: str, **paging: Any) -> Document:
    return await reading.search_cases(work, project, query=query, **paging)


@read_tool(
    title="Get a test case",
    description="Get everything about one test case: fields with values, steps, folder, tags, environments, estimate, "
    "issue links, number of comments, latest result, who made and changed it, and its version. history adds the list "
    "of its versions: who, when, what changed; results adds the results it got in all runs, the latest 100. version "
    "shows an old one (links, comments and results as they are now). "
    'Example: {"project": 1, "caseId": "C-12"}',
    arguments=(
        required("caseId", case_identifier()),
        optional("version", integer(minimum=1, maximum=2**31 - 1)),
        optional("history", boolean(default=False)),
        optional("results", boolean(default=False)),
    ),
    returns=object_of(
        CASE_REQUIRED,
        {
            **CASE_OPTIONAL,
            "currentVersion": INTEGER,
            "versions": array_of(VERSION),
            "results": array_of(RESULT),
            "resultCount": INTEGER,
        },
    ),
    permissions=(Permission.VIEW_TEST_CASES,),
    by_key=True,
)
async def get_test_case(work: Work, *, project: int, case_id: CaseRef, **history: Any) -> Document:
    return await case_history.case_with_history(work, project, case_id, **history)


@write_tool(
    title="Create a test case",
    description="Create a test case. Without templateId and lifecycleStateId the project's defaults hold, without "
    "folderId it is at the root; fields that are not sent get their defaults. Returns the case with its number. For "
    "several cases use create_test_cases. "
    'Example: {"project": 1, "title": "Login locks after 5 wrong passwords", "fields": {"priority": "High", "steps": '
    '[{"step": "Enter a wrong password 5 times", "expectedResult": "The account is locked"}]}}',
    arguments=(required("title", TITLE), *CONTENT),
    returns=CASE,
    permissions=(Permission.CREATE_TEST_CASES,),
    creates=True,
    by_key=True,
)
async def create_test_case(work: Work, *, project: int, **draft: Any) -> Document:
    [document] = await case_writing.create_cases(work, project, [CaseDraft(**draft)])
    return document


@write_tool(
    title="Create test cases",
    description="Create up to 200 test cases in one step: all or nothing; if any is not acceptable, every fault of "
    "every case is told and nothing is stored. Returns the new cases in the order given. "
    'Example: {"project": 1, "cases": [{"title": "Sign in"}, {"title": "Sign out", "fields": {"priority": "Low"}}]}',
    arguments=(
        required("cases", array(record(required("title", TITLE), *CONTENT), minimum=1, maximum=MOST_CASES)),
        optional("folderId", identifier("For cases that name none")),
    ),
    returns=MANY,
    permissions=(Permission.CREATE_TEST_CASES,),
    creates=True,
    by_key=True,
)
async def create_test_cases(work: Work, *, project: int, cases: list[dict[str, Any]], folder_id: int = 0) -> Document:
    drafts = [CaseDraft(**{"folder_id": folder_id, **draft}) for draft in cases]
    created = await case_writing.create_cases(work, project, drafts)
    return whole_list(await reading.case_items(work, [document["id"] for document in created]))


@write_tool(
    title="Update a test case",
    description="Change a test case; what is not sent stays. Sent steps replace all steps, tags replaces all tags "
    "(addTags and removeTags change some). A new template keeps the fields that it shares and drops the others, which "
    "the answer names. Returns the case; if nothing changed, its version is the same. "
    'Example: {"project": 1, "caseId": "C-12", "title": "Login locks after 5 attempts", "addTags": ["smoke"]}',
    arguments=(required("caseId", case_identifier()), *PATCH, expected_version("case")),
    returns=CASE,
    permissions=(Permission.EDIT_TEST_CASES,),
    destructive=True,
    by_key=True,
)
async def update_test_case(
    work: Work, *, project: int, case_id: CaseRef, expected_version: int | None = None, **patch: Any
) -> Document:
    updated = await case_writing.update_cases(
        work, project, [case_id], CasePatch(**patch), expected_version=expected_version
    )
    document = await reading.get_case(work, project, updated.ids[0])
    return {**document, "dropped": updated.dropped} if updated.dropped else document


@write_tool(
    title="Update test cases",
    description="Apply the same change to up to 200 test cases: move, retag, change state or fields; all or nothing. "
    "With maxAffected, nothing is stored if more cases than that would change. Returns the cases, and how "
    "many changed. "
    'Example: {"project": 1, "caseIds": ["C-1", "C-2"], "addTags": ["regression"], "maxAffected": 2}',
    arguments=(
        required("caseIds", array(case_identifier(), minimum=1, maximum=MOST_CASES)),
        *PATCH,
        optional("maxAffected", integer(minimum=0, maximum=MOST_CASES)),
    ),
    returns=CHANGED,
    permissions=(Permission.EDIT_TEST_CASES, Permission.BULK_EDIT_TEST_CASES),
    destructive=True,
    by_key=True,
)
async def update_test_cases(
    work: Work, *, project: int, case_ids: list[CaseRef], max_affected: int | None = None, **patch: Any
) -> Document:
    updated = await case_writing.update_cases(work, project, case_ids, CasePatch(**patch), max_affected=max_affected)
    items = whole_list(await reading.case_items(work, updated.ids), changed=updated.changed)
    return {**items, "dropped": updated.dropped} if updated.dropped else items


TOOLS = (
    list_test_cases,
    search_test_cases,
    get_test_case,
    create_test_case,
    create_test_cases,
    update_test_case,
    update_test_cases,
)
