"""Recording results in a test run: appended, never overwritten; the latest is the case's status in the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.audit import Change
from service.domain.case_references import CaseRef, split_refs
from service.domain.links import PreparedLinks, ResultLink, insert_result_links, prepare_result_links
from service.domain.refusals import MOST_FAULTS, refuse_bulk, together
from service.domain.run_closing import run_closed
from service.domain.runs import run_document
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from service.domain.work import Document, Work

_SQL = load(__file__)

# Of a result's comments together, so that one answer always has room for a result.
LONGEST_COMMENTS = 20_000
_FIGURES = ("id", "title", "state", "closed", "caseCount", "counts", "progress", "passRate")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The outcome of one step: its position from 1 in the executed version, pass, fail, block or skip, a comment."""

    position: int
    status: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultDraft:
    """A result to record. *status_id* is an id or a name; assignee None leaves who executes the case as it is."""

    case_id: CaseRef
    status_id: int | str
    comment: str = ""
    elapsed_seconds: int | None = None
    step_results: Sequence[StepResult] = ()
    assignee_id: int | None = None
    issue_key: str | None = None
    source_id: int | None = None
    relation_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recording:
    """What results of one run are checked against."""

    statuses: Sequence[Document]
    users: frozenset[int]
    cases: dict[CaseRef, asyncpg.Record]

    def row(self, draft: ResultDraft, result_id: int) -> Document:
        """Return the row of *draft* or raise what is wrong with it, all at once."""
        if (case := self.cases.get(draft.case_id)) is None:
            raise NotFoundOrDenied
        if draft.assignee_id and draft.assignee_id not in self.users:
            raise NotFoundOrDenied
        refusals: list[Refused] = []
        status_id = None
        try:
            status_id = self._status(draft.status_id)
        except Refused as refused:
            refusals.append(refused)
        refusals += _step_refusals(draft.step_results, steps=case["steps"], number=case["number"])
        if draft.issue_key is None and (draft.source_id is not None or draft.relation_id is not None):
            message = "sourceId and relationId belong to issueKey: name the issue, or leave them out."
            refusals.append(Refused(Code.INVALID_VALUE, message, field="issueKey"))
        if (length := len(draft.comment) + sum(len(step.comment) for step in draft.step_results)) > LONGEST_COMMENTS:
            message = f"The comments have {length:,} characters together: send at most {LONGEST_COMMENTS:,}."
            refusals.append(Refused(Code.INVALID_VALUE, message, field="stepResults"))
        if refusals:
            raise together(refusals[:MOST_FAULTS])
        return {
            "id": result_id,
            "case_id": case["case_id"],
            "case_version": case["case_version"],
            "status_id": status_id,
            "comment": draft.comment,
            "elapsed_seconds": draft.elapsed_seconds,
            "steps": [
                {"position": step.position, "outcome": step.status, "comment": step.comment}
                for step in draft.step_results
            ],
        }

    def _status(self, given: int | str) -> int:
        usable = [status for status in self.statuses if not status["initial"]]
        wanted = given.strip().lower() if isinstance(given, str) else given
        for status in usable:
            if wanted in {status["id"], str(status["id"]), status["name"].lower(), status["systemName"].lower()}:
                return int(status["id"])
        if isinstance(given, int) and all(status["id"] != given for status in self.statuses):
            raise NotFoundOrDenied
        names = ", ".join(f"{status['name']} ({status['id']})" for status in usable)
        shown = given if isinstance(given, int) else repr(given[:60])
        raise Refused(
            Code.INVALID_VALUE, f"{shown} is no status that a result can have. There are: {names}.", field="statusId"
        )


def _step_refusals(given: Sequence[StepResult], *, steps: int, number: int) -> list[Refused]:
    positions = [step.position for step in given]
    bad = [position for position in positions if position > steps]
    if bad and not steps:
        message = f"C-{number} has no steps in the version that this run executes: leave stepResults out."
        return [Refused(Code.INVALID_VALUE, message, field="stepResults")]
    refusals = []
    if bad:
        message = f"C-{number} has {steps} steps in the version that this run executes: there is no step {bad[0]}."
        refusals.append(Refused(Code.INVALID_VALUE, message, field="stepResults"))
    if len(set(positions)) < len(positions):
        message = "stepResults names a position twice: send one outcome for each step."
        refusals.append(Refused(Code.INVALID_VALUE, message, field="stepResults"))
    return refusals


async def record_result(work: Work, project_id: int, run_id: int, draft: ResultDraft) -> Document:
    """Record one result and return it, with the run's new figures."""
    [result_id] = await _record(work, project_id, run_id, [draft])
    [row] = await work.connection.fetch(_SQL["result_documents"], [result_id])
    return {**row["document"], "run": await _figures(work, project_id, run_id)}


async def record_results(work: Work, project_id: int, run_id: int, drafts: Sequence[ResultDraft]) -> Document:
    """Record all *drafts* in their order, or none of them; return them in few words, with the run's new figures."""
    ids = await _record(work, project_id, run_id, drafts)
    items = [row["document"] for row in await work.connection.fetch(_SQL["result_items"], ids)]
    return {"items": items, "total": len(items), "run": await _figures(work, project_id, run_id)}


