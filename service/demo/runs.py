"""The demo's execution: cycles, runs with their cases and results, and the issues that both are linked to."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from service.demo.loading import Content, Hour, Loading, Node, nodes
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.demo.cases import Histories

_SQL = load(__file__)

# Cycles are set up two weeks before they start.
_AHEAD = 14
_A_LITTLE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """A result in its run."""

    run: Content
    content: Content
    at: dt.datetime


async def insert_runs(
    loading: Loading, project: Content, project_id: int, *, founder: int | None, histories: Histories
) -> None:
    """Insert the project's cycles, runs, results, issues and links."""
    await _insert_cycles(loading, project, project_id, founder)
    results = _results(loading, project)
    await loading.name("run", [run["title"] for run in project["runs"]])
    await loading.connection.execute(
        _SQL["insert_runs"], project_id, [_run_row(loading, run, results) for run in project["runs"]]
    )
    planned = [(run, key) for run in project["runs"] for key in _selected(project, run)]
    versions = {(run["title"], key): _version_of_that_day(histories, key, run) for run, key in planned}
    await loading.connection.execute(
        _SQL["insert_run_cases"],
        [
            {
                "run_id": loading.id("run", run["title"]),
                "case_id": loading.id("case", key),
                "case_version": versions[run["title"], key],
                "assignee_id": loading.id("user", run.get("assignees", {}).get(key, run.get("assignee"))),
            }
            for run, key in planned
        ],
    )
    ids = await loading.take_ids(len(results))
    await _insert_results(loading, project_id, ids, results, versions)
    await _insert_issues(loading, project, project_id, histories, dict(zip(ids, results, strict=True)))


async def _insert_cycles(loading: Loading, project: Content, project_id: int, founder: int | None) -> None:
    cycles = list(nodes(project["cycles"]))
    await loading.name("cycle", [cycle.content["name"] for cycle in cycles])
    rows = [_cycle_row(loading, cycle) for cycle in cycles]
    await loading.connection.execute(_SQL["insert_cycles"], project_id, rows, founder)


def _cycle_row(loading: Loading, cycle: Node) -> dict[str, Any]:
    """Return the row of *cycle*, which changed at its start and at its completion."""
    content = cycle.content
    days_ago = max(1, _AHEAD - content["start"])
    changes = [content["start"]] if content["state"] != "UPCOMING" else []
    changes += [content["completed"]] if content["state"] == "COMPLETED" else []
    created_at = loading.clock.moment(days_ago, Hour.PLANNING)
    return {
        "id": loading.id("cycle", content["name"]),
        "type_id": loading.id("cycle type", content["type"]),
        "parent_id": loading.id("cycle", cycle.parent.content["name"] if cycle.parent else None),
        "depth": cycle.depth,
        "name": content["name"],
        "description": content.get("description", ""),
        "state": content["state"],
        "start_date": loading.clock.day(content["start"]),
        "end_date": loading.clock.day(content["end"]),
        "completed_date": loading.clock.day(content["completed"]) if "completed" in content else None,
        "created_at": created_at,
        "updated_at": loading.clock.moment(-changes[-1], Hour.CLOSING) if changes else created_at,
        "version": 1 + len(changes),
    }


def _results(loading: Loading, project: Content) -> list[_Result]:
    """Return all results of the project in the order of time, so that the latest gets the last id."""
    results = [
        _Result(run=run, content=result, at=loading.clock.moment(result["days_ago"], Hour.TESTING))
        for run in project["runs"]
        for result in run.get("results", ())
    ]
    return sorted(results, key=lambda result: result.at)


def _run_row(loading: Loading, run: Content, results: Sequence[_Result]) -> dict[str, Any]:
    """Return the row of *run*, which changed at its first result and at its closing."""
    created_at = loading.clock.moment(run["created"], Hour.PLANNING)
    closed_at = loading.clock.moment(run["closed"], Hour.CLOSING) if "closed" in run else None
    first_at = next((result.at for result in results if result.run is run), None)
    changes = [at for at in (first_at, closed_at) if at is not None]
    return {
        "id": loading.id("run", run["title"]),
        "cycle_id": loading.id("cycle", run.get("cycle")),
        "lifecycle_state_id": loading.id("RUNS state", run["state"]),
        "environment_id": loading.id("environment", run.get("environment")),
        "title": run["title"],
        "notes": run.get("notes", ""),
        "tag_ids": [loading.id("RUNS tag", tag) for tag in run.get("tags", ())],
        "created_by": loading.id("user", run["created_by"]),
        "created_at": created_at,
        "updated_at": changes[-1] if changes else created_at,
        "closed_at": closed_at,
        "closed_by": loading.id("user", run.get("closed_by")),
        "version": 1 + len(changes),
    }


