"""Coverage: what is not tested, and what the tests say of an issue.

A case *covers* the issues that it is linked to with a relation of semantic GENERAL; links of its results, and DEFECT
links, are no coverage. Deleted cases count for nothing.

In *scope* are a project's cases; with a folder those in it and below, with a cycle those in runs of it and of the
cycles below it, and then only results of these runs count. *Known* issues are those that the project has heard of:
linked in any way, or told by the tracker; with a folder or a cycle, those linked to a case in scope or to a counted
result of one.

The *verdict* on an issue comes from the latest counted result of each case in scope that covers it: FAILING if one has
a status that is a failure, PASSING if all have one that is a success (and no failure), otherwise UNTESTED; NOT_COVERED
if there is no such case.

Gaps, and what they are counted of:

- CASES_WITHOUT_ISSUE: cases in scope that cover no issue, of all in scope.
- ISSUES_WITHOUT_CASE: known issues that are NOT_COVERED, of all known ones.
- ISSUES_NOT_PASSING: known issues that are FAILING or UNTESTED, of those that are covered.
- CASES_NEVER_RUN: cases in scope without a counted result, of all in scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.issue_keys import named, shown
from service.domain.links import load_trackers, matching_keys
from service.domain.pages import DEFAULT_LIMIT, ENVELOPE, LARGEST_ANSWER, Cursor, fitting, page
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.issue_keys import Source
    from service.domain.links import Trackers
    from service.domain.work import Document, Work

_SQL = load(__file__)

KINDS = ("CASES_WITHOUT_ISSUE", "ISSUES_WITHOUT_CASE", "ISSUES_NOT_PASSING", "CASES_NEVER_RUN")

VERDICTS = ("PASSING", "FAILING", "UNTESTED", "NOT_COVERED")

# What is shown of an issue in lists of its cases, runs, cycles and defects, as rows and as characters of JSON.
_TRACED = ("cases", "runs", "cycles", "defects")
_LONGEST_LIST = 200
_ROOM = (LARGEST_ANSWER - 8 * ENVELOPE) // 4


# The queries below are made of those in the file, so that all mean the same by scope and coverage. They have a plan
# made for their arguments: what is null is then not in it. What they have computed they never join, as the planner
# would take it for tiny and compare all with all, but put together and group.

# Whether a case of the scope ($1 to $3) has a counted result, and whether it covers an issue.
_IS_EXECUTED = "EXISTS (SELECT FROM results e WHERE e.case_id = c.id AND ($3::bigint[] IS NULL OR e.run_id = ANY ($3)))"
_IS_COVERING = (
    "EXISTS (SELECT FROM links k JOIN relations m ON m.id = k.relation_id AND m.semantic = 'GENERAL' "
    "WHERE k.case_id = c.id)"
)


def _verdicts(issues: str, covering: str, *, figures: str = "") -> str:
    """Return a query for the verdicts on *issues*, with *figures*, from the rows of *covering*."""
    return f"""
    SELECT o.id, {figures}
        CASE
            WHEN count(o.case_id) = 0 THEN 'NOT_COVERED'
            WHEN bool_or(o.failed) THEN 'FAILING'
            WHEN count(*) FILTER (WHERE o.passed) = count(o.case_id) THEN 'PASSING'
            ELSE 'UNTESTED'
        END AS verdict
    FROM (
        SELECT i.id, NULL::bigint AS case_id, NULL::boolean AS passed, NULL::boolean AS failed FROM ({issues}) i
        UNION ALL
        SELECT v.issue_id, v.case_id, v.passed, v.failed FROM ({covering}) v
    ) o
    GROUP BY o.id
