"""The way to the issue trackers: sources, relations, known issues, and links."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Table, UniqueConstraint, func

from migrations.columns import (
    ALL,
    acting_user,
    bigint,
    flag,
    id_column,
    may,
    not_blank,
    one_of,
    reference,
    string,
    timestamp,
)
from migrations.workspace.tables.base import metadata

SYSTEMS = ("JIRA", "LINEAR", "GITHUB", "GITLAB", "AZURE_DEVOPS", "CUSTOM")
_LINKABLE = ("case_id", "run_id", "result_id", "cycle_id")

sources = Table(
    "sources",
    metadata,
    id_column(),
    string("name", 100),
    string("system", 20),
    string("base_url", 500, default=""),
    string("issue_url_template", 500, default="{baseUrl}/{key}"),
    string("create_url_template", 500, default=""),
    string("key_pattern", 200),
    string("example", 100, default=""),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    not_blank("name"),
    not_blank("key_pattern"),
    one_of("system", SYSTEMS),
    comment="An issue tracker. A key is valid when key_pattern matches it whole.",
    info=may(insert=ALL, update=ALL),
)
Index("sources_name_key", func.lower(sources.c.name), unique=True)

relations = Table(
    "relations",
    metadata,
    id_column(),
    string("name", 100),
    string("semantic", 10),
    flag("is_system"),
    flag("is_default"),
    flag("enabled", default=True),
    flag("all_projects", default=True),
    not_blank("name"),
    one_of("semantic", ("GENERAL", "DEFECT")),
    CheckConstraint("enabled OR NOT is_default", name="default_enabled"),
    comment="What a link means. GENERAL ones are coverage, DEFECT ones are defects.",
    info=may(insert=ALL, update=ALL),
)
Index("relations_name_key", func.lower(relations.c.name), unique=True)
Index("relations_default_key", relations.c.semantic, unique=True, postgresql_where=relations.c.is_default)

issues = Table(
    "issues",
    metadata,
    id_column(),
    reference("project_id", "projects.id", ondelete="CASCADE"),
    reference("source_id", "sources.id", index=True),
    string("key", 100),
    string("url", 1000, default=""),
    string("title", 500, nullable=True),
    string("status", 100, nullable=True),
    timestamp("synced_at", nullable=True),
    timestamp("created_at"),
    UniqueConstraint("project_id", "source_id", "key"),
    UniqueConstraint("project_id", "id"),
    not_blank("key"),
    comment="An issue that a project knows: linked, or synced from its tracker (then with title and status).",
    info=may(insert=("project_id", "source_id", "key", "url"), update=("url",), delete=True),
)

links = Table(
    "links",
    metadata,
    id_column(),
    bigint("project_id"),
    bigint("issue_id"),
    reference("relation_id", "relations.id"),
    bigint("case_id", nullable=True),
    bigint("run_id", nullable=True),
    reference("result_id", "results.id", nullable=True),
    bigint("cycle_id", nullable=True),
    acting_user("created_by"),
    timestamp("created_at"),
    ForeignKeyConstraint(["project_id", "issue_id"], ["issues.project_id", "issues.id"], name="links_issue_fkey"),
    ForeignKeyConstraint(["project_id", "case_id"], ["cases.project_id", "cases.id"], name="links_case_fkey"),
    ForeignKeyConstraint(["project_id", "run_id"], ["runs.project_id", "runs.id"], name="links_run_fkey"),
    ForeignKeyConstraint(["project_id", "cycle_id"], ["cycles.project_id", "cycles.id"], name="links_cycle_fkey"),
    CheckConstraint(f"num_nonnulls({', '.join(_LINKABLE)}) = 1", name="one_object"),
    UniqueConstraint("issue_id", "relation_id", *_LINKABLE, name="links_same_key", postgresql_nulls_not_distinct=True),
    comment="An issue on a case, run, result or cycle, with what it means there.",
    info=may(
        insert=("project_id", "issue_id", "relation_id", "case_id", "result_id"),
        # A link is locked before it is deleted, which takes the right to change something.
        update=("relation_id",),
        delete=True,
    ),
)
Index(
    "links_project_idx",
    links.c.project_id,
    links.c.issue_id,
    postgresql_include=["case_id", "result_id", "relation_id"],
)
Index("links_case_idx", links.c.case_id, postgresql_where=links.c.case_id.is_not(None))
Index("links_result_idx", links.c.result_id, postgresql_where=links.c.result_id.is_not(None))
