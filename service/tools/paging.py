"""The arguments of every list that comes in pages."""

from __future__ import annotations

from service.domain.pages import DEFAULT_LIMIT, LARGEST_LIMIT
from service.tools.arguments import described, integer, optional, text

LIMIT = optional("limit", integer(minimum=1, maximum=LARGEST_LIMIT, default=DEFAULT_LIMIT))
CURSOR = optional("cursor", described(text(maximum=4_000), "nextCursor of the page before"))
