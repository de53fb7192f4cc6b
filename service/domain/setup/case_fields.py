"""Case fields and templates as sections, with their options, slots, and what is different in single projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.domain.fields import Field
from service.domain.given import nearest, shown
from service.domain.setup.document import CaseField, Template
from service.domain.setup.tables import Part, TableSection, ids_named, same, without_nothing
from service.errors import Code, Refused

if TYPE_CHECKING:
    from service.domain.work import Work

_WITH_OPTIONS = ("DROPDOWN", "MULTI_SELECT")
_WITH_SLOTS = ("STEPS",)


@dataclass(frozen=True, slots=True)
class _Scope:
    """Whose list of options or slots it is: the field's own, unless it is a template's or a project's."""

    template: int | None = None
    project: int | None = None


_OWN = _Scope()


def _options(scope: str) -> str:
    """Return the query for the options of field *f* that are of this *scope*."""
    return (
        "SELECT json_agg(json_build_object('value', o.value, 'label', o.label, 'enabled', o.enabled) "
        f"ORDER BY o.position) FROM field_options o WHERE o.field_id = f.id AND {scope}"
    )


def _slots(scope: str) -> str:
    """Return the query for the slots of field *f* that are of this *scope*."""
    return (
        "SELECT json_agg(json_build_object('slot', s.slot, 'label', s.label, 'enabled', s.enabled) "
        f"ORDER BY s.position, s.id) FROM field_slots s WHERE s.field_id = f.id AND {scope}"
    )


_OWN_OPTIONS = _options("o.template_id IS NULL AND o.project_id IS NULL")
_OWN_SLOTS = _slots("s.project_id IS NULL")
_FIELDS = f"""
SELECT f.id, f.system_name, f.label, f.type, coalesce(({_OWN_OPTIONS}), '[]') AS options
FROM fields f WHERE f.applies_to = 'CASE'
"""


def _option(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "label": said["label"] or said["value"]}


def _with_lists(said: dict[str, Any]) -> dict[str, Any]:
    """Return an override or a template's field as it is stored: an empty list is none."""
    element = without_nothing(said)
    if options := element.pop("options", None):
        element["options"] = [_option(one) for one in options]
    if not element.get("slots", True):
        del element["slots"]
    return element


def _read_default(field: Any, default: Any, options: list[dict[str, Any]] | None, *, required: bool) -> Any:
    """Return the default value as the field stores it, or raise Refused with what would be allowed."""
    offered = field["options"] if options is None else options
    as_field = Field(
        id=field["id"],
        system_name=field["system_name"],
        label=field["label"],
        type=field["type"],
        required=required,
        default=None,
        options=tuple(one for one in offered if one["enabled"]),
        slots=(),
    )
    return as_field.read(default)


def _require_type(field: Any, wanted: tuple[str, ...], what: str) -> None:
    if field["type"] not in wanted:
        raise Refused(
            Code.INVALID_VALUE,
            f"Only fields of type {' and '.join(wanted)} have {what}; {field['system_name']} is {field['type']}.",
        )


async def _field(work: Work, field_id: int) -> Any:
    [row] = await work.connection.fetch(f"{_FIELDS} AND f.id = $1", field_id)
    return row


async def _write_options(work: Work, field: Any, options: list[dict[str, Any]], scope: _Scope = _OWN) -> None:
    if not options:
        return
    _require_type(field, _WITH_OPTIONS, "options")
    # Positions are unique at the end of the statement: all at once.
    await work.connection.execute(
        "INSERT INTO field_options (field_id, type, template_id, project_id, value, label, enabled, position) "
        "SELECT $1, $2, $3, $4, o.value, o.label, o.enabled, o.place - 1 "
        "FROM ROWS FROM (jsonb_to_recordset($5::jsonb) AS (value text, label text, enabled boolean)) "
        "WITH ORDINALITY AS o (value, label, enabled, place) "
        "ON CONFLICT ON CONSTRAINT field_options_value_key "
        "DO UPDATE SET label = excluded.label, enabled = excluded.enabled, position = excluded.position",
        field["id"],
        field["type"],
        scope.template,
        scope.project,
        options,
    )


async def _write_slots(work: Work, field: Any, slots: list[dict[str, Any]], scope: _Scope = _OWN) -> None:
    if not slots:
        return
    _require_type(field, _WITH_SLOTS, "slots")
    await work.connection.execute(
        "INSERT INTO field_slots (field_id, project_id, slot, label, enabled, position) "
        "SELECT $1, $2, s.slot, s.label, s.enabled, s.place - 1 "
        "FROM ROWS FROM (jsonb_to_recordset($3::jsonb) AS (slot text, label text, enabled boolean)) "
        "WITH ORDINALITY AS s (slot, label, enabled, place) "
        "ON CONFLICT ON CONSTRAINT field_slots_slot_key "
        "DO UPDATE SET label = excluded.label, enabled = excluded.enabled, position = excluded.position",
        field["id"],
        scope.project,
        slots,
    )