"""


# A case may cover an issue by several relations.
_FIGURES = """
        count(DISTINCT o.case_id) AS cases, count(DISTINCT o.case_id) FILTER (WHERE o.passed) AS passing,"""

# How many cases and issues there are in scope, how many of them are what, and the ids of the issues with one of the
# verdicts $5 (null: of none) after $6, at most $7. $4 is null: all issues.
GAPS = f"""
    WITH covering AS MATERIALIZED ({_SQL["covering"]}), issue AS MATERIALIZED (
        {_verdicts(_SQL["issues_in_scope"], "SELECT v.issue_id, v.case_id, v.passed, v.failed FROM covering v")}
    )
    SELECT
        (SELECT count(*) FROM ({_SQL["cases_in_scope"]}) c) AS cases,
        (SELECT count(*) FROM ({_SQL["cases_in_scope"]}) c WHERE {_IS_EXECUTED}) AS executed,
        (SELECT count(DISTINCT v.case_id) FROM covering v) AS covering,
        (
            SELECT coalesce(json_object_agg(n.verdict, n.issues), '{{}}')
            FROM (SELECT i.verdict, count(*) AS issues FROM issue i GROUP BY i.verdict) n
        ) AS verdicts,
        ARRAY(
            SELECT i.id FROM issue i
            WHERE i.verdict = ANY ($5::text[]) AND ($6::bigint IS NULL OR i.id > $6)
            ORDER BY i.id
            LIMIT $7
        ) AS page
"""

# Of the cases in scope the ids of those that are a gap, by its kind, after $4, at most $5.
CASE_PAGES = {
    kind: f"""
    SELECT c.id FROM ({_SQL["cases_in_scope"]}) c
    WHERE NOT {fact} AND ($4::bigint IS NULL OR c.id > $4)
    ORDER BY c.id
    LIMIT $5::bigint
"""
    for kind, fact in (("CASES_WITHOUT_ISSUE", _IS_COVERING), ("CASES_NEVER_RUN", _IS_EXECUTED))
}
_VERDICTS_OF = {"ISSUES_WITHOUT_CASE": ["NOT_COVERED"], "ISSUES_NOT_PASSING": ["FAILING", "UNTESTED"]}

_OF_ISSUES = _verdicts(
    "SELECT i.id FROM issues i WHERE i.project_id = $1 AND i.id = ANY ($4::bigint[])",
    _SQL["covering"],
    figures=_FIGURES,
)
# The issues $4 with the verdicts on them, in the order given.
ISSUES = f"""
    SELECT v.id, json_strip_nulls(json_build_object(
        'issueKey', i.key,
        'source', json_build_object('id', t.id, 'name', t.name),
        'url', nullif(i.url, ''),
        'title', nullif(i.title, ''),
        'status', nullif(i.status, ''),
        'verdict', v.verdict,
        'caseCount', v.cases,
        'passingCount', v.passing
    )) AS document
    FROM ({_OF_ISSUES}) v
    JOIN issues i ON i.id = v.id
    JOIN sources t ON t.id = i.source_id
    ORDER BY array_position($4::bigint[], v.id)
"""


# The issues with verdict $5 (null: any) after the key ($6 to $9), at most $10, and how many have which verdict. In the
# order of their keys: SHOP-9 is before SHOP-10. $2 to $4 are null: all issues.
_ISSUE_ORDER = "rtrim(i.key, '0123456789'), length(i.key), i.key, i.id"
ISSUE_PAGE = f"""
    WITH issue AS MATERIALIZED ({_verdicts(_SQL["issues_in_scope"], _SQL["covering"])})
    SELECT
        (
            SELECT coalesce(json_object_agg(n.verdict, n.issues), '{{}}')
            FROM (SELECT i.verdict, count(*) AS issues FROM issue i GROUP BY i.verdict) n
        ) AS verdicts,
        ARRAY(
            SELECT i.id
            FROM issues i
            WHERE i.project_id = $1 AND i.id IN (SELECT s.id FROM issue s WHERE $5::text IS NULL OR s.verdict = $5)
                AND ($6::text IS NULL OR ({_ISSUE_ORDER}) > ($6, $7::integer, $8::varchar, $9::bigint))
            ORDER BY {_ISSUE_ORDER}
            LIMIT $10
        ) AS page
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The issue that a key stands for: its id where the project knows it, and its source unless it may be several's."""

    key: str
    issue_id: int | None = None
    source: Source | None = None


