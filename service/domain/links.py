"""Links of cases and results to issues. Of a case, GENERAL ones are its coverage; of a result, DEFECT ones its defects.

Keys are checked by the source's own pattern, an administrator's regular expression. It is Postgres that matches it:
its engine can be stopped, and is, by the time limit of every query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from service.audit import Change
from service.domain.case_references import CaseRef, split_refs
from service.domain.issue_keys import Source, from_row, named
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

GENERAL = "GENERAL"
DEFECT = "DEFECT"

# What a pattern may begin with to change how the rest is read, such as (?i); it may stand nowhere else.
_OPTIONS = re.compile(r"(?:\(\?[a-z]+\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLink:
    """An issue to link to a result. Without a source it is the project's only one; without a relation, a defect."""

    issue_key: str
    source_id: int | None = None
    relation_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueLink:
    """A link that can be made: to the issue *key* of a source, with the relation."""

    source: Source
    key: str
    url: str
    relation: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedLinks:
    """The links that were wanted, in their order; None where *errors* says, by index, why one cannot be."""

    links: Sequence[IssueLink | None]
    errors: Mapping[int, Refused | NotFoundOrDenied]

    @property
    def keys(self) -> list[str | None]:
        """The keys of the issues in the form in which they are stored."""
        return [link.key if link else None for link in self.links]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trackers:
    """The issue trackers of a project, those that only hold its older issues included, and the relations in use."""

    sources: Sequence[Source]
    relations: Sequence[Document]

    @property
    def enabled(self) -> list[Source]:
        """The sources that new links can have."""
        return [source for source in self.sources if source.enabled]

    def source(self, source_id: int | None) -> Source:
        """Return the source for a new link: that one, or the only one there is."""
        if source_id is not None:
            if (found := next((source for source in self.enabled if source.id == source_id), None)) is None:
                raise NotFoundOrDenied
            return found
        if not self.enabled:
            raise Refused(
                Code.INVALID_VALUE,
                "The project has no issue tracker to link to: an administrator can add one.",
                field="sourceId",
            )
        if len(self.enabled) > 1:
            raise Refused(
                Code.INVALID_VALUE,
                f"The project has several issue trackers: pass sourceId. There are: {named(self.enabled)}.",
                field="sourceId",
            )
        return self.enabled[0]

    def relation(self, relation_id: int | None, *, semantic: str) -> Document:
        """Return the relation of that id, or the default one with that *semantic*."""
        if relation_id is not None:
            if (found := next((one for one in self.relations if one["id"] == relation_id), None)) is None:
                raise NotFoundOrDenied
            return found
        if (first := next((one for one in self.relations if one["semantic"] == semantic), None)) is None:
            others = ", ".join(f"{one['name']} ({one['id']})" for one in self.relations) or "none"
            raise Refused(
                Code.INVALID_VALUE,
                f"The project has no {semantic} relation: pass relationId. There are: {others}.",
                field="relationId",
            )
        return first


async def load_trackers(work: Work, project_id: int) -> Trackers:
    """Return what links in the project can refer to."""
    row = await work.connection.fetchrow(_SQL["trackers"], project_id)
    assert row is not None  # noqa: S101 - it has no FROM
    return Trackers(sources=[from_row(source) for source in row["sources"]], relations=row["relations"])


async def matching_keys(work: Work, source: Source, keys: Sequence[str]) -> frozenset[str]:
    """Return those of *keys* that are keys of the source.

    Raise Refused if its pattern is none, or hopeless; the transaction, or savepoint, has failed then.
    """
    pattern = source.key_pattern
    options = _OPTIONS.match(pattern)
    start = options.end() if options else 0
    whole = f"{pattern[:start]}^(?:{pattern[start:]})$"
    try:
        rows = await work.connection.fetch(_SQL["matching_keys"], list(keys), pattern, whole)
    except asyncpg.InvalidRegularExpressionError as error:
        raise _useless_pattern(source, "is no valid regular expression") from error
    except asyncpg.QueryCanceledError as error:
        raise _useless_pattern(source, "takes too long to match") from error
    return frozenset(row["key"] for row in rows)


def _useless_pattern(source: Source, problem: str) -> Refused:
    return Refused(
        Code.INVALID_VALUE,
        f"The key pattern of {source.name} {problem}: nothing can be linked to it until an administrator corrects it.",
        field="sourceId",
    )


async def prepare_result_links(work: Work, project_id: int, wanted: Sequence[ResultLink]) -> PreparedLinks:
    """Check the links that results are to have, all of them; after errors, nothing is to be written any more."""
    return await _prepare(work, await load_trackers(work, project_id), wanted, semantic=DEFECT)


async def insert_result_links(
    work: Work, project_id: int, prepared: PreparedLinks, result_ids: Sequence[int | None]
) -> None:
    """Link results, in the order in which the links were prepared, to their issues; None links nothing."""
    pairs = zip(prepared.links, result_ids, strict=True)
    rows = [_row(link, result_id=result_id) for link, result_id in pairs if link and result_id is not None]
    await _insert(work, project_id, [link for link in prepared.links if link], rows)


