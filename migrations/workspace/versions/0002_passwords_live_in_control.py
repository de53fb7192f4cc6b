"""passwords live in control."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# No release has ever read or written the column, so any works without it.
serves_from = "0001"


def upgrade() -> None:
    op.drop_column("users", "password_hash")