async def _figures(work: Work, project_id: int, run_id: int) -> Document:
    run = await run_document(work, project_id, run_id)
    return {key: run[key] for key in _FIGURES if key in run}


async def _record(work: Work, project_id: int, run_id: int, drafts: Sequence[ResultDraft]) -> list[int]:
    # Before the run is locked for sharing, since two calls that both share it could not change it any more.
    moved = await work.connection.fetchrow(_SQL["move_at_first_result"], project_id, run_id)
    assignees = {draft.assignee_id for draft in drafts if draft.assignee_id}
    row = await work.connection.fetchrow(_SQL["recording"], project_id, run_id, list(assignees))
    if row is None:
        raise NotFoundOrDenied
    if row["closed_at"] is not None:
        raise run_closed(row["closed_at"].date())
    recording = _Recording(
        statuses=row["statuses"],
        users=frozenset(row["users"]),
        cases=await _lock_cases(work, run_id, drafts),
    )
    ids: list[int] = await work.connection.fetchval(_SQL["take_ids"], len(drafts))
    links = await _prepare_links(work, project_id, drafts)
    rows, errors = _rows(recording, drafts, ids, links)
    if errors:
        # The only one is refused by itself; of many, every bad one is told.
        if len(drafts) == 1:
            raise errors[0]
        documents = [(f"results[{index}]", {"index": index, **error.document()}) for index, error in errors.items()]
        raise refuse_bulk(documents, bad=len(errors), total=len(drafts), noun="results")
    latest = _latest(rows, drafts)
    await work.connection.execute(_SQL["insert_results"], run_id, rows, latest, [one["case_id"] for one in latest])
    _note_changes(work, project_id, run_id, rows, moved_to_version=moved["version"] if moved else None)
    if links is not None:
        prepared, indexes = links
        await insert_result_links(work, project_id, prepared, [ids[index] for index in indexes])
    return ids


async def _lock_cases(work: Work, run_id: int, drafts: Sequence[ResultDraft]) -> dict[CaseRef, asyncpg.Record]:
    ids, numbers = split_refs(draft.case_id for draft in drafts)
    rows = await work.connection.fetch(_SQL["lock_run_cases"], run_id, ids, numbers)
    by_id: dict[CaseRef, Any] = {row["case_id"]: row for row in rows}
    return by_id | {f"C-{row['number']}": row for row in rows}


async def _prepare_links(
    work: Work, project_id: int, drafts: Sequence[ResultDraft]
) -> tuple[PreparedLinks, list[int]] | None:
    """Return the links to make, and to which of *drafts* they belong."""
    indexes = [index for index, draft in enumerate(drafts) if draft.issue_key is not None]
    if not indexes:
        return None
    wanted = [
        ResultLink(
            issue_key=drafts[index].issue_key or "",
            source_id=drafts[index].source_id,
            relation_id=drafts[index].relation_id,
        )
        for index in indexes
    ]
    return await prepare_result_links(work, project_id, wanted), indexes


def _rows(
    recording: _Recording,
    drafts: Sequence[ResultDraft],
    ids: Sequence[int],
    links: tuple[PreparedLinks, list[int]] | None,
) -> tuple[list[Document], dict[int, Refused | NotFoundOrDenied]]:
    """Return the rows to insert, and what is wrong, by index."""
    link_errors: dict[int, Refused | NotFoundOrDenied] = {}
    if links is not None:
        prepared, indexes = links
        link_errors = {indexes[place]: error for place, error in prepared.errors.items()}
    rows: list[Document] = []
    errors: dict[int, Refused | NotFoundOrDenied] = {}
    for index, (draft, result_id) in enumerate(zip(drafts, ids, strict=True)):
        try:
            rows.append(recording.row(draft, result_id))
        except (Refused, NotFoundOrDenied) as error:
            errors[index] = error
        link_error = link_errors.get(index)
        first = errors.get(index)
        if isinstance(first, Refused) and isinstance(link_error, Refused):
            errors[index] = together([first, link_error])
        elif link_error is not None and first is None:
            errors[index] = link_error
    return rows, errors


def _latest(rows: Sequence[Document], drafts: Sequence[ResultDraft]) -> list[Document]:
    """Return what the run holds of each case from now on: its last result, and who was named last to execute it."""
    latest: dict[int, Document] = {}
    for row, draft in zip(rows, drafts, strict=True):
        before = latest.get(row["case_id"], {})
        latest[row["case_id"]] = {
            "case_id": row["case_id"],
            "status_id": row["status_id"],
            "result_id": row["id"],
            "assignee_id": draft.assignee_id or before.get("assignee_id"),
        }
    return list(latest.values())


def _note_changes(
    work: Work, project_id: int, run_id: int, rows: Sequence[Document], *, moved_to_version: int | None
) -> None:
    work.changes.extend(
        Change(
            action="create",
            object_type="result",
            object_id=row["id"],
            project_id=project_id,
            version_after=1,
            details={"runId": run_id, "caseId": row["case_id"]},
        )
        for row in rows
    )
    if moved_to_version is not None:
        work.changes.append(
            Change(
                action="update",
                object_type="run",
                object_id=run_id,
                project_id=project_id,
                version_before=moved_to_version - 1,
                version_after=moved_to_version,
                details={"automation": "FIRST_RESULT"},
            )
        )