def _selected(project: Content, run: Content) -> Iterator[str]:
    """Yield the keys of the run's cases: those it names, and of what it selects those ready before the run."""
    for case in project["cases"]:
        selectors = {case["key"]}
        if case["state"] == "Ready" and case["created"] > run["created"]:
            folders = accumulate(case["folder"].split(" / "), "{} / {}".format)
            selectors |= {"all_ready", *(f"folder:{path}" for path in folders)}
        if not selectors.isdisjoint(run["cases"]):
            yield case["key"]


def _version_of_that_day(histories: Histories, key: str, run: Content) -> int:
    _, *edits = histories[key]
    return 1 + sum(1 for version in edits if version.days_ago > run["created"])


async def _insert_results(
    loading: Loading,
    project_id: int,
    ids: Sequence[int],
    results: Sequence[_Result],
    versions: dict[tuple[str, str], int],
) -> None:
    await loading.connection.execute(
        _SQL["insert_results"],
        [
            {
                "id": result_id,
                "run_id": loading.id("run", result.run["title"]),
                "case_id": loading.id("case", result.content["case"]),
                "case_version": versions[result.run["title"], result.content["case"]],
                "status_id": loading.id("status", result.content["status"]),
                "comment": result.content.get("comment", ""),
                "elapsed_seconds": result.content.get("elapsed_seconds"),
                "steps": result.content.get("step_results", []),
                "created_by": loading.id("user", result.content["by"]),
                "created_at": result.at,
            }
            for result_id, result in zip(ids, results, strict=True)
        ],
    )
    await loading.connection.execute(_SQL["set_latest_results"], project_id)


async def _insert_issues(
    loading: Loading, project: Content, project_id: int, histories: Histories, results: dict[int, _Result]
) -> None:
    issues = project["issues"]
    await loading.name("issue", [f"{issue['source']}: {issue['key']}" for issue in issues])
    links = [_case_link(loading, link, histories) for link in project["links"]]
    links += [_defect_link(loading, defect, results) for defect in project["defects"]]
    synced_at = loading.clock.moment(1, Hour.CLOSING)
    rows = []
    for issue in issues:
        issue_id = loading.id("issue", f"{issue['source']}: {issue['key']}")
        linked = [link["created_at"] for link in links if link["issue_id"] == issue_id]
        rows.append(
            {
                "id": issue_id,
                "source_id": loading.id("source", issue["source"]),
                "key": issue["key"],
                "title": issue["title"],
                "status": issue["status"],
                "synced_at": synced_at,
                "created_at": min([*linked, synced_at]),
            }
        )
    await loading.connection.execute(_SQL["insert_issues"], project_id, rows)
    await loading.connection.execute(_SQL["insert_links"], project_id, links)


def _case_link(loading: Loading, link: Content, histories: Histories) -> dict[str, Any]:
    first = histories[link["case"]][0]
    return {
        "issue_id": loading.id("issue", f"{link['source']}: {link['issue']}"),
        "relation_id": loading.id("relation", link["relation"]),
        "case_id": loading.id("case", link["case"]),
        "created_by": loading.id("user", first.by),
        "created_at": first.at + _A_LITTLE,
    }


def _defect_link(loading: Loading, defect: Content, results: dict[int, _Result]) -> dict[str, Any]:
    """Return a link on the case's latest failure in the run, or on what blocked it last if it never failed."""
    result_id, result = max(
        (
            (result_id, result)
            for result_id, result in results.items()
            if (result.run["title"], result.content["case"]) == (defect["run"], defect["case"])
            and result.content["status"] in {"Failed", "Blocked"}
        ),
        key=lambda found: (found[1].content["status"] == "Failed", found[0]),
    )
    return {
        "issue_id": loading.id("issue", f"{defect['source']}: {defect['issue']}"),
        "relation_id": loading.id("relation", defect["relation"]),
        "result_id": result_id,
        "created_by": loading.id("user", result.content["by"]),
        "created_at": result.at + _A_LITTLE,
    }
