"""One event of the log, and of the metrics, for each request: who called what, how it ended, how long it took.

Never what was sent or answered: names that a client makes up, of methods and tools, are not repeated either.
"""

from __future__ import annotations

import itertools
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOG = structlog.get_logger()
_METHODS = frozenset({"initialize", "ping", "server/discover", "tools/call", "tools/list"})
#: What is said of a method or tool that there is not.
UNKNOWN = "unknown"

Caller = TypeVar("Caller")


@dataclass(slots=True)
class Entry:
    """What is known of a request, more and more until it has been answered.

    *outcome* is ok, tool_error, rpc_error (both with a *code*), refused (before the body was looked at; the status
    says why) or gone (nobody was left to answer to).
    """

    began: float = field(default_factory=time.perf_counter)
    caller: Any = None
    address: str | None = None
    method: str | None = None
    tool: str | None = None
    messages: int = 1
    outcome: str = "ok"
    code: str | int | None = None
    status: int | None = None
    authentication_seconds: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0

    def calls(self, method: str) -> None:
        """Note the method."""
        self.method = method if method in _METHODS or method == "batch" else UNKNOWN

    def refused(self, status: int) -> None:
        """Note that the message was not looked at."""
        self.status = status
        self.outcome, self.code = "refused", None

    def failed(self, outcome: str, code: str | int | None) -> None:
        """Note how it failed."""
        self.outcome = outcome
        self.code = code


class CallLog(Generic[Caller]):
    """Writes entries. *identify* tells what is logged of a caller; *observe* gets each entry, and its seconds."""

    def __init__(
        self,
        identify: Callable[[Caller], Mapping[str, int]],
        observe: Callable[[Entry, float], None] | None = None,
    ) -> None:
        self._identify = identify
        self._observe = observe
        # Not the module's, which processes that are forked would share.
        self._process = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def begin(self) -> None:
        """Give the request its id, which every event of the log then carries."""
        structlog.contextvars.bind_contextvars(request_id=f"{self._process}-{next(self._numbers):x}")

    def write(self, entry: Entry) -> None:
        """Log the request."""
        seconds = time.perf_counter() - entry.began
        if self._observe is not None:
            self._observe(entry, seconds)
        fields: dict[str, Any] = {
            "outcome": entry.outcome,
            "duration_ms": round(seconds * 1000, 2),
            "bytes_in": entry.bytes_in,
            "bytes_out": entry.bytes_out,
        }
        for name in ("method", "tool", "code", "status", "address"):
            if (value := getattr(entry, name)) is not None:
                fields[name] = value
        if entry.messages > 1:
            fields["messages"] = entry.messages
        if entry.caller is not None:
            fields |= self._identify(entry.caller)
        # A log that cannot be written, its disk full or its reader gone, is no reason to fail a call.
        with suppress(OSError, ValueError):
            _LOG.info("call", **fields)
