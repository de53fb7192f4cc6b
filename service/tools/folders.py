"""Folders: create, change and delete the nodes of a project's tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain import folders
from service.tools.arguments import expected_version, identifier, integer, optional, required, text
from service.tools.registry import write_tool
from service.tools.results import BOOLEAN, INTEGER, STRING, TIME, record

if TYPE_CHECKING:
    from service.domain.work import Document, Work

NAME = text(minimum=1, maximum=255)
DESCRIPTION = text(maximum=2_000)
FOLDER = record(
    {
        "id": INTEGER,
        "name": STRING,
        "path": STRING,
        "position": INTEGER,
        "caseCount": INTEGER,
        "createdAt": TIME,
        "updatedAt": TIME,
        "version": INTEGER,
    },
    {"parentId": INTEGER, "description": STRING, "deleted": BOOLEAN},
)


@write_tool(
    title="Create a folder",
    description="Create a folder for test cases, under parentId or at the root, last among its siblings. Names need "
    "not be unique: look at get_folders first. Returns the folder. "
    'Example: {"project": 1, "name": "Password reset"}',
    arguments=(
        required("name", NAME),
        optional("parentId", identifier("0 or omitted: the root")),
        optional("description", DESCRIPTION),
    ),
    returns=FOLDER,
    permissions=(Permission.MANAGE_FOLDERS,),
    creates=True,
)
async def create_folder(work: Work, *, project: int, **given: str | int) -> Document:
    return await folders.create_folder(work, project, **given)  # type: ignore[arg-type]


@write_tool(
    title="Rename, move or reorder a folder",
    description="Change a folder; what is not sent stays. parentId moves it with all that is in it (0: to the root), "
    "position puts it among its siblings (0: first). Returns the folder. "
    'Example: {"project": 1, "folderId": 12, "name": "Sign-in"}',
    arguments=(
        required("folderId", identifier()),
        optional("name", NAME),
        optional("parentId", identifier("0: the root")),
        optional("description", DESCRIPTION),
        optional("position", integer(minimum=0, maximum=10_000)),
        expected_version("folder"),
    ),
    returns=FOLDER,
    permissions=(Permission.MANAGE_FOLDERS,),
    destructive=True,
)
async def update_folder(work: Work, *, project: int, folder_id: int, **changes: str | int) -> Document:
    return await folders.update_folder(work, project, folder_id, **changes)  # type: ignore[arg-type]


@write_tool(
    title="Delete an empty folder",
    description="Delete a folder that holds no cases and no sub-folders; move those first with update_test_cases and "
    "update_folder. Returns the folder as it was. "
    'Example: {"project": 1, "folderId": 12}',
    arguments=(required("folderId", identifier()),),
    returns=FOLDER,
    permissions=(Permission.MANAGE_FOLDERS,),
    destructive=True,
)
async def delete_folder(work: Work, *, project: int, folder_id: int) -> Document:
    return await folders.delete_folder(work, project, folder_id)


TOOLS = (create_folder, update_folder, delete_folder)
