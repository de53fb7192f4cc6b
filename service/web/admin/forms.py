"""What the forms of the administration have in common: refusals beside their fields, and objects that are not there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.errors import Code, NotFoundOrDenied, NotPermitted, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from service.domain.named import Ref
    from service.domain.work import Document
    from service.web.visitors import Visit

#: The place of what is wrong with a form as a whole.
FORM = "form"
_LONGEST_ID = 18
_OUTDATED = (
    "{changedBy} has changed this since you opened the page. What you typed is still here: compare it, then save again."
)


@asynccontextmanager
async def telling(visit: Visit, faults: dict[str, str], places: Mapping[str, str]) -> AsyncIterator[None]:
    """Undo what the rules refuse inside, and put the reason into *faults*: by the field that *places* has for it."""
    try:
        async with visit.work.connection.savepoint():
            yield
    except NotPermitted as refusal:
        faults[FORM] = str(refusal)
    except Refused as refused:
        if refused.code is Code.VERSION_CONFLICT:
            faults[FORM] = _OUTDATED.format_map({"changedBy": "Somebody", **refused.details})
        else:
            faults[places.get(refused.about, FORM)] = refused.message


async def existing(found: Awaitable[Document]) -> Document:
    """Return the object that the page's address names; without it, there is no such page."""
    try:
        return await found
    except Refused as error:
        raise NotFoundOrDenied from error


def chosen(form: Mapping[str, str], name: str) -> Ref | None:
    """Return what was chosen from a list: an id, None where nothing was, and as it is what none of ours has sent."""
    text = form.get(name, "")
    if not text:
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID else text


def version_of(form: Mapping[str, str]) -> int:
    """Return the version of the object that a form was made from."""
    version = chosen(form, "version")
    # What is none is a version that nothing has.
    return version if isinstance(version, int) else 0
