"""history that only grows."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Releases before name who acts, and take rows for themselves that nobody may give any more.
compatible_from = "0006"
serves_from = "0005"

# What a workspace's role had more than any statement of the product needs, and has instead, beside reading.
_TAKEN = {
    "DELETE": (
        *("cases", "comments", "cycle_types", "cycles", "environments", "fields", "groups", "lifecycle_states"),
        *("platform_groups", "platforms", "projects", "relations", "runs", "sources", "statuses", "tags", "templates"),
        "users",
    ),
    "UPDATE": (
        *("case_environments", "case_field_values", "case_steps", "case_tags", "cases", "comments", "cycles"),
        *("environment_platforms", "field_overrides", "folders", "group_members", "idempotency_keys", "issues"),
        *("links", "project_availability", "projects", "run_cases", "run_tags", "runs", "template_fields", "users"),
    ),
    "INSERT": (
        *("audit_log", "case_versions", "cases", "comments", "cycles", "folders", "idempotency_keys", "issues"),
        *("links", "projects", "result_field_values", "results", "run_cases", "runs", "users"),
    ),
}
_GIVEN = {
    "INSERT": {
        "audit_log": "action, object_type, object_id, project_id, version_before, version_after, details",
        "case_versions": "case_id, version, snapshot",
        "cases": "project_id, number, title, folder_id, template_id, lifecycle_state_id, estimate_seconds",
        "comments": "project_id, case_id, body",
        "cycles": "project_id, type_id, parent_id, depth, name, description, start_date, end_date",
        "folders": "project_id, parent_id, depth, name, description, position",
        "idempotency_keys": "api_key_id, idempotency_key, tool, request_hash",
        "issues": "project_id, source_id, key, url",
        "links": "project_id, issue_id, relation_id, case_id, result_id",
        "projects": "name, summary, icon, default_access, default_role_id",
        "results": "id, run_id, case_id, case_version, status_id, comment, elapsed_seconds",
        "run_cases": "run_id, case_id, project_id, case_version, status_id, assignee_id",
        "runs": "project_id, title, cycle_id, environment_id, lifecycle_state_id, notes",
        "users": "email, name, access_level, role_id",
    },
    "UPDATE": {
        "cases": (
            "title, folder_id, template_id, lifecycle_state_id, estimate_seconds, updated_by, updated_at, version"
        ),
        "comments": "body, edited_at, deleted_at, version",
        "cycles": (
            "type_id, parent_id, depth, name, description, start_date, end_date, state, completed_date, updated_at, "
            "version"
        ),
        "folders": "parent_id, depth, name, description, position, updated_at, version",
        "idempotency_keys": "answer",
        "issues": "url",
        "links": "relation_id",
        "projects": ("name, summary, icon, default_access, default_role_id, completed_at, last_case_number, version"),
        "run_cases": "status_id, assignee_id, latest_result_id",
        "runs": (
            "title, cycle_id, environment_id, lifecycle_state_id, notes, closed_at, closed_by, updated_at, version"
        ),
        "users": "email, name, access_level, role_id, active, version",
    },
}


def upgrade() -> None:
    op.drop_constraint("case_versions_case_id_fkey", "case_versions", type_="foreignkey")
    op.create_foreign_key("case_versions_case_id_fkey", "case_versions", "cases", ["case_id"], ["id"])
    changes = [f"REVOKE {verb} ON {', '.join(tables)} FROM %1$I" for verb, tables in _TAKEN.items()]
    changes += [
        f"GRANT {verb} ({columns}) ON {table} TO %1$I"
        for verb, tables in _GIVEN.items()
        for table, columns in tables.items()
    ]
    executed = "\n".join(f"        EXECUTE format('{change}', current_schema());" for change in changes)
    # The role has the schema's name, which is another one in each workspace. Where it has no rights yet, provisioning
    # gives them when the tables are at their last revision.
    op.execute(
        f"""
        DO $$
        BEGIN
            IF (SELECT relacl IS NULL FROM pg_catalog.pg_class WHERE oid = 'cases'::regclass) THEN
                RETURN;
            END IF;
{executed}
        END
        $$
        """
    )
