"""What administrators set up and authors choose from: statuses, lifecycles, environments, tags, sources, relations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.pages import whole_list
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work

_SQL = load(__file__)


async def _documents(work: Work, query: str, *arguments: object) -> list[Document]:
    return [row["document"] for row in await work.connection.fetch(_SQL[query], *arguments)]


async def list_statuses(work: Work, project_id: int) -> Document:
    """Return the statuses that results in the project may have."""
    return whole_list(await _documents(work, "statuses", project_id))


async def status_looks(work: Work) -> list[Document]:
    """Return all statuses of the workspace, in use or not, with their colours."""
    return await _documents(work, "status_looks")


async def list_lifecycle_states(work: Work, project_id: int, *, context: str | None) -> Document:
    """Return the states that cases (REPOSITORY) and runs (RUNS) of the project may be in."""
    return whole_list(await _documents(work, "lifecycle_states", project_id, context))


async def list_environments(work: Work, project_id: int, *, context: str | None) -> Document:
    """Return the environments of the project."""
    return whole_list(await _documents(work, "environments", project_id, context))


async def list_tags(work: Work, project_id: int, *, context: str | None) -> Document:
    """Return the workspace's tags with their usage in the project."""
    return whole_list(await _documents(work, "tags", project_id, context))


async def tags_of_cases(work: Work, project_id: int) -> list[Document]:
    """Return the tags that cases of the project carry, without counting them."""
    tags: list[Document] = whole_list(await _documents(work, "tags_of_cases", project_id))["items"]
    return tags


async def list_sources(work: Work, project_id: int) -> Document:
    """Return the issue trackers of the project, and the relations that a link to them may have."""
    relations = await _documents(work, "relations", project_id)
    return whole_list(await _documents(work, "sources", project_id), relations=relations)
