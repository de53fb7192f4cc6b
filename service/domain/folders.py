"""The folder tree of a project."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.audit import Change
from service.domain.pages import whole_list
from service.domain.versions import check_version
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

DEEPEST = 20
ROOT = 0
_SMALL_TREE = 60


async def list_folders(work: Work, project_id: int, *, parent_id: int = ROOT) -> Document:
    """Return the tree below a folder, depth-first, each folder with its path and the number of cases directly in it.

    Of a tree too large for one answer the upper levels are shown, as many as fit.
    """
    rows = await work.connection.fetch(_SQL["folders"], project_id)
    children: dict[int | None, list[asyncpg.Record]] = {}
    for row in rows:
        children.setdefault(row["parent_id"], []).append(row)
    above = ""
    if parent_id != ROOT:
        above = (await get_folder(work, project_id, parent_id))["path"]
    levels: list[int] = []
    items: list[Document] = []
    waiting = [(row, above, 1) for row in reversed(children.get(parent_id or None, []))]
    while waiting:
        row, above, level = waiting.pop()
        path = f"{above} / {row['name']}" if above else row["name"]
        item: Document = {"id": row["id"], "name": row["name"]}
        if row["parent_id"] is not None:
            item["parentId"] = row["parent_id"]
        items.append({**item, "path": path, "caseCount": row["case_count"]})
        levels.append(level)
        waiting += [(child, path, level + 1) for child in reversed(children.get(row["id"], []))]
    return _upper_levels(items, levels)


async def folder_tree(work: Work, project_id: int, *, opened: int = ROOT) -> list[Document]:
    """Return the part of the tree that one sees with folder *opened*: what is beside and above it, and its children.

    Depth-first; each with its depth, the number of cases in it and below, and whether it has folders below. A small
    tree is open as a whole.
    """
    rows = await work.connection.fetch(_SQL["folders"], project_id)
    parents = {row["id"]: row["parent_id"] for row in rows}
    children: dict[int | None, list[asyncpg.Record]] = {}
    cases = {row["id"]: row["case_count"] for row in rows}
    for row in rows:
        children.setdefault(row["parent_id"], []).append(row)
    if opened != ROOT and opened not in parents:
        raise NotFoundOrDenied
    path: set[int | None] = {None}
    above: int | None = opened or None
    while above is not None:
        path.add(above)
        above = parents[above]
    order: list[asyncpg.Record] = []
    waiting = list(children.get(None, []))
    while waiting:
        order.append(waiting.pop())
        waiting += children.get(order[-1]["id"], [])
    for row in reversed(order):
        if row["parent_id"] is not None:
            cases[row["parent_id"]] += cases[row["id"]]
    is_small = len(rows) <= _SMALL_TREE
    items: list[Document] = []
    shown = [(row, 1) for row in reversed(children.get(None, []))]
    while shown:
        row, depth = shown.pop()
        below = children.get(row["id"], [])
        is_open = bool(below) and (is_small or row["id"] in path)
        items.append(
            {
                "id": row["id"],
                "name": row["name"],
                "depth": depth,
                "caseCount": cases[row["id"]],
                "hasFolders": bool(below),
                "open": is_open,
            }
        )
        if is_open:
            shown += [(child, depth + 1) for child in reversed(below)]
    return items


def _upper_levels(items: Sequence[Document], levels: Sequence[int]) -> Document:
    for deepest in range(max(levels, default=1), 0, -1):
        document = whole_list([item for item, level in zip(items, levels, strict=True) if level <= deepest])
        if "truncated" not in document:
            break
    if (shown := len(document["items"])) < len(items):
        document["total"] = len(items)
        document["truncated"] = f"Only {shown} of {len(items)} folders are shown: pass parentId to see those below one."
    return document


async def get_folder(work: Work, project_id: int, folder_id: int) -> Document:
    """Return one folder."""
    document: Document | None = await work.connection.fetchval(_SQL["folder"], project_id, folder_id)
    if document is None:
        raise NotFoundOrDenied
    return document


async def create_folder(
    work: Work, project_id: int, *, name: str, parent_id: int = ROOT, description: str = ""
) -> Document:
    """Create a folder, the last among its siblings."""
    await _lock_tree(work, project_id)
    depth = 1
    if parent_id != ROOT:
        depth = await _depth(work, project_id, parent_id) + 1
    with _tree_rules():
        folder_id = await work.connection.fetchval(
            _SQL["insert_folder"], project_id, parent_id or None, depth, name, description
        )
    work.changes.append(
        Change(action="create", object_type="folder", object_id=folder_id, project_id=project_id, version_after=1)
    )
    return await get_folder(work, project_id, folder_id)


async def update_folder(
    work: Work,
    project_id: int,
    folder_id: int,
    *,
    name: str | None = None,
    parent_id: int | None = None,
    description: str | None = None,
    position: int | None = None,
    expected_version: int | None = None,
) -> Document:
    """Rename, move or reorder a folder; what is None stays. Moving takes the sub-tree along."""
    await _lock_tree(work, project_id)
    row = await work.connection.fetchrow(_SQL["lock_folder"], project_id, folder_id)
    if row is None:
        raise NotFoundOrDenied
    await check_version(work, folder_id, current=row["version"], expected=expected_version)
    before = await get_folder(work, project_id, folder_id)
    new_parent = row["parent_id"] if parent_id is None else parent_id or None
    with _tree_rules():
        if new_parent != row["parent_id"]:
            await _move(work, project_id, folder_id, depth=row["depth"], new_parent=new_parent)
        if position is not None or new_parent != row["parent_id"]:
            await _place(work, project_id, folder_id, parent=new_parent, position=position)
    new_name = row["name"] if name is None else name
    new_description = row["description"] if description is None else description
    moved = await get_folder(work, project_id, folder_id)
    if moved == before and (new_name, new_description) == (row["name"], row["description"]):
        return before
    await work.connection.execute(_SQL["update_folder"], project_id, folder_id, new_name, new_description)
    work.changes.append(
        Change(
            action="update",
            object_type="folder",
            object_id=folder_id,
            project_id=project_id,
            version_before=row["version"],
            version_after=row["version"] + 1,
            details={"path": before["path"]},
        )
    )
    return await get_folder(work, project_id, folder_id)


async def delete_folder(work: Work, project_id: int, folder_id: int) -> Document:
    """Delete a folder that has neither cases nor sub-folders, and return it as it was."""
    await _lock_tree(work, project_id)
    row = await work.connection.fetchrow(_SQL["lock_folder"], project_id, folder_id)
    if row is None:
        raise NotFoundOrDenied
    contents = await work.connection.fetchrow(_SQL["folder_contents"], project_id, folder_id)
    if contents is not None and (contents["cases"] or contents["folders"]):
        raise Refused(
            Code.FOLDER_NOT_EMPTY,
            f"The folder has {contents['cases']} cases and {contents['folders']} sub-folders: "
            "move them first (update_test_cases, update_folder), then delete it.",
            cases=contents["cases"],
            folders=contents["folders"],
        )
    document = await get_folder(work, project_id, folder_id)
    await work.connection.execute(_SQL["release_deleted_cases"], project_id, folder_id)
    await work.connection.execute(_SQL["delete_folder"], project_id, folder_id)
    work.changes.append(
        Change(
            action="delete",
            object_type="folder",
            object_id=folder_id,
            project_id=project_id,
            version_before=row["version"],
            details={"path": document["path"]},
        )
    )
    return {**document, "deleted": True}


async def _lock_tree(work: Work, project_id: int) -> None:
    """Let no other folder of the project change until this call ends: a move is checked against the whole tree."""
    await work.connection.execute(_SQL["lock_tree"], project_id)


async def _depth(work: Work, project_id: int, folder_id: int) -> int:
    depth: int | None = await work.connection.fetchval(_SQL["folder_depth"], project_id, folder_id)
    if depth is None:
        raise NotFoundOrDenied
    return depth


async def _move(work: Work, project_id: int, folder_id: int, *, depth: int, new_parent: int | None) -> None:
    new_depth = 1
    if new_parent is not None:
        new_depth = await _depth(work, project_id, new_parent) + 1
        if await work.connection.fetchval(_SQL["is_in_subtree"], project_id, new_parent, folder_id):
            raise Refused(
                Code.INVALID_MOVE,
                "A folder cannot be moved under itself or one of its sub-folders: choose another parentId.",
            )
    await work.connection.execute(_SQL["move_folder"], project_id, folder_id, new_parent, new_depth - depth)


async def _place(work: Work, project_id: int, folder_id: int, *, parent: int | None, position: int | None) -> None:
    rows = await work.connection.fetch(_SQL["siblings"], project_id, parent)
    order = [row["id"] for row in rows if row["id"] != folder_id]
    order.insert(len(order) if position is None else position, folder_id)
    await work.connection.execute(_SQL["order_folders"], project_id, order)


@contextmanager
def _tree_rules() -> Iterator[None]:
    try:
        yield
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "folders_depth_check":
            raise
        raise Refused(
            Code.INVALID_MOVE, f"Folders nest at most {DEEPEST} levels deep: choose a higher parent."
        ) from error
