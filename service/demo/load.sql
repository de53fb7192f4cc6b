-- name: seeds
-- What every new workspace has and the demo's files name, by kind and name.
SELECT 'role' AS kind, name, id FROM roles
UNION ALL
SELECT 'status', name, id FROM statuses
UNION ALL
SELECT context || ' state', name, id FROM lifecycle_states
UNION ALL
SELECT 'template', name, id FROM templates
UNION ALL
SELECT 'cycle type', name, id FROM cycle_types
UNION ALL
SELECT 'relation', name, id FROM relations;

-- name: insert_users
-- The users $1, a JSON array.
INSERT INTO users (id, email, name, access_level, role_id, created_at)
SELECT u.id, u.email, u.name, u.access_level, u.role_id, u.created_at
FROM jsonb_to_recordset($1::jsonb) AS u (
    id bigint, email text, name text, access_level text, role_id bigint, created_at timestamptz);

-- name: insert_groups
-- The access groups $1, a JSON array, with their members.
WITH made AS (
    SELECT g.id, g.name, g.description, g.member_ids
    FROM jsonb_to_recordset($1::jsonb) AS g (id bigint, name text, description text, member_ids jsonb)
), inserted AS (
    INSERT INTO groups (id, name, description)
    SELECT m.id, m.name, m.description FROM made m
)
INSERT INTO group_members (group_id, user_id)
SELECT m.id, user_id::bigint FROM made m CROSS JOIN jsonb_array_elements_text(m.member_ids) AS user_id;

-- name: insert_platforms
-- The platform groups $1, a JSON array, with their platforms.
WITH made AS (
    SELECT g.id, g.name, g.position, g.platforms
    FROM jsonb_to_recordset($1::jsonb) AS g (id bigint, name text, position smallint, platforms jsonb)
), inserted AS (
    INSERT INTO platform_groups (id, name, position)
    SELECT m.id, m.name, m.position FROM made m
)
INSERT INTO platforms (id, group_id, name)
SELECT p.id, m.id, p.name FROM made m CROSS JOIN jsonb_to_recordset(m.platforms) AS p (id bigint, name text);

-- name: insert_environments
-- The environments $1, a JSON array, with their platforms.
WITH made AS (
    SELECT e.id, e.name, e.platform_ids
    FROM jsonb_to_recordset($1::jsonb) AS e (id bigint, name text, platform_ids jsonb)
), inserted AS (
    INSERT INTO environments (id, name)
    SELECT m.id, m.name FROM made m
)
INSERT INTO environment_platforms (environment_id, group_id, platform_id)
SELECT m.id, p.group_id, p.id
FROM made m
CROSS JOIN jsonb_array_elements_text(m.platform_ids) AS platform_id
JOIN platforms p ON p.id = platform_id::bigint;

-- name: insert_tags
-- The tags $1, a JSON array.
INSERT INTO tags (id, context, name, color)
SELECT t.id, t.context, t.name, t.color
FROM jsonb_to_recordset($1::jsonb) AS t (id bigint, context text, name text, color text);

-- name: insert_sources
-- The issue trackers $1, a JSON array.
INSERT INTO sources (id, name, system, base_url, issue_url_template, create_url_template, key_pattern, example)
SELECT s.id, s.name, s.system, s.base_url, s.issue_url_template, s.create_url_template, s.key_pattern, s.example
FROM jsonb_to_recordset($1::jsonb) AS s (
    id bigint, name text, system text, base_url text, issue_url_template text, create_url_template text,
    key_pattern text, example text);

-- name: insert_project
-- A project, whose cases will be numbered up to $6.
INSERT INTO projects (id, name, summary, icon, default_access, last_case_number, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: insert_project_members
-- Users' own rules $2 on project $1, a JSON array.
INSERT INTO project_members (project_id, user_id, mode, forced_role_id, override_role_id)
SELECT $1, r.user_id, r.mode, r.forced_role_id, r.override_role_id
FROM jsonb_to_recordset($2::jsonb) AS r (user_id bigint, mode text, forced_role_id bigint, override_role_id bigint);

-- name: insert_project_groups
-- Access groups' rules $2 on project $1, a JSON array.
INSERT INTO project_groups (project_id, group_id, mode, forced_role_id)
SELECT $1, r.group_id, r.mode, r.forced_role_id
FROM jsonb_to_recordset($2::jsonb) AS r (group_id bigint, mode text, forced_role_id bigint);

-- name: insert_folders
-- The folders $2 of project $1, a JSON array.
INSERT INTO folders (
    id, project_id, parent_id, depth, name, description, position, created_by, created_at, updated_at
)
SELECT f.id, $1, f.parent_id, f.depth, f.name, f.description, f.position, f.created_by, f.created_at, f.created_at
FROM jsonb_to_recordset($2::jsonb) AS f (
    id bigint, parent_id bigint, depth smallint, name text, description text, position integer, created_by bigint,
    created_at timestamptz);

-- name: record_creations
-- The creation of each case and run of project $1, in the order in which they were made, as its audit log.
INSERT INTO audit_log (created_at, user_id, tool, action, object_type, object_id, project_id, version_after)
SELECT made.created_at, made.created_by, 'demo', 'create', made.object_type, made.id, $1, 1
FROM (
    SELECT c.created_at, c.created_by, 'case' AS object_type, c.id FROM cases c WHERE c.project_id = $1
    UNION ALL
    SELECT r.created_at, r.created_by, 'run', r.id FROM runs r WHERE r.project_id = $1
) made
ORDER BY made.created_at, made.id;
