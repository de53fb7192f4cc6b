"""lists of a million cases."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Indexes change no answer.
compatible_from = "0001"
serves_from = "0001"

_NOT_DELETED = sa.text("deleted_at IS NULL")


_REPLACED = {
    "cases": ("cases_folder_idx", "cases_template_id_idx", "cases_title_idx", "cases_updated_idx"),
    "case_field_values": ("case_field_values_field_id_idx",),
    "results": ("results_case_idx",),
}


def upgrade() -> None:
    op.create_index(
        "cases_folder_number_idx", "cases", ["project_id", "folder_id", "number"], postgresql_include=["deleted_at"]
    )
    op.create_index("cases_template_idx", "cases", ["template_id", "project_id", "deleted_at"])
    op.create_index(
        "cases_lifecycle_state_idx",
        "cases",
        ["project_id", "lifecycle_state_id", "number"],
        postgresql_where=_NOT_DELETED,
    )
    op.create_index("cases_title_id_idx", "cases", ["project_id", "title", "id"], postgresql_where=_NOT_DELETED)
    op.create_index("cases_updated_id_idx", "cases", ["project_id", "updated_at", "id"], postgresql_where=_NOT_DELETED)
    op.create_index("case_field_values_value_idx", "case_field_values", ["field_id", sa.text("jsonb_hash(value)")])
    op.create_index("results_latest_idx", "results", ["case_id", "id"], postgresql_include=["run_id", "status_id"])
    op.create_index("run_cases_status_idx", "run_cases", ["run_id", "status_id"])
    op.create_index(
        "links_project_idx",
        "links",
        ["project_id", "issue_id"],
        postgresql_include=["case_id", "result_id", "relation_id"],
    )
    # Last, since it keeps readers out until the commit.
    for table, names in _REPLACED.items():
        for name in names:
            op.drop_index(name, table_name=table)
