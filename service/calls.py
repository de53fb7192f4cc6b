"""What passes between the protocol and the tools: the result of a call, and why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What a tool answers: an object, and the text shown beside it; by default the same object as compact JSON."""

    structured: dict[str, Any]
    is_error: bool = False
    text: str | None = None


class InvalidParams(Exception):  # noqa: N818 - JSON-RPC's name for it
    """No call of a tool: the tool is unknown, or the arguments have another shape. JSON-RPC -32602."""

    def __init__(self, message: str, *, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class KeyRefused(Exception):  # noqa: N818 - an answer, not a fault
    """The caller's key does not work any more."""


class Unavailable(Exception):  # noqa: N818 - says what is the matter
    """The database, or the caller's workspace, cannot be had just now; *retry_after* is in seconds."""

    def __init__(
        self, message: str = "The service is not available just now: try again in a moment.", *, retry_after: int = 1
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
