"""Users, roles, groups and projects by the name that people know them by, or by id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from service.domain.given import nearest, shown
from service.errors import Code, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Work

_SQL = load(__file__)
_ID = re.compile(r"[0-9]{1,18}")
_CANNOT_BE = re.compile(r"[\x00\ud800-\udfff]")
_LARGEST_ID = 2**63 - 1

Kind = Literal["user", "role", "group", "project"]
#: The id of an object, or its name in capitals or not: of a user the e-mail. Digits as text are a name if there is one.
Ref = int | str

_NOUNS: dict[Kind, str] = {"user": "user with the e-mail", "role": "role", "group": "group", "project": "project"}


async def find(work: Work, kind: Kind, ref: Ref) -> int:
    """Return the id of the object of that name or id; raise Refused with the nearest names if there is none."""
    [found] = await find_all(work, kind, [ref])
    return found


async def find_all(work: Work, kind: Kind, refs: Sequence[Ref]) -> list[int]:
    """Return the ids of the objects of these names and ids, each once; raise Refused for the first missing one."""
    rows = await work.connection.fetch(_SQL[f"{kind}s_named"], [_name(ref) for ref in refs], [_id(ref) for ref in refs])
    for ref, row in zip(refs, rows, strict=True):
        if row["id"] is None:
            raise await _unknown(work, kind, ref)
    return list(dict.fromkeys(row["id"] for row in rows))


def _name(ref: Ref) -> str | None:
    return None if isinstance(ref, int) or _CANNOT_BE.search(ref) else ref.strip()


def _id(ref: Ref) -> int | None:
    if isinstance(ref, str):
        return int(ref) if ref.isascii() and _ID.fullmatch(ref.strip()) else None
    return ref if 0 < ref <= _LARGEST_ID else None


async def _unknown(work: Work, kind: Kind, ref: Ref) -> Refused:
    if isinstance(ref, int) or _id(ref) is not None:
        return Refused(Code.INVALID_VALUE, f"There is no {kind} with the id {ref}.", about=kind)
    names = [row["name"] for row in await work.connection.fetch(_SQL[f"{kind}_names"])]
    message = f"There is no {_NOUNS[kind]} {shown(ref)}. {nearest(ref, names)}"
    return Refused(Code.INVALID_VALUE, message, about=kind)
