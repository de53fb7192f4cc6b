"""The service's log: one event a line on standard error, as JSON for machines or aligned for people."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, form: str, level: str) -> None:
    """Send structlog's events of *level* and above to standard error, in *form* `json` or `pretty`."""
    render: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if form == "pretty":
        render = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if form == "pretty" else [structlog.processors.format_exc_info]),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
