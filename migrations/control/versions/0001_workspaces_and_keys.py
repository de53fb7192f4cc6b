"""workspaces and keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# All that the service's login may do with the control schema. No row means: refuse, whatever the cause.
AUTHENTICATE = """
CREATE FUNCTION control.authenticate(key_hash bytea)
RETURNS TABLE (
    workspace_id bigint, schema_name text, schema_version text, user_id bigint, api_key_id bigint, touch_due boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT w.id, w.schema_name, w.schema_version, k.user_id, k.id,
    k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
FROM control.api_keys k
JOIN control.workspaces w ON w.id = k.workspace_id
WHERE k.hash = key_hash AND k.revoked_at IS NULL AND k.owner_active AND w.state = 'active'
    AND (k.expires_at IS NULL OR k.expires_at > now());
END
"""

# SKIP LOCKED: of many requests in the same second one notes the use and none waits. The minute is asked for again,
# since touch_due may be older than another's note.
TOUCH_KEY = """
CREATE FUNCTION control.touch_key(key_id bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
BEGIN ATOMIC
UPDATE control.api_keys SET last_used_at = now()
WHERE id = (
    SELECT k.id FROM control.api_keys k
    WHERE k.id = key_id AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute')
    FOR UPDATE SKIP LOCKED
);
END
"""


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("operation", sa.String(length=50), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("operations_pkey")),
        schema="control",
        comment="What operators did: workspaces created, suspended, migrated, and the like.",
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("schema_name", sa.String(length=45), nullable=False),
        sa.Column("cluster", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=10), server_default=sa.text("'active'"), nullable=False),
        sa.Column("schema_version", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("workspaces_name_not_blank_check")),
        sa.CheckConstraint("schema_name ~ '^w_[a-z0-9]{4,40}$'", name=op.f("workspaces_schema_name_check")),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$'", name=op.f("workspaces_slug_check")),
        sa.CheckConstraint("state IN ('active', 'suspended', 'deleting')", name=op.f("workspaces_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("workspaces_pkey")),
        sa.UniqueConstraint("schema_name", name=op.f("workspaces_schema_name_key")),
        sa.UniqueConstraint("slug", name=op.f("workspaces_slug_key")),
        schema="control",
        comment="A customer's workspace: its schema and role have the name schema_name. cluster is its placement, null for the default database; schema_version mirrors the schema's own.",
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=4), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("owner_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("btrim(label) <> ''", name=op.f("api_keys_label_not_blank_check")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("api_keys_expires_at_check")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("api_keys_hash_check")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["control.workspaces.id"], name=op.f("api_keys_workspace_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("hash", name=op.f("api_keys_hash_key")),
        schema="control",
        comment="Personal API keys, as SHA-256 of the whole key. prefix: the first 4 characters after to_live_. owner_active mirrors the user's state in the workspace, so that one look-up decides.",
    )
    op.create_index("api_keys_owner_idx", "api_keys", ["workspace_id", "user_id"], unique=False, schema="control")
    op.execute(AUTHENTICATE)
    op.execute(TOUCH_KEY)
    for function in ("authenticate(bytea)", "touch_key(bigint)"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION control.{function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION control.{function} TO testorchestrator_app")
