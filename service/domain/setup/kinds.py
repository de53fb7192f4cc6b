"""The tables that administrators set up, each as a section."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg

from service.domain.fields import Field
from service.domain.given import nearest, shown
from service.domain.setup.document import (
    CaseField,
    CycleType,
    Environment,
    LifecycleState,
    PlatformGroup,
    Relation,
    Source,
    Status,
    Tag,
    Template,
)
from service.domain.setup.tables import Part, TableSection
from service.errors import Code, Refused

if TYPE_CHECKING:
    from service.domain.work import Work

_WITH_OPTIONS = ("DROPDOWN", "MULTI_SELECT")
#: What keys look like in each tracker, where the document does not say.
KEY_PATTERNS = {
    "JIRA": "[A-Z][A-Z0-9]+-[1-9][0-9]*",
    "LINEAR": "[A-Z][A-Z0-9]{1,6}-[1-9][0-9]*",
    "GITHUB": "#[1-9][0-9]*",
    "GITLAB": "#[1-9][0-9]*",
    "AZURE_DEVOPS": "[1-9][0-9]*",
}


def _without_nothing(element: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in element.items() if value is not None}


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_DEFAULT = {"default": "is_default"}

# Options and slots of a field.

_OPTIONS = """
SELECT json_agg(json_build_object('value', o.value, 'label', o.label, 'enabled', o.enabled) ORDER BY o.position)
FROM field_options o WHERE o.field_id = t.id AND o.template_id IS NULL AND o.project_id IS NULL
"""
_SLOTS = """
SELECT json_agg(json_build_object('slot', s.slot, 'label', s.label, 'enabled', s.enabled) ORDER BY s.position, s.id)
FROM field_slots s WHERE s.field_id = t.id AND s.project_id IS NULL
"""


async def _type_of(work: Work, field_id: int, wanted: tuple[str, ...], what: str) -> str:
    kind: str = await work.connection.fetchval("SELECT f.type FROM fields f WHERE f.id = $1", field_id)
    if kind not in wanted:
        raise Refused(Code.INVALID_VALUE, f"Only fields of type {' and '.join(wanted)} have {what}; this is {kind}.")
    return kind


async def _write_options(work: Work, field_id: int, options: list[dict[str, Any]]) -> None:
    if not options:
        return
    kind = await _type_of(work, field_id, _WITH_OPTIONS, "options")
    # Positions are unique at the end of the statement: all at once.
    await work.connection.execute(
        "INSERT INTO field_options (field_id, type, value, label, enabled, position) "
        "SELECT $1, $2, o.value, o.label, o.enabled, o.place - 1 "
        "FROM ROWS FROM (jsonb_to_recordset($3::jsonb) AS (value text, label text, enabled boolean)) "
        "WITH ORDINALITY AS o (value, label, enabled, place) "
        "ON CONFLICT ON CONSTRAINT field_options_value_key "
        "DO UPDATE SET label = excluded.label, enabled = excluded.enabled, position = excluded.position",
        field_id,
        kind,
        options,
    )


async def _write_slots(work: Work, field_id: int, slots: list[dict[str, Any]]) -> None:
    if not slots:
        return
    await _type_of(work, field_id, ("STEPS",), "slots")
    await work.connection.execute(
        "INSERT INTO field_slots (field_id, slot, label, enabled, position) "
        "SELECT $1, s.slot, s.label, s.enabled, s.place - 1 "
        "FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (slot text, label text, enabled boolean)) "
        "WITH ORDINALITY AS s (slot, label, enabled, place) "
        "ON CONFLICT ON CONSTRAINT field_slots_slot_key "
        "DO UPDATE SET label = excluded.label, enabled = excluded.enabled, position = excluded.position",
        field_id,
        slots,
    )


FIELDS = TableSection(
    name="fields",
    noun="field",
    model=CaseField,
    table="fields",
    columns=_same("system_name", "label", "type", "enabled"),
    availability="field_id",
    parts={
        "options": Part(
            _OPTIONS, _write_options, lambda one: {**one, "label": one["label"] or one["value"]}, kept_by="value"
        ),
        "slots": Part(_SLOTS, _write_slots, lambda one: one, kept_by="slot"),
    },
    initial=lambda said: {"label": said["system_name"].replace("_", " ").capitalize()},
    needed=("type",),
    order="lower(t.label), t.id",
)


# The fields of a template.

_TEMPLATE_FIELDS = """
SELECT json_agg(
    json_strip_nulls(json_build_object('field', f.system_name, 'required', tf.required, 'default', tf.default_value))
    ORDER BY f.system_name)
