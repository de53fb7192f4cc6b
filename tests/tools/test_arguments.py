"""Arguments: what is read as what, what is refused and how, and the schema that is published. Pure."""

from __future__ import annotations

import datetime as dt
import json
import time

import pytest
from jsonschema import Draft202012Validator

from service.tools.arguments import (
    MOST_FAULTS,
    Faults,
    array,
    boolean,
    case_identifier,
    choice,
    described,
    id_or_name,
    identifier,
    integer,
    mapping,
    moment,
    object_schema,
    optional,
    read_object,
    record,
    required,
    text,
)

SMALL = integer(minimum=1, maximum=200)
WORDS = text(minimum=1, maximum=10)
LIST = array(SMALL, minimum=1, maximum=3)
STEP = record(required("step", WORDS), optional("count", SMALL))
KINDS = {
    "integer": SMALL,
    "identifier": identifier(),
    "case": case_identifier(),
    "boolean": boolean(),
    "text": WORDS,
    "choice": choice("UP", "DOWN"),
    "moment": moment(),
    "id or name": id_or_name(),
    "array": LIST,
    "mapping": mapping(),
    "record": STEP,
}
NO_ID = -1
NUL = "a\x00b"
LONE = "a\ud800b"


def read(kind, value):
    """Return what is read, and the faults."""
    faults = Faults()
    values = read_object((required("value", kind),), {"value": value}, "", faults)
    return values["value"], faults


def at(hour, minute=0, second=0):
    return dt.datetime(2026, 11, 22, hour, minute, second, tzinfo=dt.UTC)


READ = [
    ("integer", 6, 6),
    ("integer", "6", 6),
    ("integer", "006", 6),
    ("integer", 6.0, 6),
    ("integer", 1, 1),
    ("integer", 200, 200),
    ("identifier", 1234, 1234),
    ("identifier", "1234", 1234),
    ("identifier", 1234.0, 1234),
    ("identifier", 0, 0),
    ("identifier", 2**63 - 1, 2**63 - 1),
    ("identifier", 2**63, NO_ID),
    ("identifier", 10**30, NO_ID),
    ("identifier", 1e30, NO_ID),
    ("identifier", str(10**30), NO_ID),
    ("identifier", -5, NO_ID),
    ("identifier", "-5", NO_ID),
    ("case", 1234, 1234),
    ("case", "1234", 1234),
    ("case", "C-12", "C-12"),
    ("case", "c-12", "C-12"),
    ("case", "C-012", "C-12"),
    ("case", "C-99999999999999999999999", "C-0"),
    ("case", 2**63, NO_ID),
    ("boolean", True, True),
    ("boolean", False, False),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("text", "Login", "Login"),
    ("text", " a ", " a "),
    ("text", "😀" * 10, "😀" * 10),
    ("text", "שלום", "שלום"),
    ("choice", "UP", "UP"),
    ("moment", "2026-11-22T09:00:00Z", at(9)),
    ("moment", "2026-11-22T09:00:00+02:00", at(7)),
    ("moment", "2026-11-22T09:00:00.5Z", at(9).replace(microsecond=500_000)),
    ("moment", "2026-11-22 09:00", at(9)),
    ("moment", "2026-11-22", at(0)),
    ("id or name", 7, 7),
    ("id or name", "smoke", "smoke"),
    ("id or name", "2024", "2024"),
    ("id or name", 10**30, NO_ID),
    ("array", [1, 2], [1, 2]),
    ("array", ["1", 2.0], [1, 2]),
    ("array", "[1, 2]", [1, 2]),
    ("array", '["1"]', [1]),
    ("mapping", {"a": [None, 1]}, {"a": [None, 1]}),
    ("mapping", '{"a": 1}', {"a": 1}),
    ("mapping", {}, {}),
    ("record", {"step": "Go", "count": "3"}, {"step": "Go", "count": 3}),
    ("record", '{"step": "Go"}', {"step": "Go"}),
]


@pytest.mark.parametrize(("kind", "given", "expected"), READ, ids=[f"{k} {g!r}"[:50] for k, g, _ in READ])
def test_what_clients_really_send_is_read(kind, given, expected):
    value, faults = read(KINDS[kind], given)
    assert (faults.shape, faults.value) == ([], [])
    assert (value, type(value)) == (expected, type(expected))


