"""Comments on test cases: read, add, edit, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.tools.registry import Tool

TOOLS: tuple[Tool, ...] = ()
