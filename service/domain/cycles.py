"""Cycles: the sprints and releases that group runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.pages import whole_list
from service.sql import load

if TYPE_CHECKING:
    from service.domain.work import Document, Work

_SQL = load(__file__)


async def list_cycles(work: Work, project_id: int) -> Document:
    """Return the project's cycles with the progress of their runs, and the types that a new one may have."""
    cycles = await work.connection.fetch(_SQL["cycles"], project_id)
    types = await work.connection.fetch(_SQL["cycle_types"], project_id)
    return whole_list([row["document"] for row in cycles], types=[row["document"] for row in types])
