"""Test runs: listing and reading them. Writing is in run_writing, recording in results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.case_references import CaseRef, split_refs
from service.domain.pages import DEFAULT_LIMIT, ENVELOPE, LARGEST_ANSWER, Cursor, fitting, page
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# Newest first, after the run of id $6, at most $7.
LISTING = (
    f"SELECT m.id FROM ({_SQL['matching_runs']}) m WHERE $6::bigint IS NULL OR m.id < $6 ORDER BY m.id DESC LIMIT $7"
)
COUNT = f"SELECT count(*) FROM ({_SQL['matching_runs']}) m"
# By number, after number $7, at most $8.
RUN_CASES = (
    f"SELECT m.case_id, c.number FROM ({_SQL['matching_run_cases']}) m JOIN cases c ON c.id = m.case_id "
    "WHERE c.project_id = (SELECT r.project_id FROM runs r WHERE r.id = $1) AND ($7::integer IS NULL OR c.number > $7) "
    "ORDER BY c.number LIMIT $8"
)
COUNT_RUN_CASES = f"SELECT count(*) FROM ({_SQL['matching_run_cases']}) m"

_ITEM = (
    *("id", "title", "cycle", "environment", "state", "closed", "caseCount", "counts", "progress", "passRate"),
    *("createdAt", "version"),
)


async def list_runs(
    work: Work,
    project_id: int,
    *,
    cycle_id: int | None = None,
    closed: bool | None = None,
    environment_id: int | None = None,
    assigned_to_me: bool = False,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Document:
    """Return a page of the runs that pass all filters, the newest first; a cycle stands for those below it too."""
    await _check_filters(work, project_id, cycle_id=cycle_id, environment_id=environment_id)
    filters = (project_id, cycle_id, closed, environment_id, work.actor.user_id if assigned_to_me else None)
    place = Cursor("list_test_runs", filters)
    [after] = place.read(cursor) or [None]
    total = await work.connection.fetchval(COUNT, *filters)
    ids = [row["id"] for row in await work.connection.fetch(LISTING, *filters, after, limit + 1)]
    documents = await run_documents(work, project_id, ids)
    items = [{key: document[key] for key in _ITEM if key in document} for document in documents]
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (ids[i],))


async def run_documents(work: Work, project_id: int, ids: Sequence[int]) -> list[Document]:
    """Return the runs, with their counts but without their cases, in the order of *ids*."""
    return [row["document"] for row in await work.connection.fetch(_SQL["run_documents"], project_id, ids)]


async def run_document(work: Work, project_id: int, run_id: int) -> Document:
    """Return one run without its cases."""
    documents = await run_documents(work, project_id, [run_id])
    if not documents:
        raise NotFoundOrDenied
    return documents[0]


async def get_run(
    work: Work,
    project_id: int,
    run_id: int,
    *,
    status_ids: Sequence[int | str] = (),
    failed_only: bool = False,
    assignee_id: int | None = None,
    case_id: CaseRef | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Document:
    """Return a run and a page of those of its cases that pass all filters, by number.

    Assignee 0 is nobody. With *case_id* the page is that case alone, and its results are beside it.
    """
    run = await run_document(work, project_id, run_id)
    if assignee_id is not None:
        await _check_filters(work, project_id, assignee_id=assignee_id)
    statuses = await _statuses(work, project_id, status_ids) if status_ids else None
    ids, numbers = split_refs([] if case_id is None else [case_id])
    case = (ids[0] if ids else None, numbers[0] if numbers else None)
    filters = (run_id, statuses, failed_only, assignee_id, *case)
    place = Cursor("get_test_run", filters)
    [after] = place.read(cursor) or [None]
    total = await work.connection.fetchval(COUNT_RUN_CASES, *filters)
    rows = await work.connection.fetch(RUN_CASES, *filters, after, limit + 1)
    if case_id is not None:
        if not rows:
            raise NotFoundOrDenied
        run |= await _results(work, run_id, rows[0]["case_id"])
    items = [
        row["document"]
        for row in await work.connection.fetch(_SQL["run_case_items"], run_id, [row["case_id"] for row in rows])
    ]
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["number"],), beside=run)


async def _results(work: Work, run_id: int, case_id: int) -> Document:
    results = [row["document"] for row in await work.connection.fetch(_SQL["results_of_case"], run_id, case_id)]
    # Half of an answer, since the run and its notes are in it too.
    shown = results[: fitting(results, LARGEST_ANSWER // 2 - ENVELOPE)]
    document: Document = {"results": shown, "resultCount": len(results)}
    if len(shown) < len(results):
        document["truncated"] = f"Only the latest {len(shown)} of {len(results)} results are shown."
    return document


async def list_executions(
    work: Work, project_id: int, case_id: int, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Document:
    """Return a page of a case's results in all runs, the latest first."""
    place = Cursor("executions", project_id, case_id)
    [before] = place.read(cursor) or [None]
    total = await work.connection.fetchval(_SQL["count_executions"], case_id)
    rows = await work.connection.fetch(_SQL["executions"], case_id, project_id, before, limit + 1)
    items = [row["document"] for row in rows]
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["id"],))


async def _check_filters(
    work: Work,
    project_id: int,
    *,
    cycle_id: int | None = None,
    environment_id: int | None = None,
    assignee_id: int | None = None,
) -> None:
    if cycle_id is None and environment_id is None and assignee_id is None:
        return
    filters = (project_id, cycle_id, environment_id, assignee_id)
    if not await work.connection.fetchval(_SQL["run_filters"], *filters):
        raise NotFoundOrDenied


async def _statuses(work: Work, project_id: int, given: Sequence[int | str]) -> list[int]:
    """Return the ids of statuses given by id or name."""
    rows = await work.connection.fetch(_SQL["statuses_by_ref"], project_id)
    known = {row["id"] for row in rows}
    named = {text.lower(): row["id"] for row in rows for text in (str(row["id"]), row["system_name"], row["name"])}
    found = []
    for status in given:
        if isinstance(status, int):
            if status not in known:
                raise NotFoundOrDenied
            found.append(status)
        elif (status_id := named.get(status.strip().lower())) is not None:
            found.append(status_id)
        else:
            names = ", ".join(row["name"] for row in rows)
            raise Refused(
                Code.INVALID_VALUE, f"There is no status {status[:60]!r}. Statuses: {names}.", field="statusIds"
            )
    return found
