"""Templates and their fields: what a case can hold, and whether a given value may be stored."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from service.domain.pages import ENVELOPE, LARGEST_ANSWER, whole_list
from service.domain.refusals import MOST_FAULTS
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from service.domain.work import Document, Work

_SQL = load(__file__)

STEP_SLOTS = ("step", "expectedResult", "actualResult", "notes")
MOST_STEPS = 200
LONGEST_LINE = 1_000
LONGEST_TEXT = 20_000
MOST_OPTIONS = 50
# Where all options would flood the reader.
_FEWER_OPTIONS = (10, 2)
LARGEST_NUMBER = 10**15
_NUMBER = re.compile(r"-?[0-9]{1,50}(\.[0-9]{1,50})?([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field as it holds in one template of one project."""

    id: int
    system_name: str
    label: str
    type: str
    required: bool
    default: Any
    options: tuple[Document, ...]
    slots: tuple[Document, ...]

    def document(self, *, most_options: int) -> Document:
        """Return the field as an author sees it."""
        document: Document = {
            "id": self.id,
            "systemName": self.system_name,
            "label": self.label,
            "type": self.type,
            "required": self.required,
        }
        if self.default is not None:
            document["default"] = self.default
        if self.options:
            document["options"] = list(self.options[:most_options])
        if self.slots:
            document["slots"] = list(self.slots)
        return document

    def read(self, value: Any) -> Any:
        """Return *value* as it is stored, or raise Refused with what would be allowed. None is no value, as is ""."""
        if value is None or value == "":
            return None
        try:
            return _READERS[self.type](self, value)
        except _Unusable as unusable:
            raise Refused(Code.INVALID_VALUE, f"Field {self.label}: {unusable}.", field=self.system_name) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template with its fields, by id."""

    id: int
    name: str
    is_default: bool
    available: bool
    fields: dict[int, Field]

    def document(self, *, most_options: int) -> Document:
        """Return the template as an author sees it."""
        return {
            "id": self.id,
            "name": self.name,
            "default": self.is_default,
            "fields": [field.document(most_options=most_options) for field in self.fields.values()],
        }

    def read(self, given: Mapping[str, Any]) -> tuple[dict[int, Any], list[Refused]]:
        """Return the values of *given* by field id as they are stored, None for one to clear, and what is wrong."""
        values: dict[int, Any] = {}
        faults: list[Refused] = []
        for key, value in given.items():
            if len(faults) == MOST_FAULTS:
                break
            try:
                field = self._field(key, values)
                values[field.id] = field.read(value)
            except Refused as refused:
                faults.append(refused)
        return values, faults

    def _field(self, key: str, given: Collection[int]) -> Field:
        """Return the field that *key* names, which is not among those *given* already."""
        found = find_field(self.fields.values(), key)
        if found and found[0].id in given:
            raise Refused(
                Code.INVALID_VALUE,
                f"Field {found[0].label} is given twice: send it once.",
                field=found[0].system_name,
            )
        if not found:
            names = ", ".join(sorted(field.system_name for field in self.fields.values())) or "none"
            raise Refused(
                Code.INVALID_VALUE,
                f"Template {self.name} has no field {key[:100]!r}. It has: {names}.",
                field=key[:100],
            )
        return found[0]

    def missing(self, values: Mapping[int, Any]) -> list[Refused]:
        """Return a refusal for each required field that has no value."""
        return [
            Refused(
                Code.REQUIRED_FIELD,
                f"Field {field.label} is required: give fields.{field.system_name} a value.",
                field=field.system_name,
            )
            for field in self.fields.values()
            if field.required and values.get(field.id) is None
        ]


def find_field(fields: Iterable[Field], key: str) -> list[Field]:
    """Return the field of that id, else system name, else label, whatever the case of letters; none is an empty list.

    Among the fields of several templates it is once there for each that has it. Raise Refused for a shared label.
    """
    wanted = key.strip().lower()
    fields = list(fields)
    for names in (
        [str(field.id) for field in fields],
        [field.system_name for field in fields],
        [field.label.lower() for field in fields],
    ):
        found = [field for field, name in zip(fields, names, strict=True) if name == wanted]
        if len({field.id for field in found}) > 1:
            system_names = ", ".join(sorted({field.system_name for field in found}))
            raise Refused(
                Code.INVALID_VALUE,
                f"Several fields are labelled {key[:100]!r}: use the system name of one of them, {system_names}.",
                field=key[:100],
            )
        if found:
            return found
    return []


async def load_templates(
    work: Work, project_id: int, template_id: int | None = None, *, also: Collection[int] = ()
) -> dict[int, Template]:
    """Return the project's templates by id, the default one first; only one if *template_id* is given.

    Those of *also* are there even if they are not available any more: cases may still have them.
    """
    rows = await work.connection.fetch(_SQL["template_fields"], project_id, template_id, list(also))
    templates: dict[int, Template] = {}
    for row in rows:
        template = templates.get(row["template_id"])
        if template is None:
            template = templates[row["template_id"]] = Template(
                id=row["template_id"],
                name=row["template_name"],
                is_default=row["template_is_default"],
                available=row["template_available"],
                fields={},
            )
        if row["id"] is not None:
            field = Field(
                id=row["id"],
                system_name=row["system_name"],
                label=row["label"],
                type=row["type"],
                required=row["required"],
                default=None,
                options=tuple(row["options"] or ()),
                slots=tuple(row["slots"] or ()),
            )
            template.fields[field.id] = replace(field, default=_holding_default(field, row["default_value"]))
    return templates


def _holding_default(field: Field, default: Any) -> Any:
    """Return *default* as it is stored, or None where it cannot be chosen: an option that is disabled by now."""
    try:
        return field.read(default)
    except Refused:
        return None


async def list_templates(work: Work, project_id: int, *, template_id: int | None) -> Document:
    """Return the templates with their fields, as a person sees them when authoring."""
    templates = await load_templates(work, project_id, template_id)
    if template_id is not None and not templates:
        raise NotFoundOrDenied
    for most_options in (MOST_OPTIONS, *_FEWER_OPTIONS):
        items = [template.document(most_options=most_options) for template in templates.values()]
        document = whole_list(items, rest="Pass templateId to see another one.")
        if "truncated" not in document and len(orjson.dumps(items)) < LARGEST_ANSWER - ENVELOPE:
            break
    if most_options < MOST_OPTIONS:
        told = f"Of each field at most {most_options} options are shown; sending a value that is none tells them all."
        document["truncated"] = " ".join(filter(None, (document.get("truncated"), told)))
    return document


class _Unusable(Exception):  # noqa: N818 - becomes a Refused with the field's name
    """Says why a value cannot be stored."""


def _line(_field: Field, value: Any) -> str | None:
    if not isinstance(value, str):
        raise _Unusable("it takes text")
    if "\n" in value or len(value) > LONGEST_LINE:
        raise _Unusable(f"it takes one line of at most {LONGEST_LINE:,} characters")
    return value if value.strip() else None


def _text(_field: Field, value: Any) -> str | None:
    if not isinstance(value, str):
        raise _Unusable("it takes text")
    if len(value) > LONGEST_TEXT:
        raise _Unusable(f"it takes at most {LONGEST_TEXT:,} characters, got {len(value):,}")
    return value if value.strip() else None


def _number(value: Any) -> float:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise _Unusable(f"{value[:50]!r} is no number")
        value = float(value) if "." in value or "e" in value.lower() else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unusable("it takes a number")
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise _Unusable("the number is too large")
    return value


def _integer(_field: Field, value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise _Unusable(f"it takes a whole number, got {number}")
    return int(number)


def _float(_field: Field, value: Any) -> float:
    return _number(value)


def _date(_field: Field, value: Any) -> str:
    try:
        return dt.date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise _Unusable("it takes a date such as 2026-11-22") from None


def _checkbox(_field: Field, value: Any) -> bool:
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise _Unusable("it takes true or false")
    return value


def _link(_field: Field, value: Any) -> str:
    if isinstance(value, str) and len(value) <= LONGEST_LINE and not any(map(str.isspace, value)):
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in {"http", "https"} and parts.netloc:
            return value
    raise _Unusable("it takes a URL that begins with http:// or https://")


def _option(field: Field, value: Any) -> str:
    if isinstance(value, str):
        # A value beats the label of another option.
        for key, form in (("value", str), ("value", str.lower), ("label", str.lower)):
            for option in field.options:
                if form(option[key]) == form(value.strip()):
                    return str(option["value"])
    allowed = ", ".join(str(option["label"]) for option in field.options) or "none is set up"
    shown = f"{value[:50]!r} is no option" if isinstance(value, str) else "it takes an option's value or label"
    raise _Unusable(f"{shown}; the options are: {allowed}")


def _array(value: Any) -> Any:
    """Return the array that *value* is as JSON text, which some clients send, or else *value*."""
    if not isinstance(value, str) or not value.lstrip().startswith("[") or "\\u0000" in value:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _multi_select(field: Field, value: Any) -> list[str] | None:
    chosen = _array(value)
    if isinstance(chosen, str):
        chosen = [chosen]
    if not isinstance(chosen, list):
        raise _Unusable("it takes an array of options")
    return list(dict.fromkeys(_option(field, item) for item in chosen)) or None


def _steps(field: Field, value: Any) -> list[dict[str, str]] | None:
    steps = _array(value)
    if not isinstance(steps, list):
        raise _Unusable('it takes an array such as [{"step": "…", "expectedResult": "…"}]')
    if len(steps) > MOST_STEPS:
        raise _Unusable(f"it takes at most {MOST_STEPS} steps, got {len(steps)}")
    return [_step(field, step, position) for position, step in enumerate(steps, start=1)] or None


def _step(field: Field, given: Any, position: int) -> dict[str, str]:
    step = {"step": given} if isinstance(given, str) else given
    if not isinstance(step, dict):
        raise _Unusable(f"step {position} is neither text nor an object")
    slots = {str(slot[key]).lower(): str(slot["name"]) for key in ("label", "name") for slot in field.slots}
    stored = {}
    for key, text in step.items():
        slot = slots.get(key.strip().lower())
        if slot is None:
            names = ", ".join(str(slot["name"]) for slot in field.slots)
            raise _Unusable(f"step {position} has {key[:50]!r}; a step has: {names}")
        if text is None:
            continue
        if not isinstance(text, str):
            raise _Unusable(f"step {position}: {slot} takes text")
        if len(text) > LONGEST_TEXT:
            raise _Unusable(f"step {position}: {slot} takes at most {LONGEST_TEXT:,} characters")
        stored[slot] = text
    if not any(text.strip() for text in stored.values()):
        raise _Unusable(f"step {position} is empty")
    return {slot: text for slot, text in stored.items() if text}


_READERS = {
    "TEXT": _line,
    "STRING": _text,
    "INTEGER": _integer,
    "FLOAT": _float,
    "DATE": _date,
    "CHECKBOX": _checkbox,
    "LINK": _link,
    "DROPDOWN": _option,
    "MULTI_SELECT": _multi_select,
    "STEPS": _steps,
}
