"""The pages that say why there is no other. They know nothing of workspace or visitor, so they can tell nothing."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING

import asyncpg
import structlog
from quart import Response
from werkzeug.exceptions import HTTPException, NotFound

from service.access import is_denial
from service.errors import NotFoundOrDenied, Refused
from service.limits import Busy
from service.web.sessions import OutOfDate
from service.web.templating import environment
from tenancy.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = structlog.get_logger()
_BUSY = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    DatabaseUnavailable,
    Busy,
)
_BUSY_SECONDS = 5
_MIGRATING_SECONDS = 30


class Migrating(Exception):  # noqa: N818 - says what is the matter
    """The workspace is at a version that this release does not serve."""


def fault_page(status: int, title: str, text: str, *, root: str = "", retry_after: int | None = None) -> Response:
    """Return a page of that status; *root* is where its one link leads."""
    html = environment.get_template("fault.html").render(title=title, text=text, root=root)
    answer = Response(html, status, content_type="text/html; charset=utf-8")
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer


def not_found(root: str = "") -> Response:
    """Return the one answer to what does not exist and to what may not be seen."""
    return fault_page(404, "Not found", "There is no such page, or you may not see it.", root=root)


def too_many_pages(retry_after: float, address: str) -> Response:
    """Return the page for an address that asks too often; the connection ends with it, and what else came over it."""
    _LOG.info("page", status=429, address=address)
    text = "Your network has asked for too many pages. Wait a moment and try again."
    answer = fault_page(429, "Too many requests", text, retry_after=math.ceil(retry_after))
    answer.headers["Connection"] = "close"
    return answer


def page_of(error: HTTPException) -> Response:
    """Return the page for what no route takes."""
    return not_found() if isinstance(error, NotFound) else _http(error, "")


def page_for(error: Exception, root: str) -> Response:
    """Return the page for what a page raised; a fault of ours is logged, and opaque."""
    if is_denial(error):
        _LOG.info("access_denied", reason=str(error))
        return not_found(root)
    for kinds, answer in _ANSWERS:
        if isinstance(error, kinds):
            return answer(error, root)
    reference = uuid.uuid4().hex[:12]
    _LOG.error("page_failed", reference=reference, exc_info=error)
    text = f"The service failed, and nothing was stored. Reference for the administrator: {reference}"
    return fault_page(500, "Something went wrong", text, root=root)


def _busy(error: Exception, root: str) -> Response:
    _LOG.warning("page_busy", reason=type(error).__name__)
    text = "The service is busy just now. Nothing was stored: try again in a moment."
    return fault_page(503, "Please try again", text, root=root, retry_after=_BUSY_SECONDS)


def _migrating(_: Exception, root: str) -> Response:
    text = "The workspace is being brought to a new release. Try again in a minute."
    return fault_page(503, "Please try again", text, root=root, retry_after=_MIGRATING_SECONDS)


def _out_of_date(_: Exception, root: str) -> Response:
    text = "This form is too old, or did not come from here. Go back, load the page again, and repeat it."
    return fault_page(400, "Please try again", text, root=root)


def _refused(error: Exception, root: str) -> Response:
    return fault_page(422, "That is not possible", str(error), root=root)


def _http(error: Exception, root: str) -> Response:
    status = error.code if isinstance(error, HTTPException) and error.code else 500
    texts = {413: "What was sent is too large.", 408: "What was sent did not arrive in time."}
    return fault_page(status, "That is not possible", texts.get(status, "The request cannot be answered."), root=root)


_ANSWERS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Exception, str], Response]], ...] = (
    (NotFoundOrDenied, lambda _, root: not_found(root)),
    (Refused, _refused),
    (OutOfDate, _out_of_date),
    (HTTPException, _http),
    (_BUSY, _busy),
    (Migrating, _migrating),
)
