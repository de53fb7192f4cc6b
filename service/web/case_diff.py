"""What changed between two versions of a case, so that a person reads it at a glance.

Texts are compared word by word, steps are aligned with each other first, and of names that are listed (tags,
environments) those added and removed are told apart. What is equal is left out, but for the words around a change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.domain.work import Document

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
# Comparing takes the square of what is compared: larger texts are compared by line.
_MOST_TOKENS = 2_000
_SIMILAR = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a text: in both versions, or only in the one before or after."""

    mark: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step that was added, removed or changed; *before* and *after* are its places, from 1."""

    before: int | None
    after: int | None
    parts: tuple[tuple[str, tuple[Piece, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changed in one part of a case: its text, or its steps."""

    label: str
    pieces: tuple[Piece, ...] = ()
    steps: tuple[StepChange, ...] = ()


def compare(before: Document, after: Document, labels: Mapping[str, str]) -> list[Change]:
    """Return what changed, part by part; *labels* are those of fields and of the slots of steps, by system name."""
    changes = [
        Change(label=label, pieces=tuple(words(_text(before.get(name)), _text(after.get(name)))))
        for name, label in _PARTS.items()
        if _identity(before.get(name)) != _identity(after.get(name))
    ]
    old_fields, new_fields = before.get("fields", {}), after.get("fields", {})
    for name in sorted({*old_fields, *new_fields}):
        old, new = old_fields.get(name), new_fields.get(name)
        if old == new:
            continue
        label = labels.get(name, name)
        if _are_steps(old) or _are_steps(new):
            changes.append(Change(label=label, steps=tuple(_steps(old or [], new or [], labels))))
        else:
            changes.append(Change(label=label, pieces=tuple(words(_text(old), _text(new)))))
    return changes


_PARTS = {
    "title": "Title",
    "folder": "Folder",
    "template": "Template",
    "lifecycleState": "State",
    "estimateSeconds": "Estimate (seconds)",
    "tags": "Tags",
    "environments": "Environments",
}


def words(before: str, after: str) -> Iterable[Piece]:
    """Return both texts as one, with what was removed and what was added where it stood."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) + len(new) > _MOST_TOKENS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if len(old) + len(new) > _MOST_TOKENS:
        old, new = [before], [after]
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Piece(mark="same", text="".join(old[i:j]))
            continue
        if i < j:
            yield Piece(mark="removed", text="".join(old[i:j]))
        if k < m:
            yield Piece(mark="added", text="".join(new[k:m]))


def _steps(old: Sequence[Document], new: Sequence[Document], labels: Mapping[str, str]) -> Iterable[StepChange]:
    old_texts, new_texts = [_step_text(step) for step in old], [_step_text(step) for step in new]
    for tag, i, j, k, m in SequenceMatcher(None, old_texts, new_texts, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        pairs = _aligned(old_texts[i:j], new_texts[k:m])
        for before, after in pairs:
            yield _step(
                None if before is None else (i + before, old[i + before]),
                None if after is None else (k + after, new[k + after]),
                labels,
            )


def _aligned(old: Sequence[str], new: Sequence[str]) -> Iterable[tuple[int | None, int | None]]:
    """Return which old step became which new one, in order; a step that resembles none is removed or added."""
    place = 0
    for index, text in enumerate(old):
        ratios = [
            SequenceMatcher(None, _TOKEN.findall(text), _TOKEN.findall(other), autojunk=False).quick_ratio()
            for other in new[place:]
        ]
        best = max(range(len(ratios)), key=ratios.__getitem__, default=None)
        if best is None or ratios[best] < _SIMILAR:
            yield index, None
            continue
        yield from ((None, place + skipped) for skipped in range(best))
        yield index, place + best
        place += best + 1
    yield from ((None, rest) for rest in range(place, len(new)))


def _step(
    before: tuple[int, Document] | None, after: tuple[int, Document] | None, labels: Mapping[str, str]
) -> StepChange:
    old, new = before[1] if before else {}, after[1] if after else {}
    return StepChange(
        before=before[0] + 1 if before else None,
        after=after[0] + 1 if after else None,
        parts=tuple(
            (labels.get(slot, slot), tuple(words(old.get(slot, ""), new.get(slot, ""))))
            for slot in ("step", "expectedResult", "actualResult", "notes")
            if old.get(slot, "") != new.get(slot, "")
        ),
    )


def _are_steps(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _step_text(step: Document) -> str:
    return "\n".join(step.get(slot, "") for slot in ("step", "expectedResult", "actualResult", "notes"))


def _identity(value: Any) -> Any:
    """Return what makes a value another one: the ids of what is referred to, since a new name of a tag is no change."""
    match value:
        case {"id": identity}:
            return identity
        case [*items]:
            return [_identity(item) for item in items]
        case _:
            return value


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case {"path": str(text)} | {"name": str(text)}:
            return text
        case [*items]:
            return ", ".join(_text(item) for item in items)
        case _:
            return str(value)
