"""The execution: cycles, runs, the cases of a run, and their results."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
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
from migrations.workspace.tables.repository import VALUE_OF_ITS_TYPE

cycles = Table(
    "cycles",
    metadata,
    id_column(),
    reference("project_id", "projects.id", ondelete="CASCADE"),
    reference("type_id", "cycle_types.id"),
    bigint("parent_id", nullable=True),
    Column("depth", SmallInteger, nullable=False, server_default=text("1")),
    Column("parent_depth", SmallInteger, Computed("depth - 1", persisted=True), nullable=True),
    string("name", 255),
    string("description", 2000, default=""),
    string("state", 10, default="UPCOMING"),
    Column("start_date", Date, nullable=True),
    Column("end_date", Date, nullable=True),
    Column("completed_date", Date, nullable=True),
    acting_user("created_by", nullable=True),
    timestamp("created_at"),
    timestamp("updated_at"),
    version(),
    UniqueConstraint("project_id", "id"),
    UniqueConstraint("project_id", "id", "depth"),
    ForeignKeyConstraint(
        ["project_id", "parent_id", "parent_depth"],
        ["cycles.project_id", "cycles.id", "cycles.depth"],
        name="cycles_parent_fkey",
        deferrable=True,
        initially="DEFERRED",
    ),
    not_blank("name"),
    one_of("state", ("UPCOMING", "ACTIVE", "COMPLETED")),
    CheckConstraint("depth BETWEEN 1 AND 3", name="depth"),
    CheckConstraint("(parent_id IS NULL) = (depth = 1)", name="root_depth"),
    CheckConstraint("end_date >= start_date", name="dates"),
    CheckConstraint("state <> 'ACTIVE' OR start_date IS NOT NULL", name="active_started"),
    CheckConstraint("(state = 'COMPLETED') = (completed_date IS NOT NULL)", name="completed_date"),
    comment="A sprint, release or the like that groups runs; at most three levels.",
    info=may(
        insert=("project_id", "type_id", "parent_id", "depth", "name", "description", "start_date", "end_date"),
        update=(
            *("type_id", "parent_id", "depth", "name", "description", "start_date", "end_date"),
            *("state", "completed_date", "updated_at", "version"),
        ),
    ),
)
Index("cycles_parent_idx", cycles.c.project_id, cycles.c.parent_id)

runs = Table(
    "runs",
    metadata,
    id_column(),
    reference("project_id", "projects.id", ondelete="CASCADE"),
    bigint("cycle_id", nullable=True),
    bigint("lifecycle_state_id"),
    string("lifecycle_context", 10, default="RUNS"),
    reference("environment_id", "environments.id", nullable=True),
    string("title", 255),
    Column("notes", Text, nullable=False, server_default=text("''")),
    acting_user("created_by"),
    timestamp("created_at"),
    timestamp("updated_at"),
    timestamp("closed_at", nullable=True),
    reference("closed_by", "users.id", nullable=True),
    version(),
    UniqueConstraint("project_id", "id"),
    ForeignKeyConstraint(["project_id", "cycle_id"], ["cycles.project_id", "cycles.id"], name="runs_cycle_fkey"),
    ForeignKeyConstraint(
        ["lifecycle_state_id", "lifecycle_context"],
        ["lifecycle_states.id", "lifecycle_states.context"],
        name="runs_lifecycle_state_fkey",
    ),
    not_blank("title"),
    one_of("lifecycle_context", ("RUNS",)),
    CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name="closed"),
    comment="An execution of a set of cases in one environment. A closed run accepts no change.",
    info=may(
        insert=("project_id", "title", "cycle_id", "environment_id", "lifecycle_state_id", "notes"),
        update=(
            *("title", "cycle_id", "environment_id", "lifecycle_state_id", "notes"),
            *("closed_at", "closed_by", "updated_at", "version"),
        ),
    ),
)
Index("runs_project_idx", runs.c.project_id, runs.c.id)
Index("runs_cycle_idx", runs.c.cycle_id, postgresql_where=runs.c.cycle_id.is_not(None))

run_tags = Table(
    "run_tags",
    metadata,
    reference("run_id", "runs.id", key=True, ondelete="CASCADE"),
    bigint("tag_id", key=True),
    string("context", 10, default="RUNS"),
    ForeignKeyConstraint(["tag_id", "context"], ["tags.id", "tags.context"], ondelete="CASCADE"),
    one_of("context", ("RUNS",)),
    comment="The tags of a run.",
    info=may(insert=ALL, delete=True),
)
Index("run_tags_tag_id_idx", run_tags.c.tag_id)

run_cases = Table(
    "run_cases",
    metadata,
    bigint("run_id", key=True),
    bigint("case_id", key=True),
    bigint("project_id"),
    Column("case_version", Integer, nullable=False),
    reference("status_id", "statuses.id"),
    reference("assignee_id", "users.id", nullable=True),
    bigint("latest_result_id", nullable=True),
    timestamp("added_at"),
    ForeignKeyConstraint(
        ["project_id", "run_id"], ["runs.project_id", "runs.id"], name="run_cases_run_fkey", ondelete="CASCADE"
    ),
    ForeignKeyConstraint(["project_id", "case_id"], ["cases.project_id", "cases.id"], name="run_cases_case_fkey"),
    ForeignKeyConstraint(
        ["case_id", "case_version"], ["case_versions.case_id", "case_versions.version"], name="run_cases_version_fkey"
    ),
    ForeignKeyConstraint(
        ["latest_result_id", "run_id", "case_id"],
        ["results.id", "results.run_id", "results.case_id"],
        name="run_cases_latest_result_fkey",
        use_alter=True,
    ),
    comment="A case in a run: the version that is executed, who should, and the status of its latest result.",
    info=may(
        insert=("run_id", "case_id", "project_id", "case_version", "status_id", "assignee_id"),
        update=("status_id", "assignee_id", "latest_result_id"),
        delete=True,
    ),
)
Index("run_cases_status_idx", run_cases.c.run_id, run_cases.c.status_id)
Index("run_cases_case_idx", run_cases.c.case_id, run_cases.c.run_id)
Index("run_cases_assignee_idx", run_cases.c.assignee_id, postgresql_where=run_cases.c.assignee_id.is_not(None))

results = Table(
    "results",
    metadata,
    id_column(),
    bigint("run_id"),
    bigint("case_id"),
    Column("case_version", Integer, nullable=False),
    reference("status_id", "statuses.id"),
    Column("comment", Text, nullable=False, server_default=text("''")),
    Column("elapsed_seconds", Integer, nullable=True),
    acting_user("created_by"),
    acting_key(),
    timestamp("created_at"),
    UniqueConstraint("id", "run_id", "case_id"),
    ForeignKeyConstraint(
        ["run_id", "case_id"], ["run_cases.run_id", "run_cases.case_id"], name="results_run_case_fkey"
    ),
    ForeignKeyConstraint(
        ["case_id", "case_version"], ["case_versions.case_id", "case_versions.version"], name="results_version_fkey"
    ),
    CheckConstraint("elapsed_seconds >= 0", name="elapsed_seconds"),
    comment="What one execution of a case in a run gave. Only ever appended.",
    info=may(insert=("id", "run_id", "case_id", "case_version", "status_id", "comment", "elapsed_seconds")),
)
Index("results_run_case_idx", results.c.run_id, results.c.case_id, results.c.id)
# The latest result of a case, and what it says, without a look at the table.
Index("results_latest_idx", results.c.case_id, results.c.id, postgresql_include=["run_id", "status_id"])

result_steps = Table(
    "result_steps",
    metadata,
    reference("result_id", "results.id", key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    string("outcome", 5),
    string("comment", 2000, default=""),
    one_of("outcome", ("pass", "fail", "block", "skip")),
    CheckConstraint("position >= 1", name="position"),
    comment="The outcome of one step of the executed case version.",
    info=may(insert=ALL),
)

result_field_values = Table(
    "result_field_values",
    metadata,
    reference("result_id", "results.id", key=True),
    bigint("field_id", key=True),
    string("type", 12),
    Column("value", JSONB, nullable=False),
    ForeignKeyConstraint(["field_id", "type"], ["fields.id", "fields.type"]),
    CheckConstraint(VALUE_OF_ITS_TYPE, name="value_of_its_type"),
    comment="The value of one result field of a result.",
    info=may(),
)