async def link_case(
    work: Work,
    project_id: int,
    ref: CaseRef,
    *,
    issue_key: str,
    source_id: int,
    relation_id: int | None = None,
    run_id: int | None = None,
) -> Document:
    """Link a case, or its latest result in a run, to an issue; a link that is there already is returned as it is."""
    ids, numbers = split_refs([ref])
    case_id = await work.connection.fetchval(_SQL["case_to_link"], project_id, ids, numbers)
    if case_id is None:
        raise NotFoundOrDenied
    trackers = await load_trackers(work, project_id)
    result_id = None
    if run_id is not None:
        result_id = await _latest_result(work, project_id, run_id, case_id)
    wanted = ResultLink(issue_key=issue_key, source_id=source_id, relation_id=relation_id)
    prepared = await _prepare(work, trackers, [wanted], semantic=GENERAL if run_id is None else DEFECT)
    if prepared.errors:
        raise prepared.errors[0]
    [link] = prepared.links
    assert link is not None  # noqa: S101 - it has no error
    row = _row(link, result_id=result_id) if result_id is not None else _row(link, case_id=case_id)
    [made] = await _insert(work, project_id, [link], [row])
    link_id = made["link_id"]
    if link_id is None:
        link_id = await work.connection.fetchval(
            _SQL["same_link"], made["issue_id"], made["relation_id"], made["case_id"], made["result_id"]
        )
    document = await work.connection.fetchval(_SQL["link_document"], project_id, link_id)
    return {**document, "created": made["link_id"] is not None}


async def unlink(work: Work, project_id: int, link_id: int) -> Document:
    """Delete a link of a case or of a result, and return it as it was."""
    row = await work.connection.fetchrow(_SQL["lock_link"], project_id, link_id)
    if row is None:
        raise NotFoundOrDenied
    if row["run_id"] is not None:
        closed_at = await work.connection.fetchval(_SQL["lock_run"], project_id, row["run_id"])
        if closed_at is not None:
            raise _run_closed(closed_at, "the links of its results stay")
    document = await work.connection.fetchval(_SQL["link_document"], project_id, link_id)
    await work.connection.execute(_SQL["delete_link"], project_id, link_id)
    work.changes.append(
        Change(
            action="delete",
            object_type="link",
            object_id=link_id,
            project_id=project_id,
            version_before=1,
            details={
                "issueKey": document["issueKey"],
                "sourceId": document["source"]["id"],
                "relationId": document["relation"]["id"],
                **({"resultId": document["resultId"]} if "resultId" in document else {"caseId": document["caseId"]}),
            },
        )
    )
    return {**document, "deleted": True}


async def _latest_result(work: Work, project_id: int, run_id: int, case_id: int) -> int:
    row = await work.connection.fetchrow(_SQL["result_to_link"], project_id, run_id, case_id)
    if row is None:
        raise NotFoundOrDenied
    if row["closed_at"] is not None:
        raise _run_closed(row["closed_at"], "link the case itself by leaving runId out")
    if row["case_id"] is None:
        raise Refused(
            Code.INVALID_VALUE,
            "The case is not in that run: pass a run that executes it (see list_test_runs), or leave runId out to link "
            "the case itself.",
            field="runId",
        )
    if row["latest_result_id"] is None:
        raise Refused(
            Code.INVALID_STATE,
            "The case has no result in that run yet: record one with record_test_result, or leave runId out to link "
            "the case itself.",
            field="runId",
        )
    result_id: int = row["latest_result_id"]
    return result_id


def _run_closed(closed_at: dt.datetime, advice: str) -> Refused:
    return Refused(
        Code.RUN_CLOSED, f"The run was closed on {closed_at.date()} and accepts no change: {advice}.", field="runId"
    )


async def _prepare(work: Work, trackers: Trackers, wanted: Sequence[ResultLink], *, semantic: str) -> PreparedLinks:
    errors: dict[int, Refused | NotFoundOrDenied] = {}
    found: dict[int, tuple[Source, Document, list[str]]] = {}
    for index, one in enumerate(wanted):
        try:
            source = trackers.source(one.source_id)
            relation = trackers.relation(one.relation_id, semantic=semantic)
            found[index] = source, relation, source.candidates(one.issue_key)
        except (Refused, NotFoundOrDenied) as error:
            errors[index] = error
    links: list[IssueLink | None] = [None] * len(wanted)
    for source in {source.id: source for source, _, _ in found.values()}.values():
        here = {index: keys for index, (of, _, keys) in found.items() if of is source}
        try:
            matching = await matching_keys(work, source, list({key for keys in here.values() for key in keys}))
        except Refused as refused:
            # The transaction has failed: the keys of other sources can wait until this is put right.
            errors |= dict.fromkeys(here, refused)
            break
        for index, keys in here.items():
            given = wanted[index].issue_key
            if (key := next((key for key in keys if key in matching), None)) is None:
                errors[index] = source.refusal(given)
            else:
                links[index] = IssueLink(source=source, key=key, url=source.url(given, key), relation=found[index][1])
    return PreparedLinks(links=links, errors=errors)


def _row(link: IssueLink, *, case_id: int | None = None, result_id: int | None = None) -> Document:
    return {
        "source_id": link.source.id,
        "key": link.key,
        "relation_id": link.relation["id"],
        "case_id": case_id,
        "result_id": result_id,
    }


async def _insert(
    work: Work, project_id: int, links: Sequence[IssueLink], rows: Sequence[Document]
) -> Sequence[Mapping[str, Any]]:
    """Make the links *rows* and the issues that are new; return them with link_id, None where there was one."""
    # An issue that is named several times is one; an address that was given for it counts more than none.
    issues = {(link.source.id, link.key): link.url for link in sorted(links, key=lambda link: link.url)}
    made = await work.connection.fetch(
        _SQL["insert_links"],
        project_id,
        [{"source_id": source_id, "key": key, "url": url} for (source_id, key), url in issues.items()],
        rows,
    )
    work.changes.extend(
        Change(
            action="create",
            object_type="link",
            object_id=row["link_id"],
            project_id=project_id,
            version_after=1,
            details={
                "issueKey": row["key"],
                "sourceId": row["source_id"],
                "relationId": row["relation_id"],
                **({"resultId": row["result_id"]} if row["result_id"] is not None else {"caseId": row["case_id"]}),
            },
        )
        for row in made
        if row["link_id"] is not None
    )
    return made
