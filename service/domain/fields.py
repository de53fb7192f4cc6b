"""Templates and their fields: what a case can hold, and whether a given value may be stored."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service.domain.pages import whole_list
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.domain.work import Document, Work

_SQL = load(__file__)

STEP_SLOTS = ("step", "expectedResult", "actualResult", "notes")
MOST_STEPS = 200
LONGEST_LINE = 1_000
LONGEST_TEXT = 20_000
LARGEST_NUMBER = 10**15


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

    def document(self) -> Document:
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
            document["options"] = list(self.options)
        if self.slots:
            document["slots"] = list(self.slots)
        return document

    def read(self, value: Any) -> Any:
        """Return *value* as it is stored, or raise Refused with what would be allowed. None is no value."""
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

    def find(self, key: str) -> Field | None:
        """Return the field of that id, system name or label (whatever the case of letters)."""
        wanted = key.strip().lower()
        for field in self.fields.values():
            if wanted in {str(field.id), field.system_name, field.label.lower()}:
                return field
        return None

    def read(self, given: Mapping[str, Any]) -> tuple[dict[int, Any], list[Refused]]:
        """Return the values of *given* by field id as they are stored, None for one to clear, and what is wrong."""
        values: dict[int, Any] = {}
        faults = []
        for key, value in given.items():
            field = self.find(key)
            if field is None:
                names = ", ".join(sorted(field.system_name for field in self.fields.values())) or "none"
                faults.append(
                    Refused(
                        Code.INVALID_VALUE,
                        f"Template {self.name} has no field {key[:100]!r}. It has: {names}.",
                        field=key[:100],
                    )
                )
                continue
            try:
                values[field.id] = field.read(value)
            except Refused as refused:
                faults.append(refused)
        return values, faults

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
                default=row["default_value"],
                options=tuple(row["options"] or ()),
                slots=tuple(row["slots"] or ()),
            )
            template.fields[field.id] = field
    return templates


async def list_templates(work: Work, project_id: int, *, template_id: int | None) -> Document:
    """Return the templates with their fields, as a person sees them when authoring."""
    templates = await load_templates(work, project_id, template_id)
    if template_id is not None and not templates:
        raise NotFoundOrDenied
    return whole_list(
        [
            {
                "id": template.id,
                "name": template.name,
                "default": template.is_default,
                "fields": [field.document() for field in template.fields.values()],
            }
            for template in templates.values()
        ]
    )


class _Unusable(Exception):  # noqa: N818 - becomes a Refused with the field's name
    """Says why a value cannot be stored."""


def _line(_field: Field, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Unusable("it takes text")
    if "\n" in value or len(value) > LONGEST_LINE:
        raise _Unusable(f"it takes one line of at most {LONGEST_LINE:,} characters")
    return value if value.strip() else None


def _text(_field: Field, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Unusable("it takes text")
    if len(value) > LONGEST_TEXT:
        raise _Unusable(f"it takes at most {LONGEST_TEXT:,} characters, got {len(value):,}")
    return value if value.strip() else None


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            raise _Unusable(f"{value[:50]!r} is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unusable("it takes a number")
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise _Unusable("the number is too large")
    return value


def _integer(_field: Field, value: Any) -> int | None:
    if value is None:
        return None
    number = _number(value)
    if number != int(number):
        raise _Unusable(f"it takes a whole number, got {number}")
    return int(number)


def _float(_field: Field, value: Any) -> float | None:
    return None if value is None else _number(value)


def _date(_field: Field, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return dt.date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise _Unusable("it takes a date such as 2026-11-22") from None


def _checkbox(_field: Field, value: Any) -> bool | None:
    if value in ("true", "false"):
        return bool(value == "true")
    if value is not None and not isinstance(value, bool):
        raise _Unusable("it takes true or false")
    return value


def _link(_field: Field, value: Any) -> str | None:
    if value is None or value == "":
        return None
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
        wanted = value.strip().lower()
        for option in field.options:
            if wanted in {option["value"].lower(), option["label"].lower()}:
                return str(option["value"])
    allowed = ", ".join(str(option["label"]) for option in field.options) or "none is set up"
    shown = f"{value[:50]!r} is no option" if isinstance(value, str) else "it takes an option's value or label"
    raise _Unusable(f"{shown}; the options are: {allowed}")


def _dropdown(field: Field, value: Any) -> str | None:
    return None if value is None or value == "" else _option(field, value)


def _multi_select(field: Field, value: Any) -> list[str] | None:
    if value is None:
        return None
    chosen = [value] if isinstance(value, str) else value
    if not isinstance(chosen, list):
        raise _Unusable("it takes an array of options")
    return list(dict.fromkeys(_option(field, item) for item in chosen)) or None


def _steps(field: Field, value: Any) -> list[dict[str, str]] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise _Unusable('it takes an array such as [{"step": "…", "expectedResult": "…"}]')
    if len(value) > MOST_STEPS:
        raise _Unusable(f"it takes at most {MOST_STEPS} steps, got {len(value)}")
    return [_step(field, step, position) for position, step in enumerate(value, start=1)] or None


def _step(field: Field, given: Any, position: int) -> dict[str, str]:
    step = {"step": given} if isinstance(given, str) else given
    if not isinstance(step, dict):
        raise _Unusable(f"step {position} is neither text nor an object")
    slots = {slot["name"]: slot["label"] for slot in field.slots}
    stored = {}
    for key, text in step.items():
        slot = next((name for name, label in slots.items() if key in {name, label}), None)
        if slot is None:
            raise _Unusable(f"step {position} has {key[:50]!r}; a step has: {', '.join(slots)}")
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
    "DROPDOWN": _dropdown,
    "MULTI_SELECT": _multi_select,
    "STEPS": _steps,
}
