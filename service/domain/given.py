"""What administrators write, checked: texts, choices, and the constraints that a write broke."""

from __future__ import annotations

import difflib
import re
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from enum import StrEnum

    Choice = TypeVar("Choice", bound=StrEnum)

_LINE = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]*")
_TEXT = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]*")
_SHOWN = 60
_FEW = 12


def line(value: str, what: str, *, most: int = 100) -> str:
    """Return *value* without outer spaces if it can be *what*: one line of 1 to *most* characters."""
    found = unicodedata.normalize("NFC", value).strip()
    if not found or len(found) > most or not _LINE.fullmatch(found):
        raise Refused(
            Code.INVALID_VALUE,
            f"{shown(value)} is no {what}: use 1 to {most} characters on one line, not only spaces.",
            about=what,
        )
    return found


def text(value: str, what: str, *, most: int) -> str:
    """Return *value* without outer spaces if it can be *what*: at most *most* characters, on several lines too."""
    found = unicodedata.normalize("NFC", value).replace("\r\n", "\n").strip()
    if len(found) > most or not _TEXT.fullmatch(found):
        raise Refused(
            Code.INVALID_VALUE,
            f"{shown(value)} is no {what}: use at most {most} characters, without control characters; these are "
            f"{len(found)}.",
            about=what,
        )
    return found


def choice(kind: type[Choice], value: str, what: str) -> Choice:
    """Return the member of *kind* that *value* names in capitals or not; raise Refused with those that there are."""
    try:
        return kind(value.strip().upper().replace("-", "_").replace(" ", "_"))
    except ValueError:
        message = f"There is no {what} {shown(value)}. {nearest(value, kind)}"
        raise Refused(Code.INVALID_VALUE, message, about=what) from None


def nearest(value: str, names: Iterable[str]) -> str:
    """Return the sentence that leads from a wrong name to the right one: those like it, or all where they are few."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(value.lower().strip(), by_lower, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(by_lower[name] for name in close)}?"
    if not by_lower:
        return "There is none yet."
    return f"There are {', '.join(by_lower.values())}." if len(by_lower) <= _FEW else "None has a name like it."


def shown(value: str) -> str:
    """Return *value* as a message shows it: quoted, cut where it is long, harmless to a terminal."""
    return repr(value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…")


@contextmanager
def refusing(reasons: Mapping[str, str], *, about: str = "") -> Iterator[None]:
    """Raise Refused with the reason in *reasons* for the constraint that a write breaks, which is *about* that."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        if reason := reasons.get(error.constraint_name or ""):
            raise Refused(Code.INVALID_VALUE, reason, about=about) from error
        if isinstance(error, asyncpg.ForeignKeyViolationError):
            # Every reference is looked up before it is stored.
            raise Refused(Code.BUSY, "Another change is at work on the same objects: try again.") from error
        raise
