"""What a tool returns: a small vocabulary for output schemas, which are JSON Schema objects without nulls."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
DATE: Schema = {"type": "string", "format": "date"}
OBJECT: Schema = {"type": "object"}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object; what is null or empty is left out, so only *required* is always there."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def array(of: Schema) -> Schema:
    """Return the schema of a list of *of*."""
    return {"type": "array", "items": of}


def any_of(*schemas: Schema) -> Schema:
    """Return the schema of what is one of *schemas*."""
    return {"anyOf": list(schemas)}


def listing(item: Schema, **others: Schema) -> Schema:
    """Return the schema of a whole list: its items and their number, and *others* that are always beside them."""
    return record({"items": array(item), "total": INTEGER, **others}, {"truncated": STRING})


def page(item: Schema) -> Schema:
    """Return the schema of one page of a list; without nextCursor it is the last."""
    return record({"items": array(item), "total": INTEGER}, {"nextCursor": STRING})


NAMED = record({"id": INTEGER, "name": STRING})
ERROR = record({"code": STRING, "message": STRING})


def published(returns: Schema) -> Schema:
    """Return the output schema of a tool: what it *returns*, or an error.

    Clients on the TypeScript SDK hold what comes with a failed call to the schema too; where it disagreed, they would
    tell their users and models that, and not the error.
    """
    return {
        "type": "object",
        "properties": {**returns["properties"], "error": ERROR},
        "anyOf": [{"required": returns["required"]}, {"required": ["error"]}],
    }
