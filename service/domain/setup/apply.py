"""Comparing a document with what is stored, and storing the difference: all of it, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from service.domain.setup.kinds import TABLES
from service.domain.setup.people import PEOPLE
from service.errors import Code, Refused

if TYPE_CHECKING:
    from service.domain.setup.document import Configuration, Item
    from service.domain.setup.sections import Section, Stored
    from service.domain.work import Document, Work

SECTIONS: tuple[Section[Any], ...] = (*PEOPLE, *TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An object that was created or changed: *values* are pairs of old and new, the old None for what was not there."""

    section: str
    noun: str
    name: str
    object_id: int
    created: bool
    values: dict[str, tuple[Any, Any]]

    def document(self) -> Document:
        """Return the difference as JSON has it."""
        return {
            "section": to_camel(self.section),
            "name": self.name,
            "action": "create" if self.created else "change",
            "values": {to_camel(name): {"from": old, "to": new} for name, (old, new) in self.values.items()},
        }


async def stored_configuration(work: Work, only: str | None = None) -> Document:
    """Return what is stored as a document; of one section only, if that is given by its attribute's name."""
    document: Document = {}
    for section in SECTIONS:
        if only in (None, section.name):
            found = await section.stored(work)
            document[to_camel(section.name)] = [_shown({**one.key, **one.values}) for one in found.values()]
    return document


async def apply(work: Work, configuration: Configuration) -> list[Difference]:
    """Create and change what the document says, and return what differed; raise Refused with everything wrong in it."""
    differences: list[Difference] = []
    faults: list[Refused] = []
    for section in SECTIONS:
        items = getattr(configuration, section.name)
        if not items:
            continue
        stored = await section.stored(work)
        for item in items:
            changes = len(work.changes)
            try:
                async with work.connection.savepoint():
                    difference = await _apply_one(work, section, stored, item)
            except Refused as refused:
                del work.changes[changes:]
                faults.append(Refused(refused.code, f"{section.noun} {_name(item)}: {refused}"))
            else:
                differences += [difference] if difference else []
    if faults:
        message = "Nothing is stored. " + " ".join(str(fault) for fault in faults)
        raise Refused(Code.BULK_REFUSED, message, errors=[str(fault) for fault in faults])
    return differences


async def _apply_one(
    work: Work, section: Section[Any], stored: dict[tuple[str, ...], Stored], item: Item
) -> Difference | None:
    there = stored.get(item.identity())
    renamed = None
    if new_name := getattr(item, "new_name", None):
        item = item.model_copy(update={"new_name": None})
        if there is None:
            # Renamed already, or never there: it is called so from now on either way.
            item = item.model_copy(update={"name": new_name})
            there = stored.get(item.identity())
        elif there.key["name"] != new_name:
            renamed = new_name
    if there is None:
        object_id = await section.create(work, item)
        new = {name: (None, section.wanted(name, value, None)) for name, value in item.said().items()}
        return Difference(
            section=section.name, noun=section.noun, name=_name(item), object_id=object_id, created=True, values=new
        )
    wanted = {name: section.wanted(name, said, there.values.get(name)) for name, said in item.said().items()}
    values = {
        name: value
        for name, value in wanted.items()
        if there.values.get(name) != value and not (value in ("", "NONE") and there.values.get(name) is None)
    }
    if renamed:
        values["name"] = renamed
    differences = await section.change(work, there, values) if values else {}
    if not differences:
        return None
    return Difference(
        section=section.name,
        noun=section.noun,
        name=" ".join(there.key.values()),
        object_id=there.id,
        created=False,
        values=differences,
    )


def _name(item: Item) -> str:
    return " ".join(str(getattr(item, part)) for part in item.key)


def _shown(value: Any) -> Any:
    """Return a stored value with the names that the document has."""
    if isinstance(value, dict):
        return {to_camel(name): value for name, value in value.items()}
    return value
