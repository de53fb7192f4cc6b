"""the whole domain."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
compatible_from = "0001"
serves_from = "0001"


# The one place that decides who may do what in which project. One row for each project, with the reason; the
# first that applies: the user is deactivated; the user's own rule; the rules of the user's enabled groups, where
# NO_ACCESS beats all and the rest is united; the project's default access.
PROJECT_ACCESS = """
CREATE FUNCTION project_access(for_user bigint)
RETURNS TABLE (project_id bigint, allowed boolean, role text, permissions text[], reason text)
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT p.id, granted.names IS NOT NULL, granted.names, coalesce(granted.permissions, '{}'), decision.reason
FROM users u
CROSS JOIN projects p
LEFT JOIN project_members m ON m.project_id = p.id AND m.user_id = u.id
LEFT JOIN LATERAL (
    SELECT bool_or(pg.mode = 'NO_ACCESS') AS denied,
        array_agg(CASE pg.mode WHEN 'FORCE_ROLE' THEN pg.forced_role_id ELSE u.role_id END) AS role_ids,
        string_agg(g.name, ', ' ORDER BY g.name) AS names
    FROM project_groups pg
    JOIN groups g ON g.id = pg.group_id AND g.enabled
    JOIN group_members gm ON gm.group_id = g.id AND gm.user_id = u.id
    WHERE pg.project_id = p.id
    HAVING count(*) > 0
) grouped ON m.user_id IS NULL
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN NOT u.active THEN NULL
            WHEN m.mode = 'NO_ACCESS' THEN NULL
            WHEN m.mode = 'FORCE_ROLE' THEN ARRAY[m.forced_role_id]
            WHEN m.mode = 'FORCE_GLOBAL_ROLE' THEN ARRAY[u.role_id]
            WHEN m.mode = 'INHERIT' THEN ARRAY[coalesce(m.override_role_id, u.role_id)]
            WHEN grouped.denied THEN NULL
            WHEN grouped.role_ids IS NOT NULL THEN grouped.role_ids
            WHEN p.default_access = 'GLOBAL_ROLE' THEN ARRAY[u.role_id]
            WHEN p.default_access = 'ROLE' THEN ARRAY[p.default_role_id]
        END AS role_ids,
        CASE
            WHEN NOT u.active THEN 'the user is deactivated'
            WHEN m.mode = 'INHERIT' AND m.override_role_id IS NOT NULL THEN 'member rule INHERIT with a role override'
            WHEN m.mode IS NOT NULL THEN 'member rule ' || m.mode
            WHEN grouped.names IS NOT NULL
            THEN CASE WHEN grouped.denied THEN 'NO_ACCESS among the rules of groups ' ELSE 'rules of groups ' END
                || grouped.names
            ELSE 'default access ' || p.default_access
        END AS reason
) decision
LEFT JOIN LATERAL (
    SELECT string_agg(r.name, ', ' ORDER BY r.name) AS names,
        (SELECT array_agg(DISTINCT permission ORDER BY permission)
         FROM roles held CROSS JOIN unnest(held.permissions) AS permission
         WHERE held.id = ANY (decision.role_ids)) AS permissions
    FROM roles r
    WHERE r.id = ANY (decision.role_ids)
) granted ON true
WHERE u.id = for_user;
END
"""


# The gate before any query of a call. The message is the reason, which the log may have and the caller may not.
REQUIRE_ACCESS = """
CREATE FUNCTION require_access(for_user bigint, in_project bigint, needed text[]) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    found record;
BEGIN
    SELECT a.allowed, a.permissions, a.reason INTO found
    FROM project_access(for_user) a
    WHERE a.project_id = in_project;
    IF found.allowed IS NOT TRUE OR NOT found.permissions @> needed THEN
        RAISE EXCEPTION USING ERRCODE = 'TO403', MESSAGE = coalesce(found.reason, 'no such project');
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute("CREATE SEQUENCE ids START WITH 1001")
    op.create_table(
        "cycle_types",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("icon", sa.String(length=50), server_default=sa.text("'cycle'"), nullable=False),
        sa.Column("color", sa.String(length=7), server_default=sa.text("'#6b7280'"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("cycle_types_name_not_blank_check")),
        sa.CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name=op.f("cycle_types_color_check")),
        sa.CheckConstraint("enabled OR NOT is_default", name=op.f("cycle_types_default_enabled_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("cycle_types_pkey")),
        comment="A kind of cycle, such as Sprint or Release.",
    )
    op.create_index(
        "cycle_types_default_key", "cycle_types", ["is_default"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_index("cycle_types_name_key", "cycle_types", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "environments",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("for_cases", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("for_runs", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("environments_name_not_blank_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("environments_pkey")),
        comment="A combination of platforms that cases are meant for and runs are executed on.",
    )
    op.create_index("environments_name_key", "environments", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "fields",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("system_name", sa.String(length=50), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("type", sa.String(length=12), nullable=False),
        sa.Column("applies_to", sa.String(length=6), server_default=sa.text("'CASE'"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("applies_to IN ('CASE', 'RESULT')", name=op.f("fields_applies_to_check")),
        sa.CheckConstraint("btrim(label) <> ''", name=op.f("fields_label_not_blank_check")),
        sa.CheckConstraint("system_name ~ '^[a-z][a-z0-9_]*$'", name=op.f("fields_system_name_check")),
        sa.CheckConstraint("type <> 'STEPS' OR applies_to = 'CASE'", name=op.f("fields_steps_on_cases_check")),
        sa.CheckConstraint(
            "type IN ('TEXT', 'STRING', 'INTEGER', 'FLOAT', 'DATE', 'CHECKBOX', 'LINK', 'DROPDOWN', 'MULTI_SELECT', 'STEPS')",
            name=op.f("fields_type_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("fields_pkey")),
        sa.UniqueConstraint("applies_to", "system_name", name=op.f("fields_applies_to_system_name_key")),
        sa.UniqueConstraint("id", "type", name=op.f("fields_id_type_key")),
        comment="A field that cases (or results) can have. Type and system name never change.",
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=500), server_default=sa.text("''"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("groups_name_not_blank_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("groups_pkey")),
        comment="An access group: users that get a project rule together. It has no permissions of its own.",
    )
    op.create_index("groups_name_key", "groups", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "idempotency_keys",
        sa.Column("api_key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("tool", sa.String(length=60), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "char_length(idempotency_key) BETWEEN 1 AND 64", name=op.f("idempotency_keys_idempotency_key_check")
        ),
        sa.PrimaryKeyConstraint("api_key_id", "idempotency_key", name=op.f("idempotency_keys_pkey")),
        comment="The answers of the last 24 hours to calls that carried an idempotencyKey, by API key.",
    )
    op.create_table(
        "lifecycle_states",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("context", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("icon", sa.String(length=50), nullable=True),
        sa.Column("color", sa.String(length=7), server_default=sa.text("'#6b7280'"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("include_in_runs", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("automation", sa.String(length=12), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "automation IN ('FIRST_RESULT', 'RUN_CLOSED')", name=op.f("lifecycle_states_automation_check")
        ),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("lifecycle_states_name_not_blank_check")),
        sa.CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name=op.f("lifecycle_states_color_check")),
        sa.CheckConstraint(
            "context = 'REPOSITORY' OR NOT include_in_runs", name=op.f("lifecycle_states_include_in_runs_check")
        ),
        sa.CheckConstraint(
            "context = 'RUNS' OR automation IS NULL", name=op.f("lifecycle_states_automation_of_runs_check")
        ),
        sa.CheckConstraint("context IN ('REPOSITORY', 'RUNS')", name=op.f("lifecycle_states_context_check")),
        sa.CheckConstraint("enabled OR NOT is_default", name=op.f("lifecycle_states_default_enabled_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("lifecycle_states_pkey")),
        sa.UniqueConstraint("automation", name=op.f("lifecycle_states_automation_key")),
        sa.UniqueConstraint("id", "context", name=op.f("lifecycle_states_id_context_key")),
        comment="Where a case (REPOSITORY) or a run (RUNS) stands. automation: a run moves here at its first result or at its closing.",
    )
    op.create_index(
        "lifecycle_states_default_key",
        "lifecycle_states",
        ["context"],
        unique=True,
        postgresql_where=sa.text("is_default"),
    )
    op.create_index(
        "lifecycle_states_name_key", "lifecycle_states", ["context", sa.literal_column("lower(name)")], unique=True
    )
    op.create_table(
        "platform_groups",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("platform_groups_name_not_blank_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("platform_groups_pkey")),
        comment="A family of platforms of which an environment has at most one, such as Browser.",
    )
    op.create_index("platform_groups_name_key", "platform_groups", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "relations",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("semantic", sa.String(length=10), nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("relations_name_not_blank_check")),
        sa.CheckConstraint("semantic IN ('GENERAL', 'DEFECT')", name=op.f("relations_semantic_check")),
        sa.CheckConstraint("enabled OR NOT is_default", name=op.f("relations_default_enabled_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("relations_pkey")),
        comment="What a link means. GENERAL ones are coverage, DEFECT ones are defects.",
    )
    op.create_index(
        "relations_default_key", "relations", ["semantic"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_index("relations_name_key", "relations", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "roles",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=500), server_default=sa.text("''"), nullable=False),
        sa.Column("permissions", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("roles_name_not_blank_check")),
        sa.CheckConstraint(
            "permissions <@ ARRAY['VIEW_TEST_CASES', 'CREATE_TEST_CASES', 'EDIT_TEST_CASES', 'DELETE_TEST_CASES', 'BULK_EDIT_TEST_CASES', 'VIEW_TEST_RUNS', 'CREATE_TEST_RUNS', 'DELETE_TEST_RUNS', 'EXECUTE_TESTS', 'REVIEW_RESULTS', 'VIEW_FOLDERS', 'MANAGE_FOLDERS', 'VIEW_EXTERNAL_REFERENCES', 'MANAGE_EXTERNAL_REFERENCES', 'VIEW_CYCLES', 'MANAGE_CYCLES', 'ADD_COMMENTS', 'MANAGE_COMMENTS', 'VIEW_DASHBOARD', 'VIEW_ADVANCED_REPORTS']",
            name=op.f("roles_permissions_known_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("roles_pkey")),
        comment="A named set of project-level permissions; each user holds one, the global role.",
    )
    op.create_index("roles_default_key", "roles", ["is_default"], unique=True, postgresql_where=sa.text("is_default"))
    op.create_index("roles_name_key", "roles", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "sources",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("system", sa.String(length=20), nullable=False),
        sa.Column("base_url", sa.String(length=500), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "issue_url_template", sa.String(length=500), server_default=sa.text("'{baseUrl}/{key}'"), nullable=False
        ),
        sa.Column("create_url_template", sa.String(length=500), server_default=sa.text("''"), nullable=False),
        sa.Column("key_pattern", sa.String(length=200), nullable=False),
        sa.Column("example", sa.String(length=100), server_default=sa.text("''"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(key_pattern) <> ''", name=op.f("sources_key_pattern_not_blank_check")),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("sources_name_not_blank_check")),
        sa.CheckConstraint(
            "system IN ('JIRA', 'LINEAR', 'GITHUB', 'GITLAB', 'AZURE_DEVOPS', 'CUSTOM')",
            name=op.f("sources_system_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sources_pkey")),
        comment="An issue tracker. A key is valid when key_pattern matches it whole.",
    )
    op.create_index("sources_name_key", "sources", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "statuses",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("system_name", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("aliases", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("color", sa.String(length=7), server_default=sa.text("'#6b7280'"), nullable=False),
        sa.Column("is_initial", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("success", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failure", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("completed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("for_runs", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("statuses_name_not_blank_check")),
        sa.CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name=op.f("statuses_color_check")),
        sa.CheckConstraint("system_name ~ '^[a-z0-9-]+$'", name=op.f("statuses_system_name_check")),
        sa.CheckConstraint(
            "NOT is_initial OR (enabled AND all_projects AND for_runs AND NOT (success OR failure OR completed))",
            name=op.f("statuses_initial_always_there_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("statuses_pkey")),
        sa.UniqueConstraint("system_name", name=op.f("statuses_system_name_key")),
        comment="What a result can say. The initial one (Untested) is what every case of a run starts with.",
    )
    op.create_index(
        "statuses_initial_key", "statuses", ["is_initial"], unique=True, postgresql_where=sa.text("is_initial")
    )
    op.create_index("statuses_name_key", "statuses", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "tags",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("context", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("icon", sa.String(length=50), nullable=True),
        sa.Column("color", sa.String(length=7), server_default=sa.text("'#6b7280'"), nullable=False),
        sa.CheckConstraint(
            "char_length(name) >= 2 AND name ~ '^[[:alnum:]]+([_-][[:alnum:]]+)*[_-]?$'", name=op.f("tags_name_check")
        ),
        sa.CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name=op.f("tags_color_check")),
        sa.CheckConstraint("context IN ('REPOSITORY', 'RUNS')", name=op.f("tags_context_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("tags_pkey")),
        sa.UniqueConstraint("id", "context", name=op.f("tags_id_context_key")),
        comment="A label for cases (REPOSITORY) or runs (RUNS): two independent sets, for the whole workspace.",
    )
    op.create_index("tags_name_key", "tags", ["context", sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "templates",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("all_projects", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("templates_name_not_blank_check")),
        sa.CheckConstraint("enabled OR NOT is_default", name=op.f("templates_default_enabled_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("templates_pkey")),
        comment="A set of fields that a case has. The default template is available in every project.",
    )
    op.create_index(
        "templates_default_key", "templates", ["is_default"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_index("templates_name_key", "templates", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "platforms",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("icon", sa.String(length=50), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("platforms_name_not_blank_check")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["platform_groups.id"], name=op.f("platforms_group_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("platforms_pkey")),
        sa.UniqueConstraint("group_id", "id", name=op.f("platforms_group_id_id_key")),
        comment="A platform, such as Firefox; its group never changes.",
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("summary", sa.String(length=2000), server_default=sa.text("''"), nullable=False),
        sa.Column("icon", sa.String(length=50), nullable=True),
        sa.Column("default_access", sa.String(length=20), server_default=sa.text("'GLOBAL_ROLE'"), nullable=False),
        sa.Column("default_role_id", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_case_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "(default_access = 'ROLE') = (default_role_id IS NOT NULL)", name=op.f("projects_default_role_check")
        ),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("projects_name_not_blank_check")),
        sa.CheckConstraint(
            "default_access IN ('NO_ACCESS', 'GLOBAL_ROLE', 'ROLE')", name=op.f("projects_default_access_check")
        ),
        sa.CheckConstraint("last_case_number >= 0", name=op.f("projects_last_case_number_check")),
        sa.ForeignKeyConstraint(["default_role_id"], ["roles.id"], name=op.f("projects_default_role_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("projects_pkey")),
        comment="A body of tests. default_access holds for users whom no member or group rule names; last_case_number is raised in the transaction that creates a case, so numbers have no gaps.",
    )
    op.create_index("projects_name_key", "projects", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "template_fields",
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), nullable=False),
        sa.Column("required", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("default_value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["field_id"], ["fields.id"], name=op.f("template_fields_field_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=op.f("template_fields_template_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("template_id", "field_id", name=op.f("template_fields_pkey")),
        comment="Which fields a template has, and what holds for them there.",
    )
    op.create_index(op.f("template_fields_field_id_idx"), "template_fields", ["field_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("access_level", sa.String(length=20), server_default=sa.text("'REGULAR_USER'"), nullable=False),
        sa.Column("role_id", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "access_level IN ('REGULAR_USER', 'PROJECT_ADMIN', 'TENANT_ADMIN')", name=op.f("users_access_level_check")
        ),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("users_name_not_blank_check")),
        sa.CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name=op.f("users_email_check")),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("users_role_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        comment="A person of this workspace. The access level governs the workspace's administration only.",
    )
    op.create_index("users_email_key", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_index(op.f("users_role_id_idx"), "users", ["role_id"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("api_key_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("tool", sa.String(length=60), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("object_type", sa.String(length=30), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("version_before", sa.Integer(), nullable=True),
        sa.Column("version_after", sa.Integer(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("audit_log_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
        comment="Every change: who, with which key, by which tool, to what. Written in the change's own transaction.",
    )
    op.create_index("audit_log_object_idx", "audit_log", ["object_id", "id"], unique=False)
    op.create_index("audit_log_project_idx", "audit_log", ["project_id", "id"], unique=False)
    op.create_table(
        "cycles",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("type_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("depth", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("parent_depth", sa.SmallInteger(), sa.Computed("depth - 1", persisted=True), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=2000), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.String(length=10), server_default=sa.text("'UPCOMING'"), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=True),
        sa.Column("end_date", sa.Date(), nullable=True),
        sa.Column("completed_date", sa.Date(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "(state = 'COMPLETED') = (completed_date IS NOT NULL)", name=op.f("cycles_completed_date_check")
        ),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("cycles_name_not_blank_check")),
        sa.CheckConstraint("state <> 'ACTIVE' OR start_date IS NOT NULL", name=op.f("cycles_active_started_check")),
        sa.CheckConstraint("state IN ('UPCOMING', 'ACTIVE', 'COMPLETED')", name=op.f("cycles_state_check")),
        sa.CheckConstraint("(parent_id IS NULL) = (depth = 1)", name=op.f("cycles_root_depth_check")),
        sa.CheckConstraint("depth BETWEEN 1 AND 3", name=op.f("cycles_depth_check")),
        sa.CheckConstraint("end_date >= start_date", name=op.f("cycles_dates_check")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("cycles_created_by_fkey")),
        sa.ForeignKeyConstraint(
            ["project_id", "parent_id", "parent_depth"],
            ["cycles.project_id", "cycles.id", "cycles.depth"],
            name="cycles_parent_fkey",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("cycles_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["type_id"], ["cycle_types.id"], name=op.f("cycles_type_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("cycles_pkey")),
        sa.UniqueConstraint("project_id", "id", "depth", name=op.f("cycles_project_id_id_depth_key")),
        sa.UniqueConstraint("project_id", "id", name=op.f("cycles_project_id_id_key")),
        comment="A sprint, release or the like that groups runs; at most three levels.",
    )
    op.create_index("cycles_parent_idx", "cycles", ["project_id", "parent_id"], unique=False)
    op.create_table(
        "environment_platforms",
        sa.Column("environment_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("environment_platforms_environment_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["group_id", "platform_id"],
            ["platforms.group_id", "platforms.id"],
            name=op.f("environment_platforms_group_id_platform_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("environment_id", "group_id", name=op.f("environment_platforms_pkey")),
        comment="The platforms of an environment; the key allows one of each group.",
    )
    op.create_table(
        "field_options",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("field_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=12), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=True),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.String(length=100), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("btrim(label) <> ''", name=op.f("field_options_label_not_blank_check")),
        sa.CheckConstraint("btrim(value) <> ''", name=op.f("field_options_value_not_blank_check")),
        sa.CheckConstraint("type IN ('DROPDOWN', 'MULTI_SELECT')", name=op.f("field_options_type_check")),
        sa.CheckConstraint("num_nonnulls(template_id, project_id) <= 1", name=op.f("field_options_scope_check")),
        sa.CheckConstraint("position BETWEEN 0 AND 49", name=op.f("field_options_at_most_50_check")),
        sa.ForeignKeyConstraint(
            ["field_id", "type"],
            ["fields.id", "fields.type"],
            name=op.f("field_options_field_id_type_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("field_options_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=op.f("field_options_template_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("field_options_pkey")),
        sa.UniqueConstraint(
            "field_id",
            "template_id",
            "project_id",
            "position",
            deferrable=True,
            name="field_options_position_key",
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint(
            "field_id",
            "template_id",
            "project_id",
            "value",
            name="field_options_value_key",
            postgresql_nulls_not_distinct=True,
        ),
        comment="The choices of a field: its own list, or the list that replaces it in a template or in a project.",
    )
    op.create_index(op.f("field_options_project_id_idx"), "field_options", ["project_id"], unique=False)
    op.create_index(op.f("field_options_template_id_idx"), "field_options", ["template_id"], unique=False)
    op.create_table(
        "field_overrides",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=True),
        sa.Column("default_value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["field_id"], ["fields.id"], name=op.f("field_overrides_field_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("field_overrides_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "field_id", name=op.f("field_overrides_pkey")),
        comment="What holds for a field in one project, over what its template says; null leaves the template's word.",
    )
    op.create_index(op.f("field_overrides_field_id_idx"), "field_overrides", ["field_id"], unique=False)
    op.create_table(
        "field_slots",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("field_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=12), server_default=sa.text("'STEPS'"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("slot", sa.String(length=20), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("btrim(label) <> ''", name=op.f("field_slots_label_not_blank_check")),
        sa.CheckConstraint(
            "slot IN ('step', 'expectedResult', 'actualResult', 'notes')", name=op.f("field_slots_slot_check")
        ),
        sa.CheckConstraint("type IN ('STEPS')", name=op.f("field_slots_type_check")),
        sa.ForeignKeyConstraint(
            ["field_id", "type"],
            ["fields.id", "fields.type"],
            name=op.f("field_slots_field_id_type_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("field_slots_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("field_slots_pkey")),
        sa.UniqueConstraint(
            "field_id", "project_id", "slot", name="field_slots_slot_key", postgresql_nulls_not_distinct=True
        ),
        comment="The labels of a STEPS field's four slots: its own, or one project's.",
    )
    op.create_index(op.f("field_slots_project_id_idx"), "field_slots", ["project_id"], unique=False)
    op.create_table(
        "folders",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("depth", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("parent_depth", sa.SmallInteger(), sa.Computed("depth - 1", persisted=True), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=2000), server_default=sa.text("''"), nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("folders_name_not_blank_check")),
        sa.CheckConstraint("(parent_id IS NULL) = (depth = 1)", name=op.f("folders_root_depth_check")),
        sa.CheckConstraint("depth BETWEEN 1 AND 20", name=op.f("folders_depth_check")),
        sa.CheckConstraint("position >= 0", name=op.f("folders_position_check")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("folders_created_by_fkey")),
        sa.ForeignKeyConstraint(
            ["project_id", "parent_id", "parent_depth"],
            ["folders.project_id", "folders.id", "folders.depth"],
            name="folders_parent_fkey",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("folders_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("folders_pkey")),
        sa.UniqueConstraint("project_id", "id", "depth", name=op.f("folders_project_id_id_depth_key")),
        sa.UniqueConstraint("project_id", "id", name=op.f("folders_project_id_id_key")),
        comment="The folder tree of a project. A folder is one deeper than its parent, which keeps the tree free of cycles even when two moves meet.",
    )
    op.create_index("folders_children_idx", "folders", ["project_id", "parent_id", "position"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("group_members_group_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("group_members_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("group_members_pkey")),
        comment="Which users are in which access group.",
    )
    op.create_index(op.f("group_members_user_id_idx"), "group_members", ["user_id"], unique=False)
    op.create_table(
        "issues",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("url", sa.String(length=1000), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=True),
        sa.Column("status", sa.String(length=100), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("btrim(key) <> ''", name=op.f("issues_key_not_blank_check")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("issues_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("issues_source_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("issues_pkey")),
        sa.UniqueConstraint("project_id", "id", name=op.f("issues_project_id_id_key")),
        sa.UniqueConstraint("project_id", "source_id", "key", name=op.f("issues_project_id_source_id_key_key")),
        comment="An issue that a project knows: linked, or synced from its tracker (then with title and status).",
    )
    op.create_index(op.f("issues_source_id_idx"), "issues", ["source_id"], unique=False)
    op.create_table(
        "project_availability",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), nullable=True),
        sa.Column("template_id", sa.BigInteger(), nullable=True),
        sa.Column("status_id", sa.BigInteger(), nullable=True),
        sa.Column("lifecycle_state_id", sa.BigInteger(), nullable=True),
        sa.Column("environment_id", sa.BigInteger(), nullable=True),
        sa.Column("cycle_type_id", sa.BigInteger(), nullable=True),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("relation_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(field_id, template_id, status_id, lifecycle_state_id, environment_id, cycle_type_id, source_id, relation_id) = 1",
            name=op.f("project_availability_one_object_check"),
        ),
        sa.ForeignKeyConstraint(
            ["cycle_type_id"],
            ["cycle_types.id"],
            name=op.f("project_availability_cycle_type_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("project_availability_environment_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["field_id"], ["fields.id"], name=op.f("project_availability_field_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["lifecycle_state_id"],
            ["lifecycle_states.id"],
            name=op.f("project_availability_lifecycle_state_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("project_availability_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["relation_id"], ["relations.id"], name=op.f("project_availability_relation_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("project_availability_source_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["status_id"], ["statuses.id"], name=op.f("project_availability_status_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=op.f("project_availability_template_id_fkey"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "project_id",
            "field_id",
            "template_id",
            "status_id",
            "lifecycle_state_id",
            "environment_id",
            "cycle_type_id",
            "source_id",
            "relation_id",
            name="project_availability_key",
            postgresql_nulls_not_distinct=True,
        ),
        comment="Which projects see an object that is not for all projects. One table for all kinds, with real foreign keys, because a table for each would cost every workspace eight.",
    )
    op.create_table(
        "project_groups",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=20), server_default=sa.text("'INHERIT'"), nullable=False),
        sa.Column("forced_role_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(mode = 'FORCE_ROLE') = (forced_role_id IS NOT NULL)", name=op.f("project_groups_forced_role_check")
        ),
        sa.CheckConstraint(
            "mode IN ('INHERIT', 'NO_ACCESS', 'FORCE_GLOBAL_ROLE', 'FORCE_ROLE')",
            name=op.f("project_groups_mode_check"),
        ),
        sa.ForeignKeyConstraint(["forced_role_id"], ["roles.id"], name=op.f("project_groups_forced_role_id_fkey")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("project_groups_group_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("project_groups_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "group_id", name=op.f("project_groups_pkey")),
        comment="An access group's rule on a project: NO_ACCESS of one enabled group beats all, else the union holds.",
    )
    op.create_index(op.f("project_groups_group_id_idx"), "project_groups", ["group_id"], unique=False)
    op.create_table(
        "project_members",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=20), server_default=sa.text("'INHERIT'"), nullable=False),
        sa.Column("forced_role_id", sa.BigInteger(), nullable=True),
        sa.Column("override_role_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(mode = 'FORCE_ROLE') = (forced_role_id IS NOT NULL)", name=op.f("project_members_forced_role_check")
        ),
        sa.CheckConstraint(
            "mode IN ('INHERIT', 'NO_ACCESS', 'FORCE_GLOBAL_ROLE', 'FORCE_ROLE')",
            name=op.f("project_members_mode_check"),
        ),
        sa.ForeignKeyConstraint(["forced_role_id"], ["roles.id"], name=op.f("project_members_forced_role_id_fkey")),
        sa.ForeignKeyConstraint(["override_role_id"], ["roles.id"], name=op.f("project_members_override_role_id_fkey")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("project_members_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("project_members_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("project_members_pkey")),
        comment="A user's own rule on a project; it beats the rules of groups. INHERIT means override_role_id if set, else the user's global role.",
    )
    op.create_index(op.f("project_members_user_id_idx"), "project_members", ["user_id"], unique=False)
    op.create_table(
        "cases",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("folder_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("lifecycle_state_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lifecycle_context", sa.String(length=10), server_default=sa.text("'REPOSITORY'"), nullable=False),
        sa.Column("estimate_seconds", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_by", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("btrim(title) <> ''", name=op.f("cases_title_not_blank_check")),
        sa.CheckConstraint("lifecycle_context IN ('REPOSITORY')", name=op.f("cases_lifecycle_context_check")),
        sa.CheckConstraint("estimate_seconds > 0", name=op.f("cases_estimate_seconds_check")),
        sa.CheckConstraint("number >= 1", name=op.f("cases_number_check")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("cases_created_by_fkey")),
        sa.ForeignKeyConstraint(
            ["lifecycle_state_id", "lifecycle_context"],
            ["lifecycle_states.id", "lifecycle_states.context"],
            name="cases_lifecycle_state_fkey",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "folder_id"], ["folders.project_id", "folders.id"], name="cases_folder_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("cases_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["template_id"], ["templates.id"], name=op.f("cases_template_id_fkey")),
        sa.ForeignKeyConstraint(["updated_by"], ["users.id"], name=op.f("cases_updated_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("cases_pkey")),
        sa.UniqueConstraint("project_id", "id", name=op.f("cases_project_id_id_key")),
        sa.UniqueConstraint("project_id", "number", name=op.f("cases_project_id_number_key")),
        comment="A test case. Its number (C-12) is unique in the project and never used again. Without a folder it is at the root of the tree.",
    )
    op.create_index("cases_folder_idx", "cases", ["project_id", "folder_id", "number"], unique=False)
    op.create_index(op.f("cases_template_id_idx"), "cases", ["template_id"], unique=False)
    op.create_index("cases_title_idx", "cases", ["project_id", "title", "id"], unique=False)
    op.create_index("cases_updated_idx", "cases", ["project_id", "updated_at", "id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("cycle_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("lifecycle_state_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lifecycle_context", sa.String(length=10), server_default=sa.text("'RUNS'"), nullable=False),
        sa.Column("environment_id", sa.BigInteger(), nullable=True),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("notes", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("btrim(title) <> ''", name=op.f("runs_title_not_blank_check")),
        sa.CheckConstraint("lifecycle_context IN ('RUNS')", name=op.f("runs_lifecycle_context_check")),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name=op.f("runs_closed_check")),
        sa.ForeignKeyConstraint(["closed_by"], ["users.id"], name=op.f("runs_closed_by_fkey")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("runs_created_by_fkey")),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name=op.f("runs_environment_id_fkey")),
        sa.ForeignKeyConstraint(
            ["lifecycle_state_id", "lifecycle_context"],
            ["lifecycle_states.id", "lifecycle_states.context"],
            name="runs_lifecycle_state_fkey",
        ),
        sa.ForeignKeyConstraint(["project_id", "cycle_id"], ["cycles.project_id", "cycles.id"], name="runs_cycle_fkey"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("runs_project_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("runs_pkey")),
        sa.UniqueConstraint("project_id", "id", name=op.f("runs_project_id_id_key")),
        comment="An execution of a set of cases in one environment. A closed run accepts no change.",
    )
    op.create_index(
        "runs_cycle_idx", "runs", ["cycle_id"], unique=False, postgresql_where=sa.text("cycle_id IS NOT NULL")
    )
    op.create_index("runs_project_idx", "runs", ["project_id", "id"], unique=False)
    op.create_table(
        "case_environments",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("environment_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("case_environments_case_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("case_environments_environment_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("case_id", "environment_id", name=op.f("case_environments_pkey")),
        comment="The environments that a case is meant for.",
    )
    op.create_index(op.f("case_environments_environment_id_idx"), "case_environments", ["environment_id"], unique=False)
    op.create_table(
        "case_field_values",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=12), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint(
            "CASE type WHEN 'INTEGER' THEN jsonb_typeof(value) = 'number' AND value::numeric % 1 = 0 WHEN 'FLOAT' THEN jsonb_typeof(value) = 'number' WHEN 'CHECKBOX' THEN jsonb_typeof(value) = 'boolean' WHEN 'MULTI_SELECT' THEN jsonb_typeof(value) = 'array' WHEN 'DATE' THEN jsonb_typeof(value) = 'string' AND value #>> '{}' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' WHEN 'STEPS' THEN false ELSE jsonb_typeof(value) = 'string' END",
            name=op.f("case_field_values_value_of_its_type_check"),
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("case_field_values_case_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["field_id", "type"], ["fields.id", "fields.type"], name=op.f("case_field_values_field_id_type_fkey")
        ),
        sa.PrimaryKeyConstraint("case_id", "field_id", name=op.f("case_field_values_pkey")),
        comment="The value of one field of a case, as JSON of the field's type; steps are in case_steps.",
    )
    op.create_index("case_field_values_field_id_idx", "case_field_values", ["field_id"], unique=False)
    op.create_table(
        "case_steps",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=12), server_default=sa.text("'STEPS'"), nullable=False),
        sa.Column("step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("expected_result", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("actual_result", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("notes", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("type IN ('STEPS')", name=op.f("case_steps_type_check")),
        sa.CheckConstraint("position >= 1", name=op.f("case_steps_position_check")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("case_steps_case_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["field_id", "type"], ["fields.id", "fields.type"], name=op.f("case_steps_field_id_type_fkey")
        ),
        sa.PrimaryKeyConstraint("case_id", "field_id", "position", name=op.f("case_steps_pkey")),
        comment="The steps of a case, in order from 1.",
    )
    op.create_table(
        "case_tags",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("context", sa.String(length=10), server_default=sa.text("'REPOSITORY'"), nullable=False),
        sa.CheckConstraint("context IN ('REPOSITORY')", name=op.f("case_tags_context_check")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("case_tags_case_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tag_id", "context"],
            ["tags.id", "tags.context"],
            name=op.f("case_tags_tag_id_context_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("case_id", "tag_id", name=op.f("case_tags_pkey")),
        comment="The tags of a case.",
    )
    op.create_index("case_tags_tag_id_idx", "case_tags", ["tag_id", "case_id"], unique=False)
    op.create_table(
        "case_versions",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("case_versions_case_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("case_versions_created_by_fkey")),
        sa.PrimaryKeyConstraint("case_id", "version", name=op.f("case_versions_pkey")),
        comment="Every version of a case, whole, with who made it: its history, and what a run executed.",
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("btrim(body) <> ''", name=op.f("comments_body_not_blank_check")),
        sa.CheckConstraint("char_length(body) <= 10000", name=op.f("comments_body_length_check")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("comments_author_id_fkey")),
        sa.ForeignKeyConstraint(["project_id", "case_id"], ["cases.project_id", "cases.id"], name="comments_case_fkey"),
        sa.PrimaryKeyConstraint("id", name=op.f("comments_pkey")),
        comment="A Markdown comment on a case; a deleted one stays with its time of deletion.",
    )
    op.create_index("comments_case_idx", "comments", ["case_id", "id"], unique=False)
    op.create_table(
        "run_tags",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("context", sa.String(length=10), server_default=sa.text("'RUNS'"), nullable=False),
        sa.CheckConstraint("context IN ('RUNS')", name=op.f("run_tags_context_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("run_tags_run_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tag_id", "context"],
            ["tags.id", "tags.context"],
            name=op.f("run_tags_tag_id_context_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "tag_id", name=op.f("run_tags_pkey")),
        comment="The tags of a run.",
    )
    op.create_index("run_tags_tag_id_idx", "run_tags", ["tag_id"], unique=False)
    op.create_table(
        "run_cases",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_version", sa.Integer(), nullable=False),
        sa.Column("status_id", sa.BigInteger(), nullable=False),
        sa.Column("assignee_id", sa.BigInteger(), nullable=True),
        sa.Column("latest_result_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["assignee_id"], ["users.id"], name=op.f("run_cases_assignee_id_fkey")),
        sa.ForeignKeyConstraint(
            ["case_id", "case_version"],
            ["case_versions.case_id", "case_versions.version"],
            name="run_cases_version_fkey",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "case_id"], ["cases.project_id", "cases.id"], name="run_cases_case_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "run_id"], ["runs.project_id", "runs.id"], name="run_cases_run_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["status_id"], ["statuses.id"], name=op.f("run_cases_status_id_fkey")),
        sa.PrimaryKeyConstraint("run_id", "case_id", name=op.f("run_cases_pkey")),
        comment="A case in a run: the version that is executed, who should, and the status of its latest result.",
    )
    op.create_index(
        "run_cases_assignee_idx",
        "run_cases",
        ["assignee_id"],
        unique=False,
        postgresql_where=sa.text("assignee_id IS NOT NULL"),
    )
    op.create_index("run_cases_case_idx", "run_cases", ["case_id", "run_id"], unique=False)
    op.create_table(
        "results",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("case_version", sa.Integer(), nullable=False),
        sa.Column("status_id", sa.BigInteger(), nullable=False),
        sa.Column("comment", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("elapsed_seconds", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("elapsed_seconds >= 0", name=op.f("results_elapsed_seconds_check")),
        sa.ForeignKeyConstraint(
            ["case_id", "case_version"], ["case_versions.case_id", "case_versions.version"], name="results_version_fkey"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("results_created_by_fkey")),
        sa.ForeignKeyConstraint(
            ["run_id", "case_id"], ["run_cases.run_id", "run_cases.case_id"], name="results_run_case_fkey"
        ),
        sa.ForeignKeyConstraint(["status_id"], ["statuses.id"], name=op.f("results_status_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("results_pkey")),
        sa.UniqueConstraint("id", "run_id", "case_id", name=op.f("results_id_run_id_case_id_key")),
        comment="What one execution of a case in a run gave. Only ever appended.",
    )
    op.create_index("results_case_idx", "results", ["case_id", "id"], unique=False)
    op.create_index("results_run_case_idx", "results", ["run_id", "case_id", "id"], unique=False)
    op.create_table(
        "links",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('ids')"), nullable=False),
        sa.Column("project_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issue_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("relation_id", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("result_id", sa.BigInteger(), nullable=True),
        sa.Column("cycle_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(case_id, run_id, result_id, cycle_id) = 1", name=op.f("links_one_object_check")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("links_created_by_fkey")),
        sa.ForeignKeyConstraint(["project_id", "case_id"], ["cases.project_id", "cases.id"], name="links_case_fkey"),
        sa.ForeignKeyConstraint(
            ["project_id", "cycle_id"], ["cycles.project_id", "cycles.id"], name="links_cycle_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "issue_id"], ["issues.project_id", "issues.id"], name="links_issue_fkey"
        ),
        sa.ForeignKeyConstraint(["project_id", "run_id"], ["runs.project_id", "runs.id"], name="links_run_fkey"),
        sa.ForeignKeyConstraint(["relation_id"], ["relations.id"], name=op.f("links_relation_id_fkey")),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("links_result_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("links_pkey")),
        sa.UniqueConstraint(
            "issue_id",
            "relation_id",
            "case_id",
            "run_id",
            "result_id",
            "cycle_id",
            name="links_same_key",
            postgresql_nulls_not_distinct=True,
        ),
        comment="An issue on a case, run, result or cycle, with what it means there.",
    )
    op.create_index(
        "links_case_idx", "links", ["case_id"], unique=False, postgresql_where=sa.text("case_id IS NOT NULL")
    )
    op.create_index(
        "links_result_idx", "links", ["result_id"], unique=False, postgresql_where=sa.text("result_id IS NOT NULL")
    )
    op.create_table(
        "result_field_values",
        sa.Column("result_id", sa.BigInteger(), nullable=False),
        sa.Column("field_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=12), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint(
            "CASE type WHEN 'INTEGER' THEN jsonb_typeof(value) = 'number' AND value::numeric % 1 = 0 WHEN 'FLOAT' THEN jsonb_typeof(value) = 'number' WHEN 'CHECKBOX' THEN jsonb_typeof(value) = 'boolean' WHEN 'MULTI_SELECT' THEN jsonb_typeof(value) = 'array' WHEN 'DATE' THEN jsonb_typeof(value) = 'string' AND value #>> '{}' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' WHEN 'STEPS' THEN false ELSE jsonb_typeof(value) = 'string' END",
            name=op.f("result_field_values_value_of_its_type_check"),
        ),
        sa.ForeignKeyConstraint(
            ["field_id", "type"], ["fields.id", "fields.type"], name=op.f("result_field_values_field_id_type_fkey")
        ),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("result_field_values_result_id_fkey")),
        sa.PrimaryKeyConstraint("result_id", "field_id", name=op.f("result_field_values_pkey")),
        comment="The value of one result field of a result.",
    )
    op.create_table(
        "result_steps",
        sa.Column("result_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=5), nullable=False),
        sa.Column("comment", sa.String(length=2000), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("outcome IN ('pass', 'fail', 'block', 'skip')", name=op.f("result_steps_outcome_check")),
        sa.CheckConstraint("position >= 1", name=op.f("result_steps_position_check")),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("result_steps_result_id_fkey")),
        sa.PrimaryKeyConstraint("result_id", "position", name=op.f("result_steps_pkey")),
        comment="The outcome of one step of the executed case version.",
    )
    op.create_foreign_key(
        "run_cases_latest_result_fkey",
        "run_cases",
        "results",
        ["latest_result_id", "run_id", "case_id"],
        ["id", "run_id", "case_id"],
    )
    op.execute(PROJECT_ACCESS)
    op.execute(REQUIRE_ACCESS)
    for function in ("project_access(bigint)", "require_access(bigint, bigint, text[])"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