async def coverage_gaps(
    work: Work,
    project_id: int,
    *,
    kind: str | None = None,
    folder_id: int | None = None,
    cycle_id: int | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Document:
    """Return how many gaps of every kind there are, and with *kind* a page of these; folder 0 is the whole tree."""
    place = Cursor("get_coverage_gaps", project_id, kind, folder_id, cycle_id)
    after = place.read(cursor) or [None]
    limits = await work.connection.fetchrow(_SQL["scope"], project_id, folder_id or None, cycle_id)
    if limits is None:
        raise NotFoundOrDenied
    scope = project_id, limits["folders"], limits["runs"]
    fetch = work.connection.fetch_planned
    [row] = await fetch(GAPS, *scope, None, _VERDICTS_OF.get(kind or ""), *after, limit + 1)
    verdicts: dict[str, int] = row["verdicts"]
    issues = sum(verdicts.values())
    covered = issues - verdicts.get("NOT_COVERED", 0)
    counted = {
        "CASES_WITHOUT_ISSUE": (row["cases"] - row["covering"], row["cases"]),
        "ISSUES_WITHOUT_CASE": (issues - covered, issues),
        "ISSUES_NOT_PASSING": (covered - verdicts.get("PASSING", 0), covered),
        "CASES_NEVER_RUN": (row["cases"] - row["executed"], row["cases"]),
    }
    figures: Document = {"gaps": [_figure(name, *counted[name]) for name in KINDS]}
    if kind is None:
        return figures
    if kind in CASE_PAGES:
        ids = [row["id"] for row in await fetch(CASE_PAGES[kind], *scope, *after, limit + 1)]
        rows = await work.connection.fetch(_SQL["case_gaps"], ids)
    else:
        ids = row["page"]
        rows = await fetch(ISSUES, *scope, ids)
    items = [row["document"] for row in rows]
    beside = {**figures, "kind": kind}
    return page(items, total=counted[kind][0], limit=limit, cursor=place, key=lambda i: (ids[i],), beside=beside)


async def list_issues(
    work: Work, project_id: int, *, verdict: str | None = None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Document:
    """Return a page of the project's issues by key, with the verdicts on them, and how many have which verdict."""
    place = Cursor("issues", project_id, verdict)
    after = place.read(cursor) or [None] * 4
    [row] = await work.connection.fetch_planned(ISSUE_PAGE, project_id, None, None, None, verdict, *after, limit + 1)
    ids, verdicts = row["page"], {name: row["verdicts"].get(name, 0) for name in VERDICTS}
    rows = await work.connection.fetch_planned(ISSUES, project_id, None, None, ids)
    items = [{"id": found["id"], **found["document"]} for found in rows]
    total = sum(verdicts.values()) if verdict is None else verdicts.get(verdict, 0)
    beside = {"verdicts": verdicts}

    def key(index: int) -> tuple[str, int, str, int]:
        text = items[index]["issueKey"]
        return text.rstrip("0123456789"), len(text), text, items[index]["id"]

    return page(items, total=total, limit=limit, cursor=place, key=key, beside=beside)


def _figure(kind: str, count: int, of: int) -> Document:
    return {"kind": kind, "count": count, "of": of, "percentage": round(100 * count / of, 1) if of else 0}


async def reverse_traceability(
    work: Work, project_id: int, *, issue_key: str, source_id: int | None = None
) -> Document:
    """Return what the tests say of an issue: its verdict, its cases, where they were executed, the defects raised."""
    trackers = await load_trackers(work, project_id)
    found = await _find_issue(work, project_id, trackers, issue_key, source_id)
    if found.issue_id is not None:
        return await trace_issue(work, project_id, found.issue_id)
    none: Document = {name: [] for name in _TRACED}
    return {**_unknown_issue(found, issue_key), **none, "totals": dict.fromkeys(_TRACED, 0)}


async def trace_issue(work: Work, project_id: int, issue_id: int) -> Document:
    """Return what reverse_traceability does for a known issue, given by its id."""
    rows = await work.connection.fetch_planned(ISSUES, project_id, None, None, [issue_id])
    if not rows:
        raise NotFoundOrDenied
    document: Document = rows[0]["document"]
    lists, totals = {}, {}
    for name in _TRACED:
        rows = await work.connection.fetch(_SQL[f"{name}_of_issue"], issue_id, _LONGEST_LIST)
        lists[name] = [row["document"] for row in rows]
        totals[name] = rows[0]["total"] if rows else 0
    shown_lists = {name: items[: fitting(items, _ROOM)] for name, items in lists.items()}
    document |= {**shown_lists, "totals": totals}
    cut = [f"{len(items)} of {totals[name]} {name}" for name, items in shown_lists.items() if len(items) < totals[name]]
    if cut:
        document["truncated"] = f"Only {', '.join(cut)} are shown: of cases the first, of all else the latest."
    return document


def _unknown_issue(found: _Found, given: str) -> Document:
    document: Document = {"issueKey": found.key, "verdict": "NOT_COVERED", "caseCount": 0, "passingCount": 0}
    if found.source is not None:
        document["source"] = {"id": found.source.id, "name": found.source.name}
        if url := found.source.url(given, found.key):
            document["url"] = url
    return document


async def _find_issue(work: Work, project_id: int, trackers: Trackers, given: str, source_id: int | None) -> _Found:
    """Return the issue that *given* stands for: the one that the project knows, or one that it could know."""
    sources = [source for source in trackers.sources if source_id in {None, source.id}]
    if source_id is not None and not sources:
        raise NotFoundOrDenied
    readings, refusals = _read(sources, given)
    known = await _known_issues(work, project_id, readings)
    if len(known) > 1:
        several = named(source for source in sources if source.id in known)
        raise Refused(
            Code.INVALID_VALUE,
            f"Several trackers have an issue {shown(given.strip())}: pass sourceId. They are: {several}.",
            field="sourceId",
        )
    for source, _ in readings:
        if source.id in known:
            issue_id, key = known[source.id]
            return _Found(key=key, issue_id=issue_id, source=source)
    usable = [(source, keys) for source, keys in readings if source.enabled or source_id is not None]
    possible = await _possible_issues(work, usable, refusals, given)
    if not possible:
        raise _no_issue(sources, given, refusals)
    # Where several trackers may have it, none of them is known to.
    return possible[0] if len(possible) == 1 else _Found(key=possible[0].key)


async def _possible_issues(
    work: Work, readings: Sequence[tuple[Source, list[str]]], refusals: list[Refused], given: str
) -> list[_Found]:
    """Return the issues that *given* would be by the patterns of the sources, and add to *refusals* why it is none."""
    possible = []
    for source, keys in readings:
        try:
            async with work.connection.savepoint():
                matching = await matching_keys(work, source, keys)
        except Refused as refused:
            refusals.append(refused)
            continue
        found = next((key for key in keys if key in matching), None)
        if found is None:
            refusals.append(source.refusal(given.strip()))
        else:
            possible.append(_Found(key=found, source=source))
    return possible


def _read(sources: Sequence[Source], given: str) -> tuple[list[tuple[Source, list[str]]], list[Refused]]:
    readings, refusals = [], []
    for source in sources:
        try:
            readings.append((source, source.candidates(given)))
        except Refused as refused:
            refusals.append(refused)
    return readings, refusals


async def _known_issues(
    work: Work, project_id: int, readings: Sequence[tuple[Source, list[str]]]
) -> dict[int, tuple[int, str]]:
    """Return the known issues, id and key, by source; of several readings in one source, the likeliest."""
    pairs = [(source.id, key) for source, keys in readings for key in keys]
    rows = await work.connection.fetch(
        _SQL["issues_by_key"], project_id, [source_id for source_id, _ in pairs], [key for _, key in pairs]
    )
    by_pair = {(row["source_id"], row["key"]): row["id"] for row in rows}
    known: dict[int, tuple[int, str]] = {}
    for pair in pairs:
        if pair in by_pair:
            known.setdefault(pair[0], (by_pair[pair], pair[1]))
    return known


def _no_issue(sources: Sequence[Source], given: str, refusals: Sequence[Refused]) -> Refused:
    if len(refusals) == 1:
        return refusals[0]
    return Refused(
        Code.INVALID_VALUE,
        f"{shown(given.strip())} is no issue of any tracker of the project. There are: {named(sources)}. For the form "
        "of their keys see get_external_sources.",
        field="issueKey",
    )
