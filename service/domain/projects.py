"""Projects, and the users who may enter them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.pages import whole_list
from service.errors import NotFoundOrDenied
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work

_SQL = load(__file__)


async def list_projects(work: Work, *, include_completed: bool) -> Document:
    """Return the projects that the acting user may enter."""
    rows = await work.connection.fetch(_SQL["accessible_projects"], work.actor.user_id, include_completed)
    return whole_list([row["document"] for row in rows])


async def get_project(work: Work, project_id: int) -> Document:
    """Return a project that the acting user may enter."""
    document: Document | None = await work.connection.fetchval(
        _SQL["accessible_project"], work.actor.user_id, project_id
    )
    if document is None:
        raise NotFoundOrDenied
    return document


async def list_users(work: Work, project_id: int) -> Document:
    """Return the users who may enter the project."""
    rows = await work.connection.fetch(_SQL["project_users"], project_id)
    return whole_list([row["document"] for row in rows])
