"""Test runs: list, read, start, change, record results, summarise, close."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.tools.registry import Tool

TOOLS: tuple[Tool, ...] = ()
