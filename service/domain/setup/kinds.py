"""The tables that administrators set up, each as a section; case fields and templates have a module of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg

from service.domain.given import nearest, shown
from service.domain.setup.case_fields import FIELDS, TEMPLATES
from service.domain.setup.document import (
    CycleType,
    Environment,
    LifecycleState,
    PlatformGroup,
    Relation,
    Source,
    Status,
    Tag,
)
from service.domain.setup.tables import Part, TableSection, same, without_nothing
from service.errors import Code, Refused

if TYPE_CHECKING:
    from service.domain.work import Work

#: What keys look like in each tracker, where the document does not say.
KEY_PATTERNS = {
    "JIRA": "[A-Z][A-Z0-9]+-[1-9][0-9]*",
    "LINEAR": "[A-Z][A-Z0-9]{1,6}-[1-9][0-9]*",
    "GITHUB": "#[1-9][0-9]*",
    "GITLAB": "#[1-9][0-9]*",
    "AZURE_DEVOPS": "[1-9][0-9]*",
}


_DEFAULT = {"default": "is_default"}

STATUSES = TableSection(
    name="statuses",
    noun="status",
    model=Status,
    table="statuses",
    columns=same(
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
    columns=same("context", "name", "icon", "color", "include_in_runs", "automation", "enabled", "position") | _DEFAULT,
    availability="lifecycle_state_id",
    default_among="context",
    order="t.context, t.position, t.id",
)

TAGS = TableSection(
    name="tags",
    noun="tag",
    model=Tag,
    table="tags",
    columns=same("context", "name", "icon", "color"),
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
    columns=same("name", "enabled", "position"),
    parts={"platforms": Part(_PLATFORMS, _write_platforms, without_nothing, kept_by="name")},
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
    columns=same("name", "for_cases", "for_runs", "enabled"),
    availability="environment_id",
    parts={"platforms": Part(_OF_ENVIRONMENT, _write_environment, lambda name: name)},
    order="lower(t.name)",
)

CYCLE_TYPES = TableSection(
    name="cycle_types",
    noun="cycle type",
    model=CycleType,
    table="cycle_types",
    columns=same("name", "icon", "color", "enabled") | _DEFAULT,
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
    columns=same(
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
    columns=same("name", "semantic", "enabled") | _DEFAULT,
    availability="relation_id",
    default_among="semantic",
    needed=("semantic",),
    order="t.semantic DESC, t.id",
)

TABLES = (
    FIELDS, TEMPLATES, STATUSES, LIFECYCLE_STATES, TAGS, PLATFORM_GROUPS, ENVIRONMENTS, CYCLE_TYPES, SOURCES, RELATIONS,
)  # fmt: skip
