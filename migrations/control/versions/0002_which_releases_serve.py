"""which releases serve a workspace that has moved."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What releases before call stays.
compatible_from = "0001"


# As authenticate, which stays for the processes of older releases: a changed result would be another function, and
# theirs is in statements that they have prepared.
AUTHENTICATE_KEY = """
CREATE FUNCTION control.authenticate_key(key_hash bytea)
RETURNS TABLE (
    workspace_id bigint, schema_name text, schema_version text, compatible_from text, user_id bigint,
    api_key_id bigint, touch_due boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
SELECT w.id, w.schema_name, w.schema_version, w.compatible_from, k.user_id, k.id,
    k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
FROM control.api_keys k
JOIN control.workspaces w ON w.id = k.workspace_id
WHERE k.hash = key_hash AND k.revoked_at IS NULL AND k.owner_active AND w.state = 'active'
    AND (k.expires_at IS NULL OR k.expires_at > now());
END
"""


def upgrade() -> None:
    # The workspaces that are there, and those that an older release still makes meanwhile, are at 0001.
    op.add_column(
        "workspaces",
        sa.Column("compatible_from", sa.String(length=32), server_default="0001", nullable=False),
        schema="control",
    )
    op.add_column("workspaces", sa.Column("migration_error", sa.String(length=500), nullable=True), schema="control")
    op.create_table_comment(
        "workspaces",
        "A customer's workspace: its schema and role have the name schema_name. cluster is its placement, null for the default database; schema_version mirrors the schema's own, compatible_from is the oldest release (its newest revision) that serves it; migration_error is why the last try to migrate it failed.",
        schema="control",
    )
    op.execute(AUTHENTICATE_KEY)
    op.execute("REVOKE EXECUTE ON FUNCTION control.authenticate_key(bytea) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION control.authenticate_key(bytea) TO testorchestrator_app")
