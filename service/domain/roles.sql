-- name: roles
-- Role $1, or all if that is null, by name; with how many users have it as global role, and how many projects give it.
WITH given AS (
    SELECT p.default_role_id AS role_id, p.id AS project_id FROM projects p
    UNION ALL
    SELECT role_id, m.project_id
    FROM project_members m CROSS JOIN unnest(ARRAY[m.forced_role_id, m.override_role_id]) AS role_id
    UNION ALL
    SELECT pg.forced_role_id, pg.project_id FROM project_groups pg
)
SELECT json_build_object(
    'id', r.id,
    'name', r.name,
    'description', r.description,
    'default', r.is_default,
    'permissions', r.permissions,
    'users', coalesce(held.users, 0),
    'projects', coalesce(used.projects, 0)
) AS document
FROM roles r
LEFT JOIN (
    SELECT u.role_id, count(*) AS users FROM users u GROUP BY u.role_id
) held ON held.role_id = r.id
LEFT JOIN (
    SELECT g.role_id, count(DISTINCT g.project_id) AS projects FROM given g WHERE g.role_id IS NOT NULL GROUP BY g.role_id
) used ON used.role_id = r.id
WHERE $1::bigint IS NULL OR r.id = $1
ORDER BY lower(r.name);

-- name: lock_roles
-- Roles change one call at a time, since one of them is the default; who only refers to one does not wait.
SELECT r.id FROM roles r ORDER BY r.id FOR NO KEY UPDATE;

-- name: role_columns
-- What of role $1 can change.
SELECT r.name, r.description, r.permissions, r.is_default FROM roles r WHERE r.id = $1;

-- name: insert_role
-- A new role with name $1, description $2 and permissions $3.
INSERT INTO roles (name, description, permissions) VALUES ($1, $2, $3) RETURNING id;

-- name: update_role
-- Role $1 with name $2, description $3 and permissions $4 from now on.
UPDATE roles SET name = $2, description = $3, permissions = $4 WHERE id = $1;

-- name: clear_default
-- No role is the default; returns the one that was.
UPDATE roles SET is_default = false WHERE is_default RETURNING id;

-- name: set_default
-- Role $1 is the default.
UPDATE roles SET is_default = true WHERE id = $1;

-- name: delete_role
-- Role $1 is no more.
DELETE FROM roles WHERE id = $1;
