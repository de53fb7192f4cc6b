"""The test cases: folders, cases with their values, steps, tags, environments and versions, and comments."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import (
    ALL,
    acting_key,
    acting_user,
    bigint,
    id_column,
    may,
    not_blank,
    one_of,
    reference,
    string,
    timestamp,
    version,
)
from migrations.workspace.tables.base import metadata

folders = Table(
    "folders",
    metadata,
    id_column(),
    reference("project_id", "projects.id", ondelete="CASCADE"),
    bigint("parent_id", nullable=True),
    Column("depth", SmallInteger, nullable=False, server_default=text("1")),
    Column("parent_depth", SmallInteger, Computed("depth - 1", persisted=True), nullable=True),
    string("name", 255),
    string("description", 2000, default=""),
    Column("position", Integer, nullable=False, server_default=text("0")),
    acting_user("created_by", nullable=True),
    timestamp("created_at"),
    timestamp("updated_at"),
    version(),
    UniqueConstraint("project_id", "id"),
    UniqueConstraint("project_id", "id", "depth"),
    ForeignKeyConstraint(
        ["project_id", "parent_id", "parent_depth"],
        ["folders.project_id", "folders.id", "folders.depth"],
        name="folders_parent_fkey",
        deferrable=True,
        initially="DEFERRED",
    ),
    not_blank("name"),
    CheckConstraint("depth BETWEEN 1 AND 20", name="depth"),
    CheckConstraint("(parent_id IS NULL) = (depth = 1)", name="root_depth"),
    CheckConstraint("position >= 0", name="position"),
    comment="The folder tree of a project. A folder is one deeper than its parent, which keeps the tree free of "
    "cycles even when two moves meet.",
    info=may(
        insert=("project_id", "parent_id", "depth", "name", "description", "position"),
        update=("parent_id", "depth", "name", "description", "position", "updated_at", "version"),
        delete=True,
    ),
)
Index("folders_children_idx", folders.c.project_id, folders.c.parent_id, folders.c.position)

cases = Table(
    "cases",
    metadata,
    id_column(),
    reference("project_id", "projects.id", ondelete="CASCADE"),
    Column("number", Integer, nullable=False),
    string("title", 255),
    bigint("folder_id", nullable=True),
    reference("template_id", "templates.id"),
    bigint("lifecycle_state_id"),
    string("lifecycle_context", 10, default="REPOSITORY"),
    Column("estimate_seconds", Integer, nullable=True),
    acting_user("created_by"),
    timestamp("created_at"),
    acting_user("updated_by"),
    timestamp("updated_at"),
    timestamp("deleted_at", nullable=True),
    version(),
    UniqueConstraint("project_id", "number"),
    UniqueConstraint("project_id", "id"),
    ForeignKeyConstraint(["project_id", "folder_id"], ["folders.project_id", "folders.id"], name="cases_folder_fkey"),
    ForeignKeyConstraint(
        ["lifecycle_state_id", "lifecycle_context"],
        ["lifecycle_states.id", "lifecycle_states.context"],
        name="cases_lifecycle_state_fkey",
    ),
    CheckConstraint("number >= 1", name="number"),
    not_blank("title"),
    one_of("lifecycle_context", ("REPOSITORY",)),
    CheckConstraint("estimate_seconds > 0", name="estimate_seconds"),
    comment="A test case. Its number (C-12) is unique in the project and never used again. "
    "Without a folder it is at the root of the tree.",
    info=may(
        insert=(
            *("project_id", "number", "title", "folder_id"),
            *("template_id", "lifecycle_state_id", "estimate_seconds"),
        ),
        update=(
            *("title", "folder_id", "template_id", "lifecycle_state_id", "estimate_seconds"),
            *("updated_by", "updated_at", "version"),
        ),
    ),
)
# Counting reads an index alone: each tells which cases are deleted. Those of folders and templates serve their foreign
# keys too, so they have all cases.
_NOT_DELETED = cases.c.deleted_at.is_(None)
Index(
    "cases_folder_number_idx", cases.c.project_id, cases.c.folder_id, cases.c.number, postgresql_include=["deleted_at"]
)
Index("cases_template_idx", cases.c.template_id, cases.c.project_id, cases.c.deleted_at)
Index(
    "cases_lifecycle_state_idx",
    cases.c.project_id,
    cases.c.lifecycle_state_id,
    cases.c.number,
    postgresql_where=_NOT_DELETED,
)
Index("cases_title_id_idx", cases.c.project_id, cases.c.title, cases.c.id, postgresql_where=_NOT_DELETED)
Index("cases_updated_id_idx", cases.c.project_id, cases.c.updated_at, cases.c.id, postgresql_where=_NOT_DELETED)

VALUE_OF_ITS_TYPE = (
    "CASE type "
    "WHEN 'INTEGER' THEN jsonb_typeof(value) = 'number' AND value::numeric % 1 = 0 "
    "WHEN 'FLOAT' THEN jsonb_typeof(value) = 'number' "
    "WHEN 'CHECKBOX' THEN jsonb_typeof(value) = 'boolean' "
    "WHEN 'MULTI_SELECT' THEN jsonb_typeof(value) = 'array' "
    "WHEN 'DATE' THEN jsonb_typeof(value) = 'string' AND value #>> '{}' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' "
    "WHEN 'STEPS' THEN false "
    "ELSE jsonb_typeof(value) = 'string' END"
)

case_field_values = Table(
    "case_field_values",
    metadata,
    reference("case_id", "cases.id", key=True, ondelete="CASCADE"),
    bigint("field_id", key=True),
    string("type", 12),
    Column("value", JSONB, nullable=False),
    ForeignKeyConstraint(["field_id", "type"], ["fields.id", "fields.type"]),
    CheckConstraint(VALUE_OF_ITS_TYPE, name="value_of_its_type"),
    comment="The value of one field of a case, as JSON of the field's type; steps are in case_steps.",
    info=may(insert=ALL, delete=True),
)
# By a hash, as a value may be longer than an index can hold.
Index("case_field_values_value_idx", case_field_values.c.field_id, func.jsonb_hash(case_field_values.c.value))

case_steps = Table(
    "case_steps",
    metadata,
    reference("case_id", "cases.id", key=True, ondelete="CASCADE"),
    bigint("field_id", key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    string("type", 12, default="STEPS"),
    Column("step", Text, nullable=False, server_default=text("''")),
    Column("expected_result", Text, nullable=False, server_default=text("''")),
    Column("actual_result", Text, nullable=False, server_default=text("''")),
    Column("notes", Text, nullable=False, server_default=text("''")),
    ForeignKeyConstraint(["field_id", "type"], ["fields.id", "fields.type"]),
    one_of("type", ("STEPS",)),
    CheckConstraint("position >= 1", name="position"),
    comment="The steps of a case, in order from 1.",
    info=may(insert=ALL, delete=True),
)

case_tags = Table(
    "case_tags",
    metadata,
    reference("case_id", "cases.id", key=True, ondelete="CASCADE"),
    bigint("tag_id", key=True),
    string("context", 10, default="REPOSITORY"),
    ForeignKeyConstraint(["tag_id", "context"], ["tags.id", "tags.context"], ondelete="CASCADE"),
    one_of("context", ("REPOSITORY",)),
    comment="The tags of a case.",
    info=may(insert=ALL, delete=True),
)
Index("case_tags_tag_id_idx", case_tags.c.tag_id, case_tags.c.case_id)

case_environments = Table(
    "case_environments",
    metadata,
    reference("case_id", "cases.id", key=True, ondelete="CASCADE"),
    reference("environment_id", "environments.id", key=True, index=True, ondelete="CASCADE"),
    comment="The environments that a case is meant for.",
    info=may(insert=ALL, delete=True),
)

case_versions = Table(
    "case_versions",
    metadata,
    reference("case_id", "cases.id", key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("snapshot", JSONB, nullable=False),
    acting_user("created_by"),
    acting_key(),
    timestamp("created_at"),
    comment="Every version of a case, whole, with who made it: its history, and what a run executed.",
    info=may(insert=("case_id", "version", "snapshot")),
)

comments = Table(
    "comments",
    metadata,
    id_column(),
    bigint("project_id"),
    bigint("case_id"),
    acting_user("author_id"),
    Column("body", Text, nullable=False),
    timestamp("created_at"),
    timestamp("edited_at", nullable=True),
    timestamp("deleted_at", nullable=True),
    version(),
    ForeignKeyConstraint(["project_id", "case_id"], ["cases.project_id", "cases.id"], name="comments_case_fkey"),
    not_blank("body"),
    CheckConstraint("char_length(body) <= 10000", name="body_length"),
    comment="A Markdown comment on a case; a deleted one stays with its time of deletion.",
    info=may(insert=("project_id", "case_id", "body"), update=("body", "edited_at", "deleted_at", "version")),
)
Index("comments_case_idx", comments.c.case_id, comments.c.id)
