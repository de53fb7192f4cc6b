"""Whether an answer is what its tool publishes, and nothing more."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from service.tools.registry import Tool

# The library's own knows no date-time without further packages.
FORMATS = jsonschema.FormatChecker(("date",))


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or dt.datetime.fromisoformat(value).utcoffset() == dt.timedelta()


def closed(schema: Any) -> Any:
    """Return the schema with objects that declare their properties accepting no others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        inner["additionalProperties"] = False
    return inner


def check_output(tool: Tool, document: Any) -> None:
    """Fail unless *document* matches the published schema, formats included, and holds nothing undeclared."""
    jsonschema.Draft202012Validator(closed(tool.returns), format_checker=FORMATS).validate(document)
    assert_no_blanks(document)


def assert_no_blanks(value: Any, path: str = "") -> None:
    """Fail where a null or an empty text was not left out."""
    assert value not in (None, ""), f"{path} should have been left out"
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        assert_no_blanks(inner, f"{path}.{name}")
