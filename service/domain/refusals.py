"""Refusals that tell several faults at once, without flooding who reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.domain.pages import fitting
from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document

#: Of one object, so many faults are told.
MOST_FAULTS = 20
_LONGEST_MESSAGE = 6_000
_LARGEST_ERRORS = 40_000
_SHOWN = 10


def together(refusals: Sequence[Refused]) -> Refused:
    """Return one refusal that tells all of *refusals*."""
    if len(refusals) == 1:
        return refusals[0]
    message = " ".join(refused.message for refused in refusals)
    return Refused(refusals[0].code, _shortened(message), errors=[refused.document() for refused in refusals])


def refuse_bulk(errors: Sequence[tuple[str, Document]], *, bad: int, total: int, noun: str) -> Refused:
    """Return the refusal of a bulk call with *bad* of *total* items: *errors*, each with the place it is about."""
    shown = [document for _, document in errors]
    shown = shown[: fitting(shown, _LARGEST_ERRORS)]
    details: Document = {"errors": shown}
    if len(shown) < len(errors):
        details["truncated"] = f"Only the first {len(shown)} of {len(errors)} errors are shown: correct these first."
    listed = _shortened(" ".join(f"{place}: {document['message'].rstrip('.')}." for place, document in errors))
    message = f"Nothing was written: {bad} of {total} {noun} are not acceptable. {listed}"
    return Refused(Code.BULK_REFUSED, message, **details)


def raise_for_cases(errors: Mapping[int, Sequence[Refused]], locked: Mapping[int, Any]) -> None:
    """Raise what is wrong with the only case, or with some of many; cases with the same faults are told together."""
    if not errors:
        return
    if len(locked) == 1:
        raise together(*errors.values())
    same: dict[str, tuple[list[str], Refused]] = {}
    for case_id, refusals in errors.items():
        refused = together(refusals)
        same.setdefault(refused.message, ([], refused))[0].append(f"C-{locked[case_id]['number']}")
    documents = [(listed(numbers), {"caseIds": numbers, **refused.document()}) for numbers, refused in same.values()]
    raise refuse_bulk(documents, bad=len(errors), total=len(locked), noun="cases")


def listed(refs: Sequence[int | str]) -> str:
    """Return *refs* as a message shows them, shortened where they are many."""
    shown = ", ".join(str(ref) for ref in refs[:_SHOWN])
    return shown if len(refs) <= _SHOWN else f"{shown} and {len(refs) - _SHOWN} more"


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}… (and more)"
