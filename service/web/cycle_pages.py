"""The cycles of a project as a tree, and one cycle: what its runs and those of the cycles below come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.configuration import status_looks
from service.domain.cycles import COMPLETED, cycles_with_counts, get_cycle
from service.domain.runs import list_runs
from service.web.looks import looks_of
from service.web.visitors import page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit


@page("/projects/<int:project_id>/cycles", needs=[Permission.VIEW_CYCLES])
async def cycles(visit: Visit, project_id: int) -> Response:
    """Show the open cycles and the completed ones, each with those below it."""
    found = await cycles_with_counts(visit.work, project_id)
    tree = list(_tree(found, None, 1))
    roots = {item["id"]: item["state"] == COMPLETED for item in found if "parentId" not in item}
    return await visit.render(
        "cycles.html",
        opened=[item for item in tree if not roots[item["root"]]],
        completed=[item for item in tree if roots[item["root"]]],
        looks=looks_of(await status_looks(visit.work)),
    )


@page("/projects/<int:project_id>/cycles/<int:cycle_id>", needs=[Permission.VIEW_CYCLES])
async def cycle(visit: Visit, project_id: int, cycle_id: int) -> Response:
    """Show a cycle with the cycles below it, and the runs of all of them."""
    found = await get_cycle(visit.work, project_id, cycle_id)
    others = await cycles_with_counts(visit.work, project_id)
    runs: Document | None = None
    if visit.may(Permission.VIEW_TEST_RUNS):
        runs = await list_runs(visit.work, project_id, cycle_id=cycle_id, cursor=visit.text("cursor"))
    return await visit.render(
        "cycle.html",
        cycle=found,
        above=_above(others, found),
        below=list(_tree(others, cycle_id, 1)),
        counts=next(other["counts"] for other in others if other["id"] == cycle_id),
        runs=runs,
        looks=looks_of(await status_looks(visit.work)),
    )


def _tree(items: Sequence[Document], parent_id: int | None, depth: int, root: int | None = None) -> Iterable[Document]:
    for item in items:
        if item.get("parentId") == parent_id:
            top = root or item["id"]
            yield {**item, "depth": depth, "root": top}
            yield from _tree(items, item["id"], depth + 1, top)


def _above(items: Sequence[Document], cycle: Document) -> list[Document]:
    by_id = {item["id"]: item for item in items}
    found: list[Document] = []
    while (parent := by_id.get(cycle.get("parentId"))) is not None:
        found.insert(0, parent)
        cycle = parent
    return found
