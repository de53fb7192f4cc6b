"""Who may do what: roles, users, groups, projects and their access rules."""

from __future__ import annotations

from sqlalchemy import ARRAY, CheckConstraint, Column, Index, Integer, Table, Text, func, text

from migrations.columns import ALL, flag, id_column, may, not_blank, one_of, reference, string, timestamp, version
from migrations.workspace.tables.base import metadata

PERMISSIONS = (
    "VIEW_TEST_CASES",
    "CREATE_TEST_CASES",
    "EDIT_TEST_CASES",
    "DELETE_TEST_CASES",
    "BULK_EDIT_TEST_CASES",
    "VIEW_TEST_RUNS",
    "CREATE_TEST_RUNS",
    "DELETE_TEST_RUNS",
    "EXECUTE_TESTS",
    "REVIEW_RESULTS",
    "VIEW_FOLDERS",
    "MANAGE_FOLDERS",
    "VIEW_EXTERNAL_REFERENCES",
    "MANAGE_EXTERNAL_REFERENCES",
    "VIEW_CYCLES",
    "MANAGE_CYCLES",
    "ADD_COMMENTS",
    "MANAGE_COMMENTS",
    "VIEW_DASHBOARD",
    "VIEW_ADVANCED_REPORTS",
)
ACCESS_LEVELS = ("REGULAR_USER", "PROJECT_ADMIN", "TENANT_ADMIN")
ACCESS_MODES = ("INHERIT", "NO_ACCESS", "FORCE_GLOBAL_ROLE", "FORCE_ROLE")

_LISTED = ", ".join(f"'{permission}'" for permission in PERMISSIONS)

roles = Table(
    "roles",
    metadata,
    id_column(),
    string("name", 100),
    string("description", 500, default=""),
    Column("permissions", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    flag("is_default"),
    not_blank("name"),
    CheckConstraint(f"permissions <@ ARRAY[{_LISTED}]", name="permissions_known"),
    comment="A named set of project-level permissions; each user holds one, the global role.",
    info=may(insert=ALL, update=ALL, delete=True),
)
Index("roles_name_key", func.lower(roles.c.name), unique=True)
Index("roles_default_key", roles.c.is_default, unique=True, postgresql_where=roles.c.is_default)

users = Table(
    "users",
    metadata,
    id_column(),
    string("email", 254),
    string("name", 100),
    string("access_level", 20, default="REGULAR_USER"),
    reference("role_id", "roles.id", index=True),
    flag("active", default=True),
    timestamp("created_at"),
    version(),
    CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name="email"),
    not_blank("name"),
    one_of("access_level", ACCESS_LEVELS),
    comment="A person of this workspace. The access level governs the workspace's administration only.",
    info=may(
        insert=("email", "name", "access_level", "role_id"),
        update=("email", "name", "access_level", "role_id", "active", "version"),
    ),
)
Index("users_email_key", func.lower(users.c.email), unique=True)

groups = Table(
    "groups",
    metadata,
    id_column(),
    string("name", 100),
    string("description", 500, default=""),
    flag("enabled", default=True),
    not_blank("name"),
    comment="An access group: users that get a project rule together. It has no permissions of its own.",
    info=may(insert=ALL, update=ALL),
)
Index("groups_name_key", func.lower(groups.c.name), unique=True)

group_members = Table(
    "group_members",
    metadata,
    reference("group_id", "groups.id", key=True, ondelete="CASCADE"),
    reference("user_id", "users.id", key=True, index=True, ondelete="CASCADE"),
    comment="Which users are in which access group.",
    info=may(insert=ALL, delete=True),
)

projects = Table(
    "projects",
    metadata,
    id_column(),
    string("name", 100),
    string("summary", 2000, default=""),
    string("icon", 50, nullable=True),
    string("default_access", 20, default="GLOBAL_ROLE"),
    reference("default_role_id", "roles.id", nullable=True),
    timestamp("completed_at", nullable=True),
    Column("last_case_number", Integer, nullable=False, server_default=text("0")),
    timestamp("created_at"),
    version(),
    not_blank("name"),
    one_of("default_access", ("NO_ACCESS", "GLOBAL_ROLE", "ROLE")),
    CheckConstraint("(default_access = 'ROLE') = (default_role_id IS NOT NULL)", name="default_role"),
    CheckConstraint("last_case_number >= 0", name="last_case_number"),
    comment="A body of tests. default_access holds for users whom no member or group rule names; "
    "last_case_number is raised in the transaction that creates a case, so numbers have no gaps.",
    info=may(
        insert=("name", "summary", "icon", "default_access", "default_role_id"),
        update=(
            *("name", "summary", "icon", "default_access", "default_role_id"),
            *("completed_at", "last_case_number", "version"),
        ),
    ),
)
Index("projects_name_key", func.lower(projects.c.name), unique=True)

_FORCED = "(mode = 'FORCE_ROLE') = (forced_role_id IS NOT NULL)"

project_members = Table(
    "project_members",
    metadata,
    reference("project_id", "projects.id", key=True, ondelete="CASCADE"),
    reference("user_id", "users.id", key=True, index=True, ondelete="CASCADE"),
    string("mode", 20, default="INHERIT"),
    reference("forced_role_id", "roles.id", nullable=True),
    reference("override_role_id", "roles.id", nullable=True),
    one_of("mode", ACCESS_MODES),
    CheckConstraint(_FORCED, name="forced_role"),
    comment="A user's own rule on a project; it beats the rules of groups. INHERIT means override_role_id "
    "if set, else the user's global role.",
    info=may(insert=ALL, update=ALL, delete=True),
)

project_groups = Table(
    "project_groups",
    metadata,
    reference("project_id", "projects.id", key=True, ondelete="CASCADE"),
    reference("group_id", "groups.id", key=True, index=True, ondelete="CASCADE"),
    string("mode", 20, default="INHERIT"),
    reference("forced_role_id", "roles.id", nullable=True),
    one_of("mode", ACCESS_MODES),
    CheckConstraint(_FORCED, name="forced_role"),
    comment="An access group's rule on a project: NO_ACCESS of one enabled group beats all, else the union holds.",
    info=may(insert=ALL, update=ALL, delete=True),
)
