"""audit log by who, how and when."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Indexes change no answer.
compatible_from = "0001"
serves_from = "0001"


def upgrade() -> None:
    for column in ("user", "api_key"):
        op.create_index(f"audit_log_{column}_idx", "audit_log", [f"{column}_id", "created_at", "id"], unique=False)
    op.create_index("audit_log_tool_idx", "audit_log", ["tool", "created_at", "id"], unique=False)
    op.create_index("audit_log_created_at_idx", "audit_log", ["created_at", "id"], unique=False)
