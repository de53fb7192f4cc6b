"""What was done, and what need not be done twice: the audit log and the idempotency keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, String, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import (
    ACTING_TOOL,
    acting_key,
    acting_user,
    bigint,
    id_column,
    may,
    string,
    timestamp,
)
from migrations.workspace.tables.base import metadata

audit_log = Table(
    "audit_log",
    metadata,
    id_column(),
    timestamp("created_at"),
    acting_user("user_id", nullable=True),
    acting_key(),
    Column("tool", String(60), nullable=False, server_default=text(ACTING_TOOL)),
    string("action", 20),
    string("object_type", 30),
    Column("object_id", BigInteger, nullable=False),
    bigint("project_id", nullable=True),
    Column("version_before", Integer, nullable=True),
    Column("version_after", Integer, nullable=True),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    comment="Every change: who, with which key, by which tool, to what. Written in the change's own transaction.",
    info=may(
        insert=(
            *("action", "object_type", "object_id", "project_id"),
            *("version_before", "version_after", "details"),
        ),
    ),
)
Index("audit_log_object_idx", audit_log.c.object_id, audit_log.c.id)
Index("audit_log_project_idx", audit_log.c.project_id, audit_log.c.id)
# The log as it is read, the latest first: all of it, or by one of these.
Index("audit_log_created_at_idx", audit_log.c.created_at, audit_log.c.id)
Index("audit_log_user_idx", audit_log.c.user_id, audit_log.c.created_at, audit_log.c.id)
Index("audit_log_api_key_idx", audit_log.c.api_key_id, audit_log.c.created_at, audit_log.c.id)
Index("audit_log_tool_idx", audit_log.c.tool, audit_log.c.created_at, audit_log.c.id)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("api_key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("idempotency_key", Text, primary_key=True),
    string("tool", 60),
    Column("request_hash", LargeBinary, nullable=False),
    Column("answer", Text, nullable=True),
    timestamp("created_at"),
    CheckConstraint("char_length(idempotency_key) BETWEEN 1 AND 64", name="idempotency_key"),
    comment="The answers of the last 24 hours to calls that carried an idempotencyKey, by API key.",
    info=may(insert=("api_key_id", "idempotency_key", "tool", "request_hash"), update=("answer",), delete=True),
)
