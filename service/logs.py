"""The service's log: one event a line on standard error, as JSON for machines or aligned for people.

Of an exception it tells where and of which kind, not its message: that may repeat what a caller sent.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_DATA_EXCEPTION = "22"


def configure_logging(*, form: str, level: str) -> None:
    """Send structlog's events of *level* and above to standard error, in *form* `json` or `pretty`."""
    pretty = form == "pretty"
    formatter = structlog.processors.ExceptionRenderer(_tell)
    render: list[structlog.typing.Processor] = [formatter, structlog.processors.JSONRenderer(serializer=_to_json)]
    if pretty:
        render = [formatter, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
        if pretty
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except orjson.JSONEncodeError:
        # A lone surrogate, an integer of any size.
        return json.dumps(event, default=repr).encode()


def _tell(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    return "\n".join(_lines(exc_info[1]))


def _lines(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _lines(cause)
        yield "which led to"
    yield "".join(traceback.format_tb(error.__traceback__)) + _name(error)


def _name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # What the database says of itself: not the detail, which quotes rows, nor of data that it could not read.
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate and not error.sqlstate.startswith(_DATA_EXCEPTION):
        return f"{name}: {error.args[0] if error.args else ''} ({error.sqlstate})"
    return name
