"""Test runs: starting, changing and closing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.audit import Change
from service.domain.case_references import CaseRef, load_references, split_refs
from service.domain.refusals import listed, refuse_bulk
from service.domain.run_closing import run_closed
from service.domain.run_summaries import count_without_defect, failed_cases
from service.domain.runs import run_document
from service.domain.tags import KnownTags, known_tags, tag_id, tag_names
from service.domain.versions import check_version
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import asyncpg

    from service.domain.work import Document, Work

_SQL = load(__file__)

_GUARDED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which cases a run takes; the parts add up. An empty one stands for the cases whose state is included in runs."""

    case_ids: Sequence[CaseRef] = ()
    folder_ids: Sequence[int] = ()
    tags: Sequence[int | str] = ()
    include_all: bool = False

    @property
    def is_default(self) -> bool:
        """Whether nothing is selected by name."""
        return not (self.case_ids or self.folder_ids or self.tags or self.include_all)


@dataclass(frozen=True, slots=True, kw_only=True)
class _References:
    """What a run refers to, checked to be the project's."""

    states: Sequence[Document]
    tags: KnownTags

    def state(self, state_id: int | None) -> int:
        """Return the lifecycle state to store: the default where none is given."""
        if state_id is None:
            return next(int(state["id"]) for state in self.states if state["default"])
        state = next((state for state in self.states if state["id"] == state_id), None)
        if state is None:
            raise NotFoundOrDenied
        if state["automation"] == "RUN_CLOSED":
            raise Refused(
                Code.INVALID_STATE,
                f"A run gets the state {state['name']} by being closed: use close_test_run.",
                field="lifecycleStateId",
            )
        return state_id

    @property
    def state_of_closed(self) -> int | None:
        """The lifecycle state that a run moves to when it is closed, if there is one."""
        return next((int(state["id"]) for state in self.states if state["automation"] == "RUN_CLOSED"), None)


async def _load_references(
    work: Work,
    project_id: int,
    *,
    cycle_id: int | None = None,
    environment_id: int | None = None,
    assignee_id: int | None = None,
    folder_ids: Collection[int] = (),
    tags: Collection[int | str] = (),
) -> _References:
    folders = set(folder_ids)
    row = await work.connection.fetchrow(
        _SQL["run_references"],
        project_id,
        cycle_id,
        environment_id,
        assignee_id,
        list(folders),
        [tag_id(tag) for tag in tags],
        tag_names(tags),
    )
    assert row is not None  # noqa: S101 - it has no FROM
    if not (row["cycle"] and row["environment"] and row["assignee"]) or row["folders"] < len(folders):
        raise NotFoundOrDenied
    known = await known_tags(work, "RUNS", ids=row["tags"], named=dict(row["named_tags"]), asked=tags)
    return _References(states=row["lifecycle_states"], tags=known)


