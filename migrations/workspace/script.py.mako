"""${message}."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# The oldest release, by its newest revision, that serves a workspace at this revision; and the oldest revision of a
# workspace that a release with this one as its newest serves. See tenancy.release.
compatible_from = ${repr(up_revision)}
serves_from = ${repr(up_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