SHAPES = [
    ("integer", True, "got a boolean"),
    ("integer", None, "got null"),
    ("integer", 1.5, "got a number"),
    ("integer", float("inf"), "got a number"),
    ("integer", float("nan"), "got a number"),
    ("integer", [], "got an array"),
    ("integer", {}, "got an object"),
    ("integer", "", "got empty text"),
    ("integer", "six", "got 'six'"),
    ("integer", "6.0", "got '6.0'"),
    ("integer", "1_0", "got '1_0'"),
    ("integer", " 6", "got ' 6'"),
    ("integer", "+6", "got '+6'"),
    ("integer", "٦", "got '٦'"),
    ("integer", "6\n", "got '6\\n'"),
    ("identifier", True, "got a boolean"),
    ("identifier", None, "got null"),
    ("identifier", "abc", "got 'abc'"),
    ("identifier", "C-12", "got 'C-12'"),
    ("identifier", NUL, "got 'a\\x00b'"),
    ("identifier", LONE, "got 'a\\\\ud800b'"),
    ("case", True, "got a boolean"),
    ("case", None, "got null"),
    ("case", "abc", "got 'abc'"),
    ("case", "C-", "got 'C-'"),
    ("case", "C-x", "got 'C-x'"),
    ("case", "C-٣", "got 'C-٣'"),
    ("case", "C--1", "got 'C--1'"),
    ("boolean", 1, "got an integer"),
    ("boolean", 0, "got an integer"),
    ("boolean", "yes", "got 'yes'"),
    ("boolean", "", "got empty text"),
    ("boolean", None, "got null"),
    ("text", 5, "got an integer"),
    ("text", True, "got a boolean"),
    ("text", None, "got null"),
    ("text", ["a"], "got an array"),
    ("text", NUL, "it contains a NUL character"),
    ("text", LONE, "it contains a lone surrogate, which is no character"),
    ("choice", 1, "got an integer"),
    ("choice", None, "got null"),
    ("choice", LONE, "it contains a lone surrogate, which is no character"),
    ("moment", 1763802000, "got an integer"),
    ("moment", None, "got null"),
    ("moment", NUL, "it contains a NUL character"),
    ("id or name", True, "got a boolean"),
    ("id or name", None, "got null"),
    ("id or name", 1.5, "got a number"),
    ("id or name", {"id": 1}, "got an object"),
    ("id or name", NUL, "it contains a NUL character"),
    ("array", 1, "got an integer"),
    ("array", None, "got null"),
    ("array", "1, 2", "got a string"),
    ("array", '{"a": 1}', "got a string"),
    ("array", {"a": 1}, "got an object"),
    ("mapping", None, "got null"),
    ("mapping", [], "got an array"),
    ("mapping", "[1]", "got a string"),
    ("mapping", "{", "got a string"),
    ("mapping", {"a": {"b": [NUL]}}, "it contains a NUL character"),
    ("mapping", {NUL: 1}, "it contains a NUL character"),
    ("mapping", {"a": LONE}, "it contains a lone surrogate, which is no character"),
    ("mapping", '{"a":' + "[" * 500 + "]" * 500 + "}", "it is nested more than 64 levels deep"),
    ("record", None, "got null"),
    ("record", [], "got an array"),
    ("record", '"step"', "got a string"),
]


@pytest.mark.parametrize(("kind", "given", "reason"), SHAPES, ids=[f"{k} {g!a}"[:50] for k, g, _ in SHAPES])
def test_another_shape_is_a_shape_fault(kind, given, reason):
    _, faults = read(KINDS[kind], given)
    assert faults.value == []
    [fault] = faults.shape
    assert (fault.path, fault.reason, fault.expected) == ("value", reason, KINDS[kind].expected)


VALUES = [
    ("integer", 0, "got 0", "an integer from 1 to 200"),
    ("integer", 201, "got 201", "an integer from 1 to 200"),
    ("integer", -(10**30), f"got {-(10**30)}", "an integer from 1 to 200"),
    ("integer", str(2**63), f"got {2**63}", "an integer from 1 to 200"),
    ("text", "", "it is empty", "text of 1 to 10 characters"),
    ("text", " \t\u00a0", "it is empty", "text of 1 to 10 characters"),
    ("text", "x" * 11, "it has 11 characters", "text of 1 to 10 characters"),
    ("choice", "up", "got 'up'", "one of UP, DOWN"),
    ("moment", "yesterday", "got 'yesterday'", "a time such as 2026-11-22T09:00:00Z"),
    ("moment", "2026-02-30", "got '2026-02-30'", "a time such as 2026-11-22T09:00:00Z"),
    ("moment", "0001-01-01T00:00:00+10:00", "got '0001-01-01T00:00:00+10:00'", "a time such as 2026-11-22T09:00:00Z"),
    ("moment", "", "got empty text", "a time such as 2026-11-22T09:00:00Z"),
    ("id or name", "", "it is empty", "an id or a name"),
    ("array", [], "it has 0 items", "an array of 1 to 3 items"),
    ("array", [1, 2, 3, 4], "it has 4 items", "an array of 1 to 3 items"),
]