async def start_run(
    work: Work,
    project_id: int,
    *,
    title: str,
    selection: Selection,
    cycle_id: int | None = None,
    environment_id: int | None = None,
    lifecycle_state_id: int | None = None,
    assignee_id: int | None = None,
    run_tags: Sequence[int | str] = (),
    notes: str = "",
) -> Document:
    """Start a run of the selected cases, each in its current version and untested."""
    references = await _load_references(
        work,
        project_id,
        cycle_id=cycle_id,
        environment_id=environment_id,
        assignee_id=assignee_id,
        folder_ids=selection.folder_ids,
        tags=run_tags,
    )
    case_tags: list[int] = []
    if selection.tags:
        case_tags = (await load_references(work, project_id, tags=selection.tags)).tag_list(selection.tags)
    found = await _find_cases(work, project_id, selection.case_ids)
    ids = list(_chosen(selection.case_ids, found))
    run_id: int = await work.connection.fetchval(
        _SQL["insert_run"],
        project_id,
        title,
        cycle_id or None,
        environment_id or None,
        references.state(lifecycle_state_id),
        notes,
    )
    taken = await work.connection.execute(
        _SQL["insert_selected_cases"],
        project_id,
        run_id,
        assignee_id or None,
        ids,
        list(selection.folder_ids),
        case_tags,
        selection.include_all,
        selection.is_default,
    )
    if not taken:
        what = "no case is in a lifecycle state that is included in runs" if selection.is_default else "no case matches"
        raise Refused(
            Code.EMPTY_SELECTION,
            f"The run would be empty: {what}. Select with caseIds, folderIds, tags or includeAll.",
        )
    if run_tags:
        await work.connection.fetchval(
            _SQL["put_run_tags"], run_id, references.tags.resolve(run_tags, argument="runTags")
        )
    work.changes.append(
        Change(
            action="create",
            object_type="run",
            object_id=run_id,
            project_id=project_id,
            version_after=1,
            details={"caseCount": taken},
        )
    )
    return await run_document(work, project_id, run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPatch:
    """What changes in a run. What is None stays; 0 is no cycle, no environment, nobody."""

    title: str | None = None
    cycle_id: int | None = None
    environment_id: int | None = None
    lifecycle_state_id: int | None = None
    notes: str | None = None
    run_tags: Sequence[int | str] | None = None
    add_case_ids: Sequence[CaseRef] = ()
    remove_case_ids: Sequence[CaseRef] = ()
    assignee_id: int | None = None
    assign_case_ids: Sequence[CaseRef] | None = None


async def update_run(
    work: Work, project_id: int, run_id: int, patch: RunPatch, *, expected_version: int | None = None
) -> Document:
    """Change an open run; assigning concerns *assign_case_ids*, or all of its cases."""
    run = await _lock_open(work, project_id, run_id)
    await check_version(work, run_id, current=run["version"], expected=expected_version)
    references = await _load_references(
        work,
        project_id,
        cycle_id=patch.cycle_id,
        environment_id=patch.environment_id,
        assignee_id=patch.assignee_id,
        tags=patch.run_tags or (),
    )
    details = await _change_cases(work, project_id, run_id, patch)
    if patch.run_tags is not None:
        tags = references.tags.resolve(patch.run_tags, argument="runTags")
        if await work.connection.fetchval(_SQL["put_run_tags"], run_id, tags):
            details["tags"] = True
    state = run["lifecycle_state_id"]
    if patch.lifecycle_state_id not in {None, state}:
        state = references.state(patch.lifecycle_state_id)
    before = tuple(run[column] for column in ("title", "cycle_id", "environment_id", "lifecycle_state_id", "notes"))
    after = (
        run["title"] if patch.title is None else patch.title,
        run["cycle_id"] if patch.cycle_id is None else patch.cycle_id or None,
        run["environment_id"] if patch.environment_id is None else patch.environment_id or None,
        state,
        run["notes"] if patch.notes is None else patch.notes,
    )
    if after != before or details:
        await work.connection.execute(_SQL["update_run"], run_id, *after)
        work.changes.append(_change(project_id, run_id, run, details=details))
    return await run_document(work, project_id, run_id)


async def close_run(work: Work, project_id: int, run_id: int, *, force: bool = False) -> Document:
    """Close a run for good; refused while failed cases have no defect, unless forced. A closed one stays as it is."""
    run = await _lock(work, project_id, run_id)
    if run["closed_at"] is not None:
        return await run_document(work, project_id, run_id)
    unexplained = await count_without_defect(work, run_id)
    if unexplained and not force:
        cases = (await failed_cases(work, run_id, without_defect=True))[:_GUARDED]
        numbers = listed([case["number"] for case in cases])
        raise Refused(
            Code.CLOSE_GUARD,
            f"{unexplained} failed cases have no defect linked: {numbers}. Link them with link_to_issue (with this "
            "runId), or close with force: true.",
            total=unexplained,
            cases=[{key: case[key] for key in ("caseId", "number", "title")} for case in cases],
        )
    references = await _load_references(work, project_id)
    await work.connection.execute(_SQL["close_run"], run_id, work.actor.user_id, references.state_of_closed)
    details: Document = {"closed": True}
    if unexplained:
        details |= {"forced": True, "failedWithoutDefect": unexplained}
    work.changes.append(_change(project_id, run_id, run, details=details))
    return await run_document(work, project_id, run_id)


def _change(project_id: int, run_id: int, run: asyncpg.Record, *, details: Document) -> Change:
    return Change(
        action="update",
        object_type="run",
        object_id=run_id,
        project_id=project_id,
        version_before=run["version"],
        version_after=run["version"] + 1,
        details=details,
    )


async def _lock(work: Work, project_id: int, run_id: int) -> asyncpg.Record:
    run = await work.connection.fetchrow(_SQL["lock_run"], project_id, run_id)
    if run is None:
        raise NotFoundOrDenied
    return run


async def _lock_open(work: Work, project_id: int, run_id: int) -> asyncpg.Record:
    run = await _lock(work, project_id, run_id)
    if run["closed_at"] is not None:
        raise run_closed(run["closed_at"].date())
    return run


async def _find_cases(
    work: Work, project_id: int, refs: Iterable[CaseRef], *, run_id: int | None = None
) -> dict[CaseRef, asyncpg.Record]:
    """Return the project's cases among *refs*, by the reference given."""
    ids, numbers = split_refs(dict.fromkeys(refs))
    if not (ids or numbers):
        return {}
    rows = await work.connection.fetch(_SQL["cases_by_ref"], project_id, ids, numbers, run_id)
    by_ref: dict[CaseRef, asyncpg.Record] = {row["id"]: row for row in rows}
    return by_ref | {f"C-{row['number']}": row for row in rows}


def _chosen(refs: Sequence[CaseRef], found: Mapping[CaseRef, asyncpg.Record]) -> dict[int, asyncpg.Record]:
    """Return the cases *refs* by id; raise if one is not the project's, naming all such."""
    missing = list(dict.fromkeys(ref for ref in refs if ref not in found))
    if missing and len(refs) == 1:
        raise NotFoundOrDenied
    if missing:
        error = {"caseIds": missing, **NotFoundOrDenied().document()}
        raise refuse_bulk([(listed(missing), error)], bad=len(missing), total=len(refs), noun="cases")
    return {found[ref]["id"]: found[ref] for ref in refs}


async def _change_cases(work: Work, project_id: int, run_id: int, patch: RunPatch) -> Document:
    """Add, remove and assign cases, and return what changed."""
    refs = (*patch.add_case_ids, *patch.remove_case_ids, *(patch.assign_case_ids or ()))
    found = await _find_cases(work, project_id, refs, run_id=run_id)
    adding, removing = _chosen(patch.add_case_ids, found), _chosen(patch.remove_case_ids, found)
    assigning = _chosen(patch.assign_case_ids or (), found)
    if patch.assign_case_ids is not None and patch.assignee_id is None:
        message = "assignCaseIds needs assigneeId: the user who is to execute them, or 0 for nobody."
        raise Refused(Code.INVALID_VALUE, message, field="assigneeId")
    _check_case_changes(adding, removing, assigning)
    details: Document = {}
    if adding:
        added = await work.connection.execute(
            _SQL["insert_selected_cases"], project_id, run_id, None, list(adding), [], [], False, False
        )
        details |= {"added": added} if added else {}
    if removing:
        removed = await work.connection.execute(_SQL["delete_run_cases"], run_id, list(removing))
        details |= {"removed": removed} if removed else {}
        if not await work.connection.fetchval(_SQL["count_run_cases"], run_id):
            raise Refused(Code.EMPTY_SELECTION, "The run would be empty: leave a case in it, or close it instead.")
    if patch.assignee_id is not None:
        chosen = None if patch.assign_case_ids is None else list(assigning)
        assigned = await work.connection.execute(_SQL["assign_run_cases"], run_id, chosen, patch.assignee_id or None)
        details |= {"assigned": assigned, "assigneeId": patch.assignee_id} if assigned else {}
    return details


def _check_case_changes(
    adding: dict[int, asyncpg.Record], removing: dict[int, asyncpg.Record], assigning: dict[int, asyncpg.Record]
) -> None:
    """Raise Refused where the lists contradict each other or the run."""
    problems = (
        (
            adding.keys() & removing.keys(),
            "are in addCaseIds and in removeCaseIds: name each in one of them only",
            "addCaseIds",
        ),
        (
            {case_id for case_id, row in removing.items() if row["has_results"]},
            "have results in this run and stay in it: leave them out of removeCaseIds",
            "removeCaseIds",
        ),
        (
            {
                case_id
                for case_id, row in assigning.items()
                if not (row["in_run"] or case_id in adding) or case_id in removing
            },
            "are not in this run: add them with addCaseIds first",
            "assignCaseIds",
        ),
    )
    known = adding | removing | assigning
    for case_ids, problem, argument in problems:
        if case_ids:
            numbers = [f"C-{number}" for number in sorted(known[case_id]["number"] for case_id in case_ids)]
            raise Refused(Code.INVALID_VALUE, f"{listed(numbers)} {problem}.", field=argument, caseIds=numbers)
