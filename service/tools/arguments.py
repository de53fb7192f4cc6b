"""What a tool accepts: the JSON Schema that is published, and the reading of what clients really send.

A value of another shape is a shape fault (JSON-RPC -32602); a value of the right shape that the schema does not
allow (too long, out of range, an unknown option) is a value fault, which the model gets as a tool error and can
correct. Clients stringify: `"6"` is read as 6 where an integer is declared, `"true"` as true, a JSON string as the
array or object declared. Never the other way round.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MAX_ID = 2**63 - 1
# No object ever has it: an id that Postgres could not hold is looked up all the same, and found missing.
_NO_ID = -1
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS = re.compile(r"-?[0-9]{1,100}")

#: Reading stops after so many faults: enough to correct, and no flood for a flood.
MOST_FAULTS = 100
_DEEPEST = 64
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with one argument. *path* is like `cases[3].title`."""

    path: str
    reason: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason} (expected {self.expected})"


@dataclass(slots=True)
class Faults:
    """What was found wrong while reading: all of it up to MOST_FAULTS, so that one answer tells everything."""

    shape: list[Fault] = field(default_factory=list)
    value: list[Fault] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether reading is to stop."""
        return len(self.shape) + len(self.value) >= MOST_FAULTS


class _Bad(Exception):  # noqa: N818 - carries a fault from a reader to its caller
    def __init__(self, reason: str, *, shape: bool = True) -> None:
        super().__init__(reason)
        self.shape = shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of value: its schema, how faults name it, and how it is read (at a path, noting faults)."""

    schema: Mapping[str, Any]
    expected: str
    read: Callable[[Any, str, Faults], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A named argument of a tool. An optional one that is omitted does not reach the handler."""

    name: str
    kind: Kind
    required: bool

    @property
    def python_name(self) -> str:
        """The name in snake_case, as the handler takes it."""
        return _snake_case(self.name)


@cache
def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def required(name: str, kind: Kind) -> Argument:
    """Return an argument that must be there."""
    return Argument(name=name, kind=kind, required=True)


def optional(name: str, kind: Kind) -> Argument:
    """Return an argument that may be omitted."""
    return Argument(name=name, kind=kind, required=False)


def described(kind: Kind, description: str) -> Kind:
    """Return *kind* with a description in its schema."""
    return replace(kind, schema={**kind.schema, "description": description})


def object_schema(arguments: Sequence[Argument]) -> dict[str, Any]:
    """Return the JSON Schema of an object with *arguments* and nothing else."""
    schema: dict[str, Any] = {"type": "object"}
    if arguments:
        schema["properties"] = {argument.name: dict(argument.kind.schema) for argument in arguments}
    if names := [argument.name for argument in arguments if argument.required]:
        schema["required"] = names
    return {**schema, "additionalProperties": False}


def read_object(arguments: Sequence[Argument], given: Mapping[str, Any], path: str, faults: Faults) -> dict[str, Any]:
    """Return the values of *given* by Python name, noting in *faults* what is wrong with them."""
    values: dict[str, Any] = {}
    known = {argument.name: argument for argument in arguments}
    for name, value in given.items():
        if faults.full:
            return values
        where = f"{path}.{_shown(name)}" if path else _shown(name)
        if (argument := known.get(name)) is None:
            faults.shape.append(Fault(path=where, reason="unknown argument", expected=_suggestion(name, known)))
        else:
            values[argument.python_name] = argument.kind.read(value, where, faults)
    for argument in arguments:
        if argument.required and argument.name not in given and not faults.full:
            where = f"{path}.{argument.name}" if path else argument.name
            faults.shape.append(Fault(path=where, reason="missing", expected=argument.kind.expected))
    return values


def _shown(value: object) -> str:
    text = (
        (value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else str(value))
        .encode("utf-8", "backslashreplace")
        .decode()
    )
    return (text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…") or '""'


def _quoted(value: str) -> str:
    return repr(_shown(value)) if value else "empty text"


def _suggestion(name: str, known: Mapping[str, Argument]) -> str:
    if close := difflib.get_close_matches(name[:_LONGEST_SHOWN], known, n=1, cutoff=0.5):
        return f"perhaps {close[0]}"
    return f"one of {', '.join(known)}" if known else "no arguments"


def _kind(schema: Mapping[str, Any], expected: str, read_value: Callable[[Any], Any]) -> Kind:
    def read(value: Any, path: str, faults: Faults) -> Any:
        try:
            return read_value(value)
        except _Bad as bad:
            noted = faults.shape if bad.shape else faults.value
            noted.append(Fault(path=path, reason=str(bad), expected=expected))
            return None

    return Kind(schema=schema, expected=expected, read=read)


def _type_name(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    return "got " + names.get(type(value), "an array" if isinstance(value, list) else "an object")


def _as_integer(value: Any) -> int:
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise _Bad(f"got {_quoted(value)}")
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Bad(_type_name(value))
    return value


def integer(*, minimum: int, maximum: int, default: int | None = None) -> Kind:
    """Return the kind of whole numbers within bounds."""

    def read(value: Any) -> int:
        number = _as_integer(value)
        if not minimum <= number <= maximum:
            raise _Bad(f"got {_shown(number)}", shape=False)
        return number

    schema: dict[str, Any] = {"type": "integer", "minimum": minimum, "maximum": maximum}
    if default is not None:
        schema["default"] = default
    return _kind(schema, f"an integer from {minimum} to {maximum}", read)


def identifier(description: str | None = None) -> Kind:
    """Return the kind of object ids. One that cannot exist is read as an id that does not."""

    def read(value: Any) -> int:
        number = _as_integer(value)
        return number if 0 <= number <= _MAX_ID else _NO_ID

    kind = _kind({"type": "integer"}, "an integer id", read)
    return described(kind, description) if description else kind


def expected_version(of: str) -> Argument:
    """Return the argument with which an update is refused if another came first."""
    kind = integer(minimum=1, maximum=2**31 - 1)
    return optional("expectedVersion", described(kind, f"Refuse if the {of} has another version by now"))


def case_identifier() -> Kind:
    """Return the kind of case references: the id as an integer, or the number as text such as `C-12`."""

    def read(value: Any) -> int | str:
        if isinstance(value, str) and value[:2] in {"C-", "c-"}:
            digits = value[2:]
            if not (digits.isascii() and digits.isdigit()):
                raise _Bad(f"got {_quoted(value)}")
            number = int(digits[:20])
            return f"C-{number if number <= 2**31 - 1 else 0}"
        number = _as_integer(value)
        return number if 0 <= number <= _MAX_ID else _NO_ID

    schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "Case id, or its number as C-12"}
    return _kind(schema, 'a case id, or a case number such as "C-12"', read)


def boolean(*, default: bool | None = None) -> Kind:
    """Return the kind of true and false."""

    def read(value: Any) -> bool:
        if isinstance(value, str) and value in {"true", "false"}:
            return value == "true"
        if not isinstance(value, bool):
            raise _Bad(_type_name(value) if not isinstance(value, str) else f"got {_quoted(value)}")
        return value

    schema: dict[str, Any] = {"type": "boolean"}
    if default is not None:
        schema["default"] = default
    return _kind(schema, "true or false", read)


def check_storable(value: Any, depth: int = 0) -> None:
    """Raise a shape fault for what no database can hold: NUL, half of a surrogate pair; or nested without end."""
    if depth > _DEEPEST:
        raise _Bad(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(value, str):
        if "\x00" in value:
            raise _Bad("it contains a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Bad("it contains a lone surrogate, which is no character") from None
    elif isinstance(value, list):
        for item in value:
            check_storable(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            check_storable(name)
            check_storable(item, depth + 1)


def text(*, maximum: int, minimum: int = 0) -> Kind:
    """Return the kind of texts; where one must not be empty, white space alone does not count."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise _Bad(_type_name(value))
        check_storable(value)
        if len(value.strip()) < minimum or len(value) > maximum:
            raise _Bad("it is empty" if not value.strip() else f"it has {len(value):,} characters", shape=False)
        return value

    schema: dict[str, Any] = {"type": "string", "maxLength": maximum}
    if minimum:
        schema["minLength"] = minimum
    return _kind(schema, f"text of {minimum:,} to {maximum:,} characters", read)


def choice(*options: str) -> Kind:
    """Return the kind of a few given words."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise _Bad(_type_name(value))
        check_storable(value)
        if value not in options:
            raise _Bad(f"got {_quoted(value)}", shape=False)
        return value

    return _kind({"type": "string", "enum": list(options)}, f"one of {', '.join(options)}", read)


def moment() -> Kind:
    """Return the kind of RFC 3339 times, in UTC where no offset is given; a date alone is its first moment."""

    def read(value: Any) -> dt.datetime:
        if not isinstance(value, str):
            raise _Bad(_type_name(value))
        check_storable(value)
        try:
            parsed = dt.datetime.fromisoformat(value)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise _Bad(f"got {_quoted(value)}", shape=False) from None

    schema = {"type": "string", "description": "RFC 3339, e.g. 2026-11-22T09:00:00Z"}
    return _kind(schema, "a time such as 2026-11-22T09:00:00Z", read)


def day() -> Kind:
    """Return the kind of dates without a time."""

    def read(value: Any) -> dt.date:
        if not isinstance(value, str):
            raise _Bad(_type_name(value))
        check_storable(value)
        try:
            # By itself fromisoformat would take week dates as well.
            parsed = dt.date.fromisoformat(value) if _DAY.fullmatch(value) else None
        except ValueError:
            parsed = None
        if parsed is None:
            raise _Bad(f"got {_quoted(value)}", shape=False)
        return parsed

    return _kind({"type": "string", "format": "date"}, "a date such as 2026-11-22", read)


def id_or_name() -> Kind:
    """Return the kind of references by id or by name. Digits as text may be either: the domain knows the names."""

    def read(value: Any) -> int | str:
        if isinstance(value, str):
            check_storable(value)
            if not value.strip():
                raise _Bad("it is empty", shape=False)
            return value
        number = _as_integer(value)
        return number if 0 <= number <= _MAX_ID else _NO_ID

    return _kind({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "an id or a name", read)


def _parsed(value: Any, wanted: type) -> Any:
    """Return what a JSON string stands for if that is *wanted*, which clients send for arrays and objects."""
    if isinstance(value, str):
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, wanted) else value
    return value


def array(of: Kind, *, maximum: int, minimum: int = 0) -> Kind:
    """Return the kind of lists of *of*."""
    expected = f"an array of {minimum} to {maximum} items"

    def read(value: Any, path: str, faults: Faults) -> list[Any] | None:
        items = _parsed(value, list)
        if not isinstance(items, list):
            faults.shape.append(Fault(path=path, reason=_type_name(items), expected=expected))
            return None
        if not minimum <= len(items) <= maximum:
            faults.value.append(Fault(path=path, reason=f"it has {len(items)} items", expected=expected))
            return None
        return [of.read(item, f"{path}[{index}]", faults) for index, item in enumerate(items) if not faults.full]

    schema: dict[str, Any] = {"type": "array", "items": dict(of.schema), "maxItems": maximum}
    if minimum:
        schema["minItems"] = minimum
    return Kind(schema=schema, expected=expected, read=read)


def mapping() -> Kind:
    """Return the kind of objects whose members only the domain can check."""

    def read(value: Any) -> dict[str, Any]:
        members = _parsed(value, dict)
        if not isinstance(members, dict):
            raise _Bad(_type_name(members))
        check_storable(members)
        return members

    return _kind({"type": "object"}, "an object", read)


def record(*arguments: Argument) -> Kind:
    """Return the kind of objects with *arguments* and nothing else."""

    def read(value: Any, path: str, faults: Faults) -> dict[str, Any] | None:
        members = _parsed(value, dict)
        if not isinstance(members, dict):
            faults.shape.append(Fault(path=path, reason=_type_name(members), expected="an object"))
            return None
        return read_object(arguments, members, path, faults)

    return Kind(schema=object_schema(arguments), expected="an object", read=read)