FROM template_fields tf JOIN fields f ON f.id = tf.field_id WHERE tf.template_id = t.id
"""
_FIELDS = """
SELECT f.id, f.system_name, f.label, f.type, coalesce((
    SELECT json_agg(json_build_object('value', o.value, 'label', o.label) ORDER BY o.position)
    FROM field_options o
    WHERE o.field_id = f.id AND o.enabled AND o.template_id IS NULL AND o.project_id IS NULL
), '[]') AS options
FROM fields f WHERE f.applies_to = 'CASE'
"""


async def _write_template_fields(work: Work, template_id: int, fields: list[dict[str, Any]]) -> None:
    known = {row["system_name"]: row for row in await work.connection.fetch(_FIELDS)}
    rows = []
    for one in fields:
        row = known.get(one["field"])
        if row is None:
            raise Refused(
                Code.INVALID_VALUE, f"There is no field {shown(one['field'])}. {nearest(one['field'], known)}"
            )
        field = Field(
            id=row["id"],
            system_name=row["system_name"],
            label=row["label"],
            type=row["type"],
            required=one["required"],
            default=None,
            options=tuple(row["options"]),
            slots=(),
        )
        rows.append({"id": row["id"], "required": one["required"], "value": field.read(one.get("default"))})
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
    columns=_same("name", "enabled") | _DEFAULT,
    availability="template_id",
    parts={"fields": Part(_TEMPLATE_FIELDS, _write_template_fields, _without_nothing)},
    order="t.is_default DESC, lower(t.name)",
)

STATUSES = TableSection(
    name="statuses",
    noun="status",
    model=Status,
    table="statuses",
    columns=_same(
        "name", "system_name", "aliases", "color", "success", "failure", "completed", "for_runs", "enabled", "position"
    ),
    availability="status_id",
    initial=lambda said: {"system_name": re.sub(r"[^a-z0-9]+", "-", said["name"].lower()).strip("-")},
    order="t.position, t.id",
)

LIFECYCLE_STATES = TableSection(
    name="lifecycle_states",
    noun="lifecycle state",
    model=LifecycleState,
    table="lifecycle_states",
    columns=_same("context", "name", "icon", "color", "include_in_runs", "automation", "enabled", "position")
    | _DEFAULT,
    availability="lifecycle_state_id",
    default_among="context",
    order="t.context, t.position, t.id",
)

TAGS = TableSection(
    name="tags",
    noun="tag",
    model=Tag,
    table="tags",
    columns=_same("context", "name", "icon", "color"),
    order="t.context, lower(t.name)",
)


# Platforms, and the environments that combine them.

_PLATFORMS = """
SELECT json_agg(json_strip_nulls(json_build_object('name', p.name, 'icon', p.icon, 'enabled', p.enabled)) ORDER BY p.id)
FROM platforms p WHERE p.group_id = t.id
"""


async def _write_platforms(work: Work, group_id: int, platforms: list[dict[str, Any]]) -> None:
    there = {
        row["name"].lower(): row["id"]
        for row in await work.connection.fetch("SELECT p.id, p.name FROM platforms p WHERE p.group_id = $1", group_id)
    }
    for one in platforms:
        if one["name"].lower() in there:
            await work.connection.execute(
                "UPDATE platforms SET name = $2, icon = $3, enabled = $4 WHERE id = $1",
                there[one["name"].lower()],
                one["name"],
                one.get("icon"),
                one["enabled"],
            )
        else:
            await work.connection.execute(
                "INSERT INTO platforms (group_id, name, icon, enabled) VALUES ($1, $2, $3, $4)",
                group_id,
                one["name"],
                one.get("icon"),
                one["enabled"],
            )


PLATFORM_GROUPS = TableSection(
    name="platform_groups",
    noun="platform group",
    model=PlatformGroup,
    table="platform_groups",
    columns=_same("name", "enabled", "position"),
    parts={"platforms": Part(_PLATFORMS, _write_platforms, _without_nothing, kept_by="name")},
    order="t.position, t.id",
)

# A platform is named with its group only where another group has one of its name.
_OF_ENVIRONMENT = """
SELECT json_agg(
    CASE WHEN (SELECT count(*) FROM platforms o WHERE lower(o.name) = lower(p.name)) > 1
        THEN g.name || '/' || p.name ELSE p.name END
    ORDER BY g.position, g.id)
