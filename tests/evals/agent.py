"""What an agent has to work with: the tools, and a count of what using them costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.conftest import Client, RpcFailed, ToolFailed

#: A token is about four characters of compact JSON.
CHARACTERS = 4


@dataclass
class Agent:
    """Calls tools as one user, and counts the calls and the tokens of what they answer."""

    client: Client
    calls: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    tokens: int = 0

    def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return what *tool* answers; raise ToolFailed or RpcFailed as the client would show it."""
        self.calls[tool] += 1
        try:
            answer = self.client.call(tool, **arguments)
        except (ToolFailed, RpcFailed) as failed:
            self.errors.append(f"{tool}: {failed}")
            self._read(failed.error)
            raise
        self._read(answer)
        return answer

    def all(self, tool: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return the items of all pages."""
        page = self(tool, **arguments)
        items = list(page["items"])
        while "nextCursor" in page:
            page = self(tool, **arguments, cursor=page["nextCursor"])
            items += page["items"]
        return items

    def _read(self, document: dict[str, Any]) -> None:
        self.tokens += len(orjson.dumps(document)) // CHARACTERS