async def _write_own_options(work: Work, field_id: int, options: list[dict[str, Any]]) -> None:
    await _write_options(work, await _field(work, field_id), options)


async def _write_own_slots(work: Work, field_id: int, slots: list[dict[str, Any]]) -> None:
    await _write_slots(work, await _field(work, field_id), slots)


# What is different in single projects.

_OVERRIDES = f"""
SELECT json_agg(json_strip_nulls(json_build_object(
    'project', x.name, 'hidden', x.hidden, 'required', x.required, 'default', x.default_value,
    'options', x.options, 'slots', x.slots)) ORDER BY lower(x.name))
FROM (
    SELECT p.name, coalesce(o.hidden, false) AS hidden, o.required, o.default_value, o.field_id,
        ({_options("o.project_id = p.id")}) AS options, ({_slots("s.project_id = p.id")}) AS slots
    FROM projects p
    CROSS JOIN (SELECT t.id) f
    LEFT JOIN field_overrides o ON o.project_id = p.id AND o.field_id = f.id
) x
WHERE num_nonnulls(x.field_id, x.options, x.slots) > 0
"""


async def _write_overrides(work: Work, field_id: int, overrides: list[dict[str, Any]]) -> None:
    field = await _field(work, field_id)
    projects = await ids_named(work, "projects", [one["project"] for one in overrides], "project")
    if len(set(projects)) < len(projects):
        raise Refused(Code.INVALID_VALUE, "A project is in the overrides twice: say all of it once.")
    for table in ("field_overrides", "field_options", "field_slots"):
        await work.connection.execute(f"DELETE FROM {table} WHERE field_id = $1 AND project_id IS NOT NULL", field_id)
    for project, one in zip(projects, overrides, strict=True):
        scope = _Scope(project=project)
        await _write_options(work, field, one.get("options", []), scope)
        await _write_slots(work, field, one.get("slots", []), scope)
        required = one.get("required")
        default = _read_default(field, one.get("default"), one.get("options"), required=bool(required))
        await work.connection.execute(
            "INSERT INTO field_overrides (project_id, field_id, hidden, required, default_value) "
            "VALUES ($1, $2, $3, $4, $5)",
            project,
            field_id,
            one["hidden"],
            required,
            default,
        )


FIELDS = TableSection(
    name="fields",
    noun="field",
    model=CaseField,
    table="fields",
    columns=same("system_name", "label", "type", "enabled"),
    availability="field_id",
    parts={
        "options": Part(_OWN_OPTIONS.replace("f.id", "t.id"), _write_own_options, _option, kept_by="value"),
        "slots": Part(_OWN_SLOTS.replace("f.id", "t.id"), _write_own_slots, lambda one: one, kept_by="slot"),
        "overrides": Part(_OVERRIDES, _write_overrides, _with_lists),
    },
    initial=lambda said: {"label": said["system_name"].replace("_", " ").capitalize()},
    needed=("type",),
    order="lower(t.label), t.id",
)


# The fields of a template.

_TEMPLATE_FIELDS = f"""
SELECT json_agg(json_strip_nulls(json_build_object(
    'field', f.system_name, 'required', tf.required, 'default', tf.default_value,
    'options', ({_options("o.template_id = t.id")}))) ORDER BY f.system_name)
FROM template_fields tf JOIN fields f ON f.id = tf.field_id WHERE tf.template_id = t.id
"""


async def _write_template_fields(work: Work, template_id: int, fields: list[dict[str, Any]]) -> None:
    known = {row["system_name"]: row for row in await work.connection.fetch(_FIELDS)}
    rows = []
    await work.connection.execute("DELETE FROM field_options WHERE template_id = $1", template_id)
    for one in fields:
        field = known.get(one["field"])
        if field is None:
            raise Refused(
                Code.INVALID_VALUE, f"There is no field {shown(one['field'])}. {nearest(one['field'], known)}"
            )
        await _write_options(work, field, one.get("options", []), _Scope(template=template_id))
        default = _read_default(field, one.get("default"), one.get("options"), required=one["required"])
        rows.append({"id": field["id"], "required": one["required"], "value": default})
    await work.connection.execute("DELETE FROM template_fields WHERE template_id = $1", template_id)
    await work.connection.execute(
        "INSERT INTO template_fields (template_id, field_id, required, default_value) "
        "SELECT $1, f.id, f.required, f.value "
        "FROM jsonb_to_recordset($2::jsonb) AS f (id bigint, required boolean, value jsonb)",
        template_id,
        rows,
    )


TEMPLATES = TableSection(
    name="templates",
    noun="template",
    model=Template,
    table="templates",
    columns=same("name", "enabled") | {"default": "is_default"},
    availability="template_id",
    parts={"fields": Part(_TEMPLATE_FIELDS, _write_template_fields, _with_lists)},
    order="t.is_default DESC, lower(t.name)",
)