FROM environment_platforms ep
JOIN platforms p ON p.id = ep.platform_id
JOIN platform_groups g ON g.id = ep.group_id
WHERE ep.environment_id = t.id
"""


async def _write_environment(work: Work, environment_id: int, names: list[str]) -> None:
    rows = await work.connection.fetch(
        "SELECT p.id, p.group_id, p.name, g.name AS of FROM platforms p JOIN platform_groups g ON g.id = p.group_id"
    )
    chosen: dict[int, int] = {}
    for name in names:
        found = [row for row in rows if name.lower() in (row["name"].lower(), f"{row['of']}/{row['name']}".lower())]
        if not found:
            known = [row["name"] for row in rows]
            raise Refused(Code.INVALID_VALUE, f"There is no platform {shown(name)}. {nearest(name, known)}")
        if len(found) > 1:
            named = " or ".join(f"{row['of']}/{row['name']}" for row in found)
            raise Refused(Code.INVALID_VALUE, f"{shown(name)} is a platform of several groups: write {named}.")
        if found[0]["group_id"] in chosen:
            raise Refused(
                Code.INVALID_VALUE, f"An environment has at most one platform of a group: two are of {found[0]['of']}."
            )
        chosen[found[0]["group_id"]] = found[0]["id"]
    await work.connection.execute("DELETE FROM environment_platforms WHERE environment_id = $1", environment_id)
    await work.connection.execute(
        "INSERT INTO environment_platforms (environment_id, group_id, platform_id) "
        "SELECT $1, c.group_id, c.platform_id FROM unnest($2::bigint[], $3::bigint[]) AS c (group_id, platform_id)",
        environment_id,
        list(chosen),
        list(chosen.values()),
    )


ENVIRONMENTS = TableSection(
    name="environments",
    noun="environment",
    model=Environment,
    table="environments",
    columns=_same("name", "for_cases", "for_runs", "enabled"),
    availability="environment_id",
    parts={"platforms": Part(_OF_ENVIRONMENT, _write_environment, lambda name: name)},
    order="lower(t.name)",
)

CYCLE_TYPES = TableSection(
    name="cycle_types",
    noun="cycle type",
    model=CycleType,
    table="cycle_types",
    columns=_same("name", "icon", "color", "enabled") | _DEFAULT,
    availability="cycle_type_id",
    order="t.is_default DESC, lower(t.name)",
)


class _Sources(TableSection):
    """Trackers; their patterns are Postgres' regular expressions, so Postgres says whether they are any."""

    async def _set_beside(self, work: Work, object_id: int, values: Any) -> None:
        await super()._set_beside(work, object_id, values)
        try:
            await work.connection.fetchval("SELECT '' ~ s.key_pattern FROM sources s WHERE s.id = $1", object_id)
        except asyncpg.InvalidRegularExpressionError as error:
            raise Refused(Code.INVALID_VALUE, f"The key pattern is no regular expression: {error}.") from error


SOURCES = _Sources(
    name="sources",
    noun="source",
    model=Source,
    table="sources",
    columns=_same(
        "name", "system", "base_url", "issue_url_template", "create_url_template", "key_pattern", "example", "enabled"
    ),
    availability="source_id",
    initial=lambda said: {"key_pattern": KEY_PATTERNS[said["system"]]} if said.get("system") in KEY_PATTERNS else {},
    needed=("system",),
    order="lower(t.name)",
)

RELATIONS = TableSection(
    name="relations",
    noun="relation",
    model=Relation,
    table="relations",
    columns=_same("name", "semantic", "enabled") | _DEFAULT,
    availability="relation_id",
    default_among="semantic",
    needed=("semantic",),
    order="t.semantic DESC, t.id",
)

TABLES = (
    FIELDS, TEMPLATES, STATUSES, LIFECYCLE_STATES, TAGS, PLATFORM_GROUPS, ENVIRONMENTS, CYCLE_TYPES, SOURCES, RELATIONS,
)  # fmt: skip
