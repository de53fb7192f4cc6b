"""who acts is told by the entry."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Defaults change nothing for who names the columns, as releases before do. This one's does not name them.
compatible_from = "0001"
serves_from = "0005"

_USER = "nullif(current_setting('testorchestrator.user_id', true), '')::bigint"
_KEY = "nullif(current_setting('testorchestrator.api_key_id', true), '')::bigint"
_TOOL = "nullif(current_setting('testorchestrator.tool', true), '')"
_DEFAULTS = {
    "folders": {"created_by": _USER},
    "cases": {"created_by": _USER, "updated_by": _USER},
    "case_versions": {"created_by": _USER, "api_key_id": _KEY},
    "comments": {"author_id": _USER},
    "cycles": {"created_by": _USER},
    "runs": {"created_by": _USER},
    "results": {"created_by": _USER, "api_key_id": _KEY},
    "links": {"created_by": _USER},
    "audit_log": {"user_id": _USER, "api_key_id": _KEY, "tool": _TOOL},
}


def upgrade() -> None:
    for table, columns in _DEFAULTS.items():
        settings = ", ".join(f"ALTER COLUMN {column} SET DEFAULT {value}" for column, value in columns.items())
        op.execute(f"ALTER TABLE {table} {settings}")
