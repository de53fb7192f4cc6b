"""Where a person arrives who is signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Visit


@page("/")
async def arrive(visit: Visit) -> Response:
    """Lead to the visitor's API keys."""
    return visit.go_to("profile/keys")