@pytest.mark.parametrize(("kind", "given", "reason", "expected"), VALUES, ids=[f"{v[0]} {v[1]!r}"[:50] for v in VALUES])
def test_the_right_shape_with_another_value_is_a_value_fault(kind, given, reason, expected):
    _, faults = read(KINDS[kind], given)
    assert faults.shape == []
    [fault] = faults.value
    assert (fault.path, fault.reason, fault.expected) == ("value", reason, expected)


ARGUMENTS = (required("project", identifier()), optional("items", array(STEP, maximum=9)), optional("limit", SMALL))


def test_all_faults_are_told_at_once_each_with_its_path():
    faults = Faults()
    given = {"items": [{"step": 1}, {"count": 0}, {"step": "", "stap": 1}], "limit": "x", "proejct": 1}
    read_object(ARGUMENTS, given, "", faults)
    assert [(fault.path, fault.reason) for fault in faults.shape] == [
        ("items[0].step", "got an integer"),
        ("items[1].step", "missing"),
        ("items[2].stap", "unknown argument"),
        ("limit", "got 'x'"),
        ("proejct", "unknown argument"),
        ("project", "missing"),
    ]
    assert [(fault.path, fault.reason) for fault in faults.value] == [
        ("items[1].count", "got 0"),
        ("items[2].step", "it is empty"),
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("proejct", "perhaps project"),
        ("project_id", "perhaps project"),
        ("Limit", "perhaps limit"),
        ("zzz", "one of project, items, limit"),
        ("", "one of project, items, limit"),
    ],
)
def test_an_unknown_argument_is_refused_with_the_nearest_known_one(name, hint):
    faults = Faults()
    read_object(ARGUMENTS, {"project": 1, name: 1}, "", faults)
    [fault] = faults.shape
    assert (fault.path, fault.reason, fault.expected) == (name or '""', "unknown argument", hint)


def test_of_a_flood_of_faults_only_so_many_are_told_and_quickly():
    faults = Faults()
    started = time.perf_counter()
    read_object(ARGUMENTS, {f"x{n}": n for n in range(100_000)} | {"items": [{"step": 1}] * 9}, "", faults)
    assert len(faults.shape) == MOST_FAULTS
    assert time.perf_counter() - started < 1


def test_a_name_of_any_length_is_looked_up_quickly_and_shown_shortened():
    faults = Faults()
    started = time.perf_counter()
    read_object(ARGUMENTS, {"project": 1, "project" * 200_000: 1}, "", faults)
    [fault] = faults.shape
    assert len(fault.path) < 70
    assert time.perf_counter() - started < 0.5


def test_an_optional_argument_that_is_omitted_does_not_reach_the_handler():
    faults = Faults()
    assert read_object(ARGUMENTS, {"project": 1}, "", faults) == {"project": 1}
    assert (faults.shape, faults.value) == ([], [])


def test_a_name_reaches_the_handler_in_snake_case():
    assert required("lifecycleStateId", identifier()).python_name == "lifecycle_state_id"


def _types(schema):
    """Yield what every `type` in a schema says."""
    if isinstance(schema, dict):
        if "type" in schema and isinstance(schema["type"], str | list):
            yield schema["type"]
        for value in schema.values():
            yield from _types(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _types(value)


def test_the_published_schema_is_flat():
    arguments = [required("project", identifier()), *(optional(name, kind) for name, kind in KINDS.items())]
    schema = object_schema(arguments)
    Draft202012Validator.check_schema(schema)
    assert set(schema) == {"type", "properties", "required", "additionalProperties"}
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["project"]
    assert schema["properties"]["record"]["additionalProperties"] is False
    assert all(isinstance(found, str) and found != "null" for found in _types(schema))
    assert not {"$ref", "$defs", "oneOf", "allOf", "not"} & set(json.dumps(schema).split('"'))


def test_a_tool_without_arguments_publishes_an_empty_object():
    assert object_schema([]) == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        (integer(minimum=1, maximum=9, default=5), {"type": "integer", "minimum": 1, "maximum": 9, "default": 5}),
        (identifier("The root: 0"), {"type": "integer", "description": "The root: 0"}),
        (boolean(default=True), {"type": "boolean", "default": True}),
        (text(minimum=1, maximum=9), {"type": "string", "minLength": 1, "maxLength": 9}),
        (choice("A", "B"), {"type": "string", "enum": ["A", "B"]}),
        (array(boolean(), maximum=2), {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}),
        (described(mapping(), "By name"), {"type": "object", "description": "By name"}),
    ],
    ids=["integer", "identifier", "boolean", "text", "choice", "array", "mapping"],
)  # fmt: skip
def test_a_kind_publishes_its_limits(kind, published):
    assert dict(kind.schema) == published
