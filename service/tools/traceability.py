"""Links to issues, and what they tell: coverage gaps, and from an issue back to its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.tools.registry import Tool

TOOLS: tuple[Tool, ...] = ()
