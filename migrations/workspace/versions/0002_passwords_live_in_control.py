"""passwords live in control."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# No release has ever read or written the column, so all do without it and with it.
compatible_from = "0001"
serves_from = "0001"


def upgrade() -> None:
    op.drop_column("users", "password_hash")
