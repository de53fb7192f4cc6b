"""What a workspace's administrators set up: fields, templates, statuses, lifecycles, environments, tags, cycle types.

An object that is not for all projects is for those that project_availability names.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import ALL, bigint, flag, id_column, may, not_blank, one_of, reference, string, timestamp
from migrations.workspace.tables.base import metadata

FIELD_TYPES = (
    "TEXT",
    "STRING",
    "INTEGER",
    "FLOAT",
    "DATE",
    "CHECKBOX",
    "LINK",
    "DROPDOWN",
    "MULTI_SELECT",
    "STEPS",
)
STEP_SLOTS = ("step", "expectedResult", "actualResult", "notes")
COLOR = "color ~ '^#[0-9a-f]{6}$'"


def position() -> Column[int]:
    """Return the place in the order of display."""
    return Column("position", SmallInteger, nullable=False, server_default=text("0"))


def color() -> Column[str]:
    """Return a hex colour such as `#1a7f37`."""
    return string("color", 7, default="#6b7280")


fields = Table(
    "fields",
    metadata,
    id_column(),
    string("system_name", 50),
    string("label", 100),
    string("type", 12),
    string("applies_to", 6, default="CASE"),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    timestamp("created_at"),
    UniqueConstraint("id", "type"),
    UniqueConstraint("applies_to", "system_name"),
    CheckConstraint("system_name ~ '^[a-z][a-z0-9_]*$'", name="system_name"),
    not_blank("label"),
    one_of("type", FIELD_TYPES),
    one_of("applies_to", ("CASE", "RESULT")),
    CheckConstraint("type <> 'STEPS' OR applies_to = 'CASE'", name="steps_on_cases"),
    comment="A field that cases (or results) can have. Type and system name never change.",
    info=may(insert=ALL, update=ALL),
)

templates = Table(
    "templates",
    metadata,
    id_column(),
    string("name", 100),
    flag("enabled", default=True),
    flag("is_default"),
    flag("all_projects", default=True),
    not_blank("name"),
    CheckConstraint("enabled OR NOT is_default", name="default_enabled"),
    comment="A set of fields that a case has. The default template is available in every project.",
    info=may(insert=ALL, update=ALL),
)
Index("templates_name_key", func.lower(templates.c.name), unique=True)
Index("templates_default_key", templates.c.is_default, unique=True, postgresql_where=templates.c.is_default)

template_fields = Table(
    "template_fields",
    metadata,
    reference("template_id", "templates.id", key=True, ondelete="CASCADE"),
    reference("field_id", "fields.id", key=True, index=True, ondelete="CASCADE"),
    flag("required"),
    Column("default_value", JSONB, nullable=True),
    comment="Which fields a template has, and what holds for them there.",
    info=may(insert=ALL, delete=True),
)

field_overrides = Table(
    "field_overrides",
    metadata,
    reference("project_id", "projects.id", key=True, ondelete="CASCADE"),
    reference("field_id", "fields.id", key=True, index=True, ondelete="CASCADE"),
    flag("hidden"),
    Column("required", fields.c.enabled.type, nullable=True),
    Column("default_value", JSONB, nullable=True),
    comment="What holds for a field in one project, over what its template says; null leaves the template's word.",
    info=may(insert=ALL, delete=True),
)

field_options = Table(
    "field_options",
    metadata,
    id_column(),
    bigint("field_id"),
    string("type", 12),
    reference("template_id", "templates.id", nullable=True, index=True, ondelete="CASCADE"),
    reference("project_id", "projects.id", nullable=True, index=True, ondelete="CASCADE"),
    string("value", 100),
    string("label", 100),
    flag("enabled", default=True),
    position(),
    ForeignKeyConstraint(["field_id", "type"], ["fields.id", "fields.type"], ondelete="CASCADE"),
    UniqueConstraint(
        "field_id",
        "template_id",
        "project_id",
        "value",
        name="field_options_value_key",
        postgresql_nulls_not_distinct=True,
    ),
    UniqueConstraint(
        "field_id",
        "template_id",
        "project_id",
        "position",
        name="field_options_position_key",
        postgresql_nulls_not_distinct=True,
        deferrable=True,
    ),
    one_of("type", ("DROPDOWN", "MULTI_SELECT")),
    CheckConstraint("num_nonnulls(template_id, project_id) <= 1", name="scope"),
    CheckConstraint("position BETWEEN 0 AND 49", name="at_most_50"),
    not_blank("value"),
    not_blank("label"),
    comment="The choices of a field: its own list, or the list that replaces it in a template or in a project.",
    info=may(insert=ALL, update=ALL, delete=True),
)

field_slots = Table(
    "field_slots",
    metadata,
    id_column(),
    bigint("field_id"),
    string("type", 12, default="STEPS"),
    reference("project_id", "projects.id", nullable=True, index=True, ondelete="CASCADE"),
    string("slot", 20),
    string("label", 100),
    flag("enabled", default=True),
    position(),
    ForeignKeyConstraint(["field_id", "type"], ["fields.id", "fields.type"], ondelete="CASCADE"),
    UniqueConstraint("field_id", "project_id", "slot", name="field_slots_slot_key", postgresql_nulls_not_distinct=True),
    one_of("type", ("STEPS",)),
    one_of("slot", STEP_SLOTS),
    not_blank("label"),
    comment="The labels of a STEPS field's four slots: its own, or one project's.",
    info=may(insert=ALL, update=ALL, delete=True),
)

statuses = Table(
    "statuses",
    metadata,
    id_column(),
    string("system_name", 50),
    string("name", 100),
    Column("aliases", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    color(),
    flag("is_initial"),
    flag("success"),
    flag("failure"),
    flag("completed"),
    flag("for_runs", default=True),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    position(),
    UniqueConstraint("system_name"),
    CheckConstraint("system_name ~ '^[a-z0-9-]+$'", name="system_name"),
    not_blank("name"),
    CheckConstraint(COLOR, name="color"),
    CheckConstraint(
        "NOT is_initial OR (enabled AND all_projects AND for_runs AND NOT (success OR failure OR completed))",
        name="initial_always_there",
    ),
    comment="What a result can say. The initial one (Untested) is what every case of a run starts with.",
    info=may(insert=ALL, update=ALL),
)
Index("statuses_name_key", func.lower(statuses.c.name), unique=True)
Index("statuses_initial_key", statuses.c.is_initial, unique=True, postgresql_where=statuses.c.is_initial)

lifecycle_states = Table(
    "lifecycle_states",
    metadata,
    id_column(),
    string("context", 10),
    string("name", 100),
    string("icon", 50, nullable=True),
    color(),
    flag("is_default"),
    flag("include_in_runs"),
    string("automation", 12, nullable=True),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    position(),
    UniqueConstraint("id", "context"),
    UniqueConstraint("automation"),
    not_blank("name"),
    CheckConstraint(COLOR, name="color"),
    one_of("context", ("REPOSITORY", "RUNS")),
    one_of("automation", ("FIRST_RESULT", "RUN_CLOSED")),
    CheckConstraint("context = 'REPOSITORY' OR NOT include_in_runs", name="include_in_runs"),
    CheckConstraint("context = 'RUNS' OR automation IS NULL", name="automation_of_runs"),
    CheckConstraint("enabled OR NOT is_default", name="default_enabled"),
    comment="Where a case (REPOSITORY) or a run (RUNS) stands. automation: a run moves here at its first result "
    "or at its closing.",
    info=may(insert=ALL, update=ALL),
)
Index("lifecycle_states_name_key", lifecycle_states.c.context, func.lower(lifecycle_states.c.name), unique=True)
Index(
    "lifecycle_states_default_key",
    lifecycle_states.c.context,
    unique=True,
    postgresql_where=lifecycle_states.c.is_default,
)

platform_groups = Table(
    "platform_groups",
    metadata,
    id_column(),
    string("name", 100),
    flag("enabled", default=True),
    position(),
    not_blank("name"),
    comment="A family of platforms of which an environment has at most one, such as Browser.",
    info=may(insert=ALL, update=ALL),
)
Index("platform_groups_name_key", func.lower(platform_groups.c.name), unique=True)

platforms = Table(
    "platforms",
    metadata,
    id_column(),
    reference("group_id", "platform_groups.id", ondelete="CASCADE"),
    string("name", 100),
    string("icon", 50, nullable=True),
    flag("enabled", default=True),
    UniqueConstraint("group_id", "id"),
    not_blank("name"),
    comment="A platform, such as Firefox; its group never changes.",
    info=may(insert=ALL, update=ALL),
)

environments = Table(
    "environments",
    metadata,
    id_column(),
    string("name", 200),
    flag("for_cases", default=True),
    flag("for_runs", default=True),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    not_blank("name"),
    comment="A combination of platforms that cases are meant for and runs are executed on.",
    info=may(insert=ALL, update=ALL),
)
Index("environments_name_key", func.lower(environments.c.name), unique=True)

environment_platforms = Table(
    "environment_platforms",
    metadata,
    reference("environment_id", "environments.id", key=True, ondelete="CASCADE"),
    bigint("group_id", key=True),
    bigint("platform_id"),
    ForeignKeyConstraint(["group_id", "platform_id"], ["platforms.group_id", "platforms.id"]),
    comment="The platforms of an environment; the key allows one of each group.",
    info=may(insert=ALL, delete=True),
)

tags = Table(
    "tags",
    metadata,
    id_column(),
    string("context", 10),
    string("name", 50),
    string("icon", 50, nullable=True),
    color(),
    UniqueConstraint("id", "context"),
    one_of("context", ("REPOSITORY", "RUNS")),
    CheckConstraint("char_length(name) >= 2 AND name ~ '^[[:alnum:]]+([_-][[:alnum:]]+)*[_-]?$'", name="name"),
    CheckConstraint(COLOR, name="color"),
    comment="A label for cases (REPOSITORY) or runs (RUNS): two independent sets, for the whole workspace.",
    info=may(insert=ALL, update=ALL),
)
Index("tags_name_key", tags.c.context, func.lower(tags.c.name), unique=True)

cycle_types = Table(
    "cycle_types",
    metadata,
    id_column(),
    string("name", 100),
    string("icon", 50, default="cycle"),
    color(),
    flag("is_default"),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    not_blank("name"),
    CheckConstraint(COLOR, name="color"),
    CheckConstraint("enabled OR NOT is_default", name="default_enabled"),
    comment="A kind of cycle, such as Sprint or Release.",
    info=may(insert=ALL, update=ALL),
)
Index("cycle_types_name_key", func.lower(cycle_types.c.name), unique=True)
Index("cycle_types_default_key", cycle_types.c.is_default, unique=True, postgresql_where=cycle_types.c.is_default)

_ASSIGNABLE = {
    "field_id": "fields.id",
    "template_id": "templates.id",
    "status_id": "statuses.id",
    "lifecycle_state_id": "lifecycle_states.id",
    "environment_id": "environments.id",
    "cycle_type_id": "cycle_types.id",
    "source_id": "sources.id",
    "relation_id": "relations.id",
}
_assignable: list[Any] = [
    reference(name, target, nullable=True, ondelete="CASCADE") for name, target in _ASSIGNABLE.items()
]

project_availability = Table(
    "project_availability",
    metadata,
    reference("project_id", "projects.id", ondelete="CASCADE"),
    *_assignable,
    UniqueConstraint("project_id", *_ASSIGNABLE, name="project_availability_key", postgresql_nulls_not_distinct=True),
    CheckConstraint(f"num_nonnulls({', '.join(_ASSIGNABLE)}) = 1", name="one_object"),
    comment="Which projects see an object that is not for all projects. One table for all kinds, with real foreign "
    "keys, because a table for each would cost every workspace eight.",
    info=may(insert=ALL, delete=True),
)
