"""All pages of the administration, where it begins, and what their templates can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.administration import Duty
from service.web.admin import access, audit, groups, projects, roles, users
from service.web.visitors import page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jinja2 import Environment
    from quart import Response

    from service.domain.work import Document
    from service.web.visitors import Visit

#: The modules of the pages, whose import declares them.
PAGES = (users, roles, groups, projects, access, audit)


@page("/admin", duty=Duty.SEE_PEOPLE)
async def administration(visit: Visit) -> Response:
    """Lead to the first of the pages."""
    return visit.go_to("admin/users")


def teach(environment: Environment) -> None:
    """Give the templates what the pages of the administration use."""
    environment.filters |= {"by_name": _by_name, "named": _named, "titled": titled}


def titled(choice: str) -> str:
    """Return a choice as people read it: `Tenant Admin` for TENANT_ADMIN."""
    return choice.replace("_", " ").title()


def _by_name(documents: Iterable[Document]) -> list[tuple[int, str]]:
    """Return documents as the options of a select."""
    return [(document["id"], document["name"]) for document in documents]


def _named(choices: Iterable[str]) -> list[tuple[str, str]]:
    """Return choices as the options of a select."""
    return [(choice, titled(choice)) for choice in choices]
