"""Test runs: list, read, start, change, record results, summarise, close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.domain import results as recording
from service.domain import run_summaries, run_writing, runs
from service.domain.results import ResultDraft, StepResult
from service.domain.run_writing import RunPatch, Selection
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
    optional,
    record,
    required,
    text,
)
from service.tools.paging import CURSOR, LIMIT
from service.tools.registry import read_tool, write_tool
from service.tools.results import BOOLEAN, INTEGER, NAMED, NUMBER, STRING, TIME
from service.tools.results import array as array_of
from service.tools.results import record as object_of

if TYPE_CHECKING:
    from service.domain.case_references import CaseRef
    from service.domain.work import Document, Work

MOST_CASES = 500
MOST_RESULTS = 500
MOST_STEPS = 200
LONGEST_ELAPSED = 30 * 24 * 3600

RUN_ID = required("runId", identifier())
TITLE = text(minimum=1, maximum=255)
NOTES = described(text(maximum=5_000), "Markdown")
CASE_IDS = array(case_identifier(), maximum=MOST_CASES)
RUN_TAGS = optional("runTags", described(array(id_or_name(), maximum=50), "Tags of the run itself, by name or id"))

# Of all statuses that its cases have: how many have it.
COUNTS = {"type": "object", "additionalProperties": INTEGER}
FIGURES = {
    "id": INTEGER,
    "title": STRING,
    "closed": BOOLEAN,
    "caseCount": INTEGER,
    "counts": COUNTS,
    "progress": NUMBER,
}
RUN_REQUIRED = {**FIGURES, "state": NAMED, "createdAt": TIME, "version": INTEGER}
RUN_OPTIONAL = {"cycle": NAMED, "environment": NAMED, "passRate": NUMBER}
RUN_WHOLE = {**RUN_REQUIRED, "tags": array_of(NAMED), "createdBy": NAMED, "updatedAt": TIME}
RUN_WHOLE_OPTIONAL = {**RUN_OPTIONAL, "notes": STRING, "closedBy": NAMED, "closedAt": TIME}
RUN = object_of(RUN_WHOLE, RUN_WHOLE_OPTIONAL)
RECORDED_RUN = object_of({**FIGURES, "state": NAMED}, {"passRate": NUMBER})

RUN_CASE = object_of(
    {"caseId": INTEGER, "number": STRING, "title": STRING, "caseVersion": INTEGER, "status": STRING},
    {"assignee": NAMED, "lastResultAt": TIME, "defects": array_of(STRING)},
)
STEP_RESULT = object_of({"position": INTEGER, "status": STRING}, {"comment": STRING})
LINKED = object_of({"linkId": INTEGER, "issueKey": STRING, "relation": STRING})
RESULT_REQUIRED = {"id": INTEGER, "status": STRING, "caseVersion": INTEGER, "createdBy": NAMED, "createdAt": TIME}
RESULT_OPTIONAL = {
    "comment": STRING,
    "elapsedSeconds": INTEGER,
    "stepResults": array_of(STEP_RESULT),
    "issues": array_of(LINKED),
}
FAILED_CASE = object_of(
    {"caseId": INTEGER, "number": STRING, "title": STRING, "status": STRING}, {"defects": array_of(STRING)}
)

OUTCOME = (
    required("caseId", case_identifier()),
    required("statusId", described(id_or_name(), "Id or name, from get_statuses")),
    optional("comment", described(text(maximum=10_000), "Markdown: what was seen")),
    optional("elapsedSeconds", integer(minimum=0, maximum=LONGEST_ELAPSED)),
    optional(
        "stepResults",
        array(
            record(
                required("position", integer(minimum=1, maximum=MOST_STEPS)),
                required("status", choice("pass", "fail", "block", "skip")),
                optional("comment", text(maximum=2_000)),
            ),
            maximum=MOST_STEPS,
        ),
    ),
    optional("assigneeId", identifier("Who executes the case from now on")),
    optional("issueKey", described(text(minimum=1, maximum=1_000), "A defect to link: key or URL")),
    optional("sourceId", identifier("The issue's tracker; needed if there are several")),
    optional("relationId", identifier("Default: the default defect relation")),
)


@read_tool(
    title="List test runs",
    description="List a project's test runs, the newest first, with counts of cases by status, progress (completed of "
    "all cases, 0 to 1) and passRate (successful of completed ones). A cycle's runs include those of the cycles below "
    "it. For the cases of one run use get_test_run. "
    'Example: {"project": 1, "closed": false}',
    arguments=(
        optional("cycleId", identifier()),
        optional("closed", described(boolean(), "Only closed, or only open ones")),
        optional("environmentId", identifier()),
        optional("assignedToMe", described(boolean(), "Only runs with a case assigned to you")),
        LIMIT,
        CURSOR,
    ),
    returns=object_of(
        {"items": array_of(object_of(RUN_REQUIRED, RUN_OPTIONAL)), "total": INTEGER}, {"nextCursor": STRING}
    ),
    permissions=(Permission.VIEW_TEST_RUNS,),
)
async def list_test_runs(work: Work, *, project: int, **filters: Any) -> Document:
    return await runs.list_runs(work, project, **filters)


@read_tool(
    title="Get a test run",
    description="Get a test run and a page of its cases by number: status, assignee, time of the last result, keys of "
    "defects. Title and caseVersion are those that are executed, even if the case has changed since (get_test_case "
    "shows old versions). With caseId: that case alone and, in results, everything recorded for it here, the latest "
    "first. "
    'Example: {"project": 1, "runId": 40, "failedOnly": true}',
    arguments=(
        RUN_ID,
        optional("statusIds", described(array(id_or_name(), maximum=50), "Statuses by id or name")),
        optional("failedOnly", boolean(default=False)),
        optional("assigneeId", identifier("0: assigned to nobody")),
        optional("caseId", case_identifier()),
        LIMIT,
        CURSOR,
    ),
    returns=object_of(
        {**RUN_WHOLE, "items": array_of(RUN_CASE), "total": INTEGER},
        {
            **RUN_WHOLE_OPTIONAL,
            "results": array_of(object_of(RESULT_REQUIRED, RESULT_OPTIONAL)),
            "resultCount": INTEGER,
            "truncated": STRING,
            "nextCursor": STRING,
        },
    ),
    permissions=(Permission.VIEW_TEST_RUNS,),
)
async def get_test_run(work: Work, *, project: int, run_id: int, **filters: Any) -> Document:
    return await runs.get_run(work, project, run_id, **filters)


@write_tool(
    title="Start a test run",
    description="Start a run of test cases. caseIds, folderIds (with all below), tags (cases with any of them) and "
    "includeAll add up; with none of them it takes the cases whose lifecycle state is included in runs (see "
    "get_lifecycles). Every case starts untested, in its current version. Returns the run; record with "
    "record_test_results. "
    'Example: {"project": 1, "title": "Checkout regression, build 512", "folderIds": [12], "caseIds": ["C-4"]}',
    arguments=(
        required("title", TITLE),
        optional("caseIds", CASE_IDS),
        optional("folderIds", array(identifier(), maximum=100)),
        optional("tags", described(array(id_or_name(), maximum=50), "Tags of cases, by name or id")),
        optional("includeAll", described(boolean(default=False), "All cases, whatever their state")),
        optional("cycleId", identifier()),
        optional("environmentId", identifier()),
        optional("lifecycleStateId", identifier()),
        optional("assigneeId", identifier("Who is to execute all cases")),
        RUN_TAGS,
        optional("notes", NOTES),
    ),
    returns=RUN,
    permissions=(Permission.CREATE_TEST_RUNS,),
    creates=True,
)
async def start_test_run(
    work: Work,
    *,
    project: int,
    case_ids: list[CaseRef] | None = None,
    folder_ids: list[int] | None = None,
    tags: list[int | str] | None = None,
    include_all: bool = False,
    **run: Any,
) -> Document:
    selection = Selection(
        case_ids=case_ids or (), folder_ids=folder_ids or (), tags=tags or (), include_all=include_all
    )
    return await run_writing.start_run(work, project, selection=selection, **run)


_ASSIGNING = {"assignee_id", "assign_case_ids"}


def _needed_to_update(given: set[str]) -> tuple[Permission, ...]:
    assigning, editing = given & _ASSIGNING, given - _ASSIGNING - {"project", "run_id", "expected_version"}
    needed = []
    if editing or not assigning:
        needed.append(Permission.CREATE_TEST_RUNS)
    if assigning:
        needed.append(Permission.EXECUTE_TESTS)
    return tuple(needed)


@write_tool(
    title="Update a test run",
    description="Change an open run; what is not sent stays. Adds cases in their current version, removes cases "
    "without results; assigneeId assigns assignCaseIds, or all cases (assigning needs EXECUTE_TESTS, all else "
    "CREATE_TEST_RUNS). Returns the run. A closed run is refused. "
    'Example: {"project": 1, "runId": 40, "title": "Checkout regression, build 513", "addCaseIds": ["C-5"]}',
    arguments=(
        RUN_ID,
        optional("title", TITLE),
        optional("cycleId", identifier("0: none")),
        optional("environmentId", identifier("0: none")),
        optional("lifecycleStateId", identifier()),
        optional("notes", NOTES),
        RUN_TAGS,
        optional("addCaseIds", CASE_IDS),
        optional("removeCaseIds", CASE_IDS),
        optional("assigneeId", identifier("0: nobody")),
        optional("assignCaseIds", CASE_IDS),
        expected_version("run"),
    ),
    returns=RUN,
    permissions=(Permission.CREATE_TEST_RUNS,),
    permissions_by_arguments=_needed_to_update,
    destructive=True,
)
async def update_test_run(
    work: Work, *, project: int, run_id: int, expected_version: int | None = None, **patch: Any
) -> Document:
    return await run_writing.update_run(work, project, run_id, RunPatch(**patch), expected_version=expected_version)


def _draft(result: dict[str, Any]) -> ResultDraft:
    steps = [StepResult(**step) for step in result.pop("step_results", ())]
    return ResultDraft(**result, step_results=steps)


@write_tool(
    title="Record a test result",
    description="Record what executing a case in an open run gave. Results are appended, never overwritten; the latest "
    "is the case's status in the run. issueKey links a defect to the result. Returns the result and the run's new "
    "counts. For several use record_test_results. "
    'Example: {"project": 1, "runId": 40, "caseId": "C-4", "statusId": "Failed", "comment": "Total is 0.00", '
    '"issueKey": "PAY-7", "sourceId": 2}',
    arguments=(RUN_ID, *OUTCOME),
    returns=object_of(
        {**RESULT_REQUIRED, "runId": INTEGER, "caseId": INTEGER, "number": STRING, "run": RECORDED_RUN},
        {**RESULT_OPTIONAL, "assignee": NAMED},
    ),
    permissions=(Permission.EXECUTE_TESTS,),
    creates=True,
    by_key=True,
)
async def record_test_result(work: Work, *, project: int, run_id: int, **result: Any) -> Document:
    return await recording.record_result(work, project, run_id, _draft(result))


@write_tool(
    title="Record test results",
    description="Record up to 500 results in an open run in one step: all or nothing; if any is not acceptable, every "
    "fault of every result is told and nothing is stored. Returns them in few words, in the order given, and the run's "
    "new counts. "
    'Example: {"project": 1, "runId": 40, "results": [{"caseId": "C-4", "statusId": "Failed", "comment": "Times out", '
    '"issueKey": "PAY-7", "sourceId": 2}, {"caseId": "C-5", "statusId": "Passed"}]}',
    arguments=(RUN_ID, required("results", array(record(*OUTCOME), minimum=1, maximum=MOST_RESULTS))),
    returns=object_of(
        {
            "items": array_of(
                object_of(
                    {"id": INTEGER, "caseId": INTEGER, "number": STRING, "status": STRING},
                    {"issues": array_of(STRING)},
                )
            ),
            "total": INTEGER,
            "run": RECORDED_RUN,
        }
    ),
    permissions=(Permission.EXECUTE_TESTS,),
    creates=True,
    by_key=True,
)
async def record_test_results(work: Work, *, project: int, run_id: int, results: list[dict[str, Any]]) -> Document:
    return await recording.record_results(work, project, run_id, [_draft(result) for result in results])


@read_tool(
    title="Summarise a test run",
    description="Get a run's figures: cases by status, progress, passRate, time spent, cases by assignee and by "
    "folder, the failed cases with their defects, and the failed cases without one (they hold up close_test_run). "
    'Example: {"project": 1, "runId": 40}',
    arguments=(RUN_ID,),
    returns=object_of(
        {
            **FIGURES,
            "elapsedSeconds": INTEGER,
            "byAssignee": array_of(object_of({"caseCount": INTEGER, "counts": COUNTS}, {"assignee": NAMED})),
            "byFolder": array_of(
                object_of(
                    {"caseCount": INTEGER, "counts": COUNTS},
                    {"folder": object_of({"id": INTEGER, "path": STRING})},
                )
            ),
            "failed": object_of({"withDefect": INTEGER, "withoutDefect": INTEGER}),
            "failedWithDefect": array_of(FAILED_CASE),
            "failedWithoutDefect": array_of(FAILED_CASE),
        },
        {"passRate": NUMBER, "truncated": STRING},
    ),
    permissions=(Permission.VIEW_TEST_RUNS,),
)
async def get_test_run_summary(work: Work, *, project: int, run_id: int) -> Document:
    return await run_summaries.summarise_run(work, project, run_id)


@write_tool(
    title="Close a test run",
    description="Close a run for good: afterwards it accepts no change. While failed cases have no defect linked it is "
    "refused (CLOSE_GUARD) with the list: link them with link_to_issue, or pass force. Returns the run; a closed one "
    "stays as it is. "
    'Example: {"project": 1, "runId": 40}',
    arguments=(RUN_ID, optional("force", described(boolean(default=False), "Close although defects are missing"))),
    returns=RUN,
    permissions=(Permission.CREATE_TEST_RUNS,),
    destructive=True,
)
async def close_test_run(work: Work, *, project: int, run_id: int, force: bool = False) -> Document:
    return await run_writing.close_run(work, project, run_id, force=force)


TOOLS = (
    list_test_runs,
    get_test_run,
    start_test_run,
    update_test_run,
    record_test_result,
    record_test_results,
    get_test_run_summary,
    close_test_run,
)
