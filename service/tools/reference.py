"""The tools as a document for people: `python -m service.tools.reference > TOOLS.md`.

The service itself has no use for it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from service.domain.pages import DEFAULT_LIMIT, DEFAULT_PAGE, LARGEST_ANSWER, LARGEST_LIMIT
from service.errors import MEANINGS
from service.tools.catalog import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from service.tools.registry import Tool
    from service.tools.results import Schema

# By the module that declares the tools.
AREAS = {
    "discovery": "Discovery",
    "cases": "Test cases",
    "folders": "Folders",
    "comments": "Comments",
    "runs": "Test runs",
    "cycles": "Cycles",
    "traceability": "Traceability",
}

_WIDTH = 120

_BEGINNING = """\
# Tools

Made from the catalogue by `python -m service.tools.reference`; what is here is what `tools/list` shows, in the same
order. What holds for all of them: [conventions](#conventions), [error codes](#error-codes).
"""

_CONVENTIONS = f"""\
## Conventions

**Ids** are integers. A case can be named by its number too: `"C-12"`. An id that does not exist, belongs to another
project or another workspace, or is forbidden gets one answer: `not found or access denied`.

**Arguments** that are left out mean *unchanged* or the default; `null` is refused (only within `fields` it clears a
value). An argument of another shape, or an unknown one, is JSON-RPC error `-32602`, whose `data` has `path`, `reason`
and `expected`. What clients really send is read as it is meant: `"6"` as 6 where an integer is declared, `"true"` as
true, a JSON text as the array or object declared.

**Answers** are JSON objects in `structuredContent`, and the same as text in `content`. Nulls and empty texts are left
out. Times are RFC 3339 in UTC, dates are `2026-11-22`, durations are whole seconds and named so.

**Errors of a tool** have `isError: true` and `structuredContent.error` = `{{code, message, …}}`; the message says what
to do next. The codes are [below](#error-codes).

**Lists** are `{{items, total, nextCursor?}}`. `total` is counted, for all pages. For the next page pass `nextCursor` as
`cursor` with the same other arguments; without a `nextCursor` there is none. `limit` is at most {LARGEST_LIMIT}, and
{DEFAULT_LIMIT} by default. A page stays below {DEFAULT_PAGE // 4:,} tokens (of four characters), or with a larger
`limit` than the default {LARGEST_ANSWER // 4:,}, so it may end early; lists without pages are cut there, and then
`truncated` says how to get the rest.

**Writes** are one transaction, and return what was stored.

| Argument | Effect |
|---|---|
| `dryRun: true` | the same checks and the same answer, marked `dryRun: true`, but nothing is stored |
| `idempotencyKey` | on what creates or records: the same call with the same key returns the first answer for 24 hours, and creates nothing again; with other arguments it is refused |
| `expectedVersion` | on updates: refused with the current version, who and when, if the object has another version by now |

Bulk calls are all or nothing, and tell every fault of every item. Every write is recorded: who, with which key, which
tool, what.
"""  # noqa: E501 - a row of a table is one line


def document(tools: Sequence[Tool] = TOOLS) -> str:
    """Return the whole reference as Markdown."""
    areas: dict[str, list[Tool]] = {}
    for tool in tools:
        areas.setdefault(AREAS[tool.handler.__module__.rpartition(".")[2]], []).append(tool)
    parts = [_BEGINNING, *_contents(areas), "", _CONVENTIONS, *_codes()]
    for area, members in areas.items():
        parts += ["", f"## {area}"]
        for tool in members:
            parts += ["", *_section(tool)]
    return "\n".join(parts) + "\n"


def _contents(areas: dict[str, list[Tool]]) -> Iterator[str]:
    yield "| Area | Tools |"
    yield "|---|---|"
    for area, members in areas.items():
        yield f"| [{area}](#{area.lower().replace(' ', '-')}) | {', '.join(_link(tool) for tool in members)} |"


def _link(tool: Tool) -> str:
    return f"[`{tool.name}`](#{tool.name})"


def _codes() -> Iterator[str]:
    yield "## Error codes"
    yield ""
    yield from _table(("Code", "Meaning"), ((f"`{code}`", meaning) for code, meaning in MEANINGS.items()))


def _section(tool: Tool) -> Iterator[str]:
    told, _, example = tool.description.partition("Example: ")
    yield f"### {tool.name}"
    yield ""
    yield f"**{tool.title}.** {told.strip()}"
    yield ""
    yield f"Needs {_permissions(tool)}. {_nature(tool)}"
    yield ""
    inputs = list(_arguments(tool.listing()["inputSchema"]))
    if inputs:
        yield from _table(("Argument", "Type", "Required", "Default", "Description"), inputs)
        yield ""
    yield from _table(("Returned", "Type", "Present"), _returned(tool.returns))
    yield ""
    yield "```json"
    yield example if len(example) <= _WIDTH else json.dumps(json.loads(example), indent=2, ensure_ascii=False)
    yield "```"


def _permissions(tool: Tool) -> str:
    if not tool.in_project:
        return "a valid key"
    needed = _listed(tool.permissions) or "access to the project"
    always = {argument.python_name for argument in tool.arguments if argument.required}
    others: dict[str, list[str]] = {}
    for argument in tool.arguments:
        alone = tool.needed(always | {argument.python_name})
        if not argument.required and set(alone) != set(tool.permissions):
            others.setdefault(_listed(alone), []).append(f"`{argument.name}`")
    return "; ".join([needed, *(f"but {which} for {' and '.join(names)}" for which, names in others.items())])


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _nature(tool: Tool) -> str:
    if tool.read_only:
        return "Only reads."
    kind = "Writes, and may overwrite or delete what is there" if tool.destructive else "Writes, and only adds"
    repeated = (
        "the same call again changes nothing more"
        if tool.idempotent
        else "the same call again does it a second time, unless it has an `idempotencyKey`"
    )
    return f"{kind}; {repeated}."


def _arguments(schema: Schema, path: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row for each argument, what is in objects below its object."""
    for name, inner in schema.get("properties", {}).items():
        default = json.dumps(inner["default"]) if "default" in inner else ""
        is_required = "yes" if name in schema.get("required", ()) else ""
        yield f"`{path}{name}`", _kind(inner), is_required, default, inner.get("description", "")
        below, mark = _innermost(inner)
        yield from _arguments(below, f"{path}{name}{mark}.")


def _returned(schema: Schema, path: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row for each member of an answer; small objects are told within the row of theirs."""
    for name, inner in schema.get("properties", {}).items():
        present = "always" if name in schema.get("required", ()) else "if any"
        below, mark = _innermost(inner)
        if _is_small(below):
            members = ", ".join(f"{member} ({_kind(kind)})" for member, kind in below["properties"].items())
            yield f"`{path}{name}`", f"{_kind(inner)}: {members}", present
        else:
            yield f"`{path}{name}`", _kind(inner), present
            yield from _returned(below, f"{path}{name}{mark}.")


def _innermost(schema: Schema) -> tuple[Schema, str]:
    mark = ""
    while "items" in schema:
        schema, mark = schema["items"], f"{mark}[]"
    return schema, mark


def _is_small(schema: Schema) -> bool:
    members = schema.get("properties", {})
    is_flat = not any({"properties", "items"} & set(member) for member in members.values())
    return bool(members) and is_flat and set(members) == set(schema.get("required", ()))


def _kind(schema: Schema) -> str:
    """Return what a schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    kinds = {"string": _text, "integer": _integer, "array": _array, "object": _object}
    name = schema.get("type", "any")
    return kinds[name](schema) if name in kinds else name


def _text(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(f"`{option}`" for option in schema["enum"])
    if "maxLength" in schema:
        return f"text, {schema.get('minLength', 0)} to {schema['maxLength']:,} characters"
    return {"date": "date", "date-time": "time"}.get(schema.get("format", ""), "text")


def _integer(schema: Schema) -> str:
    return f"integer, {schema['minimum']:,} to {schema['maximum']:,}" if "minimum" in schema else "integer"


def _array(schema: Schema) -> str:
    items = f", {schema.get('minItems', 0)} to {schema['maxItems']}," if "maxItems" in schema else ""
    return f"array{items} of: {_kind(schema['items'])}"


def _object(schema: Schema) -> str:
    values = schema.get("additionalProperties")
    return f"object, each member: {_kind(values)}" if isinstance(values, dict) else "object"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


if __name__ == "__main__":
    sys.stdout.write(document())
