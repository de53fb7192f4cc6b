"""Links to issues, and what they tell: coverage gaps, and from an issue back to its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.domain import coverage, links
from service.tools.arguments import case_identifier, choice, described, identifier, optional, required, text
from service.tools.paging import CURSOR, LIMIT
from service.tools.registry import read_tool, write_tool
from service.tools.results import BOOLEAN, INTEGER, NAMED, NUMBER, STRING, TIME, array, record

if TYPE_CHECKING:
    from service.domain.case_references import CaseRef
    from service.domain.work import Document, Work

ISSUE_KEY = required("issueKey", described(text(minimum=1, maximum=1_000), "Key, or the issue's URL"))

RELATION = record({"id": INTEGER, "name": STRING, "semantic": STRING})
LINK_REQUIRED = {
    "id": INTEGER,
    "caseId": INTEGER,
    "number": STRING,
    "issueKey": STRING,
    "source": NAMED,
    "relation": RELATION,
    "createdAt": TIME,
}
LINK_OPTIONAL = {"url": STRING, "runId": INTEGER, "resultId": INTEGER}

# Of a case, or of an issue.
GAP = record(
    {},
    {
        "caseId": INTEGER,
        "number": STRING,
        "title": STRING,
        "folder": NAMED,
        "issueKey": STRING,
        "source": NAMED,
        "url": STRING,
        "status": STRING,
        "verdict": STRING,
        "caseCount": INTEGER,
        "passingCount": INTEGER,
    },
)
LINKED_CASE = record(
    {
        "caseId": INTEGER,
        "number": STRING,
        "title": STRING,
        "relations": array(record({"linkId": INTEGER, "name": STRING, "semantic": STRING})),
    },
    {"latestResult": record({"status": STRING, "runId": INTEGER, "run": STRING, "at": TIME})},
)
DEFECT = record(
    {
        "linkId": INTEGER,
        "caseId": INTEGER,
        "number": STRING,
        "resultId": INTEGER,
        "runId": INTEGER,
        "run": STRING,
        "relation": STRING,
        "status": STRING,
        "at": TIME,
    }
)
RUN = record({"id": INTEGER, "title": STRING, "state": STRING, "closed": BOOLEAN}, {"cycle": NAMED})
CYCLE = record({"id": INTEGER, "name": STRING, "state": STRING})


@write_tool(
    title="Link a case to an issue",
    description="Link a case to an issue of a tracker such as Jira or Linear: without runId as coverage (the case "
    "tests the issue), with runId as a defect on the case's latest result in that open run. The tracker is not called: "
    "only the key's form is checked. Returns the link; one that is there already stays, with created false. Sources "
    "and relations: get_external_sources. "
    'Example: {"project": 1, "caseId": "C-12", "sourceId": 2, "issueKey": "PAY-7"}',
    arguments=(
        required("caseId", case_identifier()),
        required("sourceId", identifier()),
        ISSUE_KEY,
        optional("relationId", identifier("Default: the default GENERAL one; with runId the DEFECT one")),
        optional("runId", identifier()),
    ),
    returns=record({**LINK_REQUIRED, "created": BOOLEAN}, LINK_OPTIONAL),
    permissions=(Permission.MANAGE_EXTERNAL_REFERENCES,),
    by_key=True,
)
async def link_to_issue(work: Work, *, project: int, case_id: CaseRef, **link: Any) -> Document:
    return await links.link_case(work, project, case_id, **link)


@write_tool(
    title="Remove a link to an issue",
    description="Remove the link between an issue and a case, or a result of an open run; the issue in its tracker is "
    "not touched. Link ids: get_test_case, get_test_run with caseId, get_reverse_traceability. Returns the link as it "
    "was. "
    'Example: {"project": 1, "linkId": 31}',
    arguments=(required("linkId", identifier()),),
    returns=record({**LINK_REQUIRED, "deleted": BOOLEAN}, LINK_OPTIONAL),
    permissions=(Permission.MANAGE_EXTERNAL_REFERENCES,),
    destructive=True,
    by_key=True,
)
async def unlink_from_issue(work: Work, *, project: int, link_id: int) -> Document:
    return await links.unlink(work, project, link_id)


@read_tool(
    title="Find coverage gaps",
    description="Count what is not tested: CASES_WITHOUT_ISSUE (no GENERAL link), ISSUES_WITHOUT_CASE (known issues "
    "that no case covers), ISSUES_NOT_PASSING (covered, but not every covering case's latest result is a success), "
    "CASES_NEVER_RUN. Returns count, of and percentage for each; with kind, also a page of its cases or issues. With "
    "folderId or cycleId, only the cases and results there and below count. One issue: get_reverse_traceability. "
    'Example: {"project": 1, "kind": "ISSUES_NOT_PASSING"}',
    arguments=(
        optional("kind", choice(*coverage.KINDS)),
        optional("folderId", identifier()),
        optional("cycleId", identifier()),
        LIMIT,
        CURSOR,
    ),
    returns=record(
        {"gaps": array(record({"kind": STRING, "count": INTEGER, "of": INTEGER, "percentage": NUMBER}))},
        {"kind": STRING, "items": array(GAP), "total": INTEGER, "nextCursor": STRING},
    ),
    permissions=(Permission.VIEW_TEST_CASES, Permission.VIEW_EXTERNAL_REFERENCES),
)
async def get_coverage_gaps(work: Work, *, project: int, **filters: Any) -> Document:
    return await coverage.coverage_gaps(work, project, **filters)


@read_tool(
    title="Trace an issue to its tests",
    description="Get what the tests say of one issue: its cases with latest results, the runs and cycles that executed "
    "them, the defects raised, and the verdict on the cases that cover it: PASSING (all succeeded), FAILING (some "
    "failed), UNTESTED or NOT_COVERED. An issue that nothing is linked to is NOT_COVERED. For all issues at once use "
    "get_coverage_gaps. "
    'Example: {"project": 1, "issueKey": "PAY-7"}',
    arguments=(ISSUE_KEY, optional("sourceId", identifier("Needed if several trackers have that key"))),
    returns=record(
        {
            "issueKey": STRING,
            "verdict": STRING,
            "caseCount": INTEGER,
            "passingCount": INTEGER,
            "cases": array(LINKED_CASE),
            "runs": array(RUN),
            "cycles": array(CYCLE),
            "defects": array(DEFECT),
            "totals": record(dict.fromkeys(("cases", "runs", "cycles", "defects"), INTEGER)),
        },
        {"source": NAMED, "url": STRING, "title": STRING, "status": STRING, "truncated": STRING},
    ),
    permissions=(Permission.VIEW_TEST_CASES, Permission.VIEW_EXTERNAL_REFERENCES),
)
async def get_reverse_traceability(work: Work, *, project: int, **issue: Any) -> Document:
    return await coverage.reverse_traceability(work, project, **issue)


TOOLS = (link_to_issue, unlink_from_issue, get_coverage_gaps, get_reverse_traceability)
