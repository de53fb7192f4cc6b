-- name: accessible_projects
-- The projects that user $1 may enter, completed ones only if $2, by name.
SELECT json_strip_nulls(json_build_object(
    'id', p.id,
    'name', p.name,
    'summary', nullif(p.summary, ''),
    'completed', p.completed_at IS NOT NULL,
    'role', a.role,
    'permissions', to_json(a.permissions)
)) AS document
FROM project_access($1) a
JOIN projects p ON p.id = a.project_id
WHERE a.allowed AND ($2 OR p.completed_at IS NULL)
ORDER BY lower(p.name), p.id;

-- name: accessible_project
-- Project $2 as user $1 may enter it; no row where they may not.
SELECT json_strip_nulls(json_build_object(
    'id', p.id,
    'name', p.name,
    'summary', nullif(p.summary, ''),
    'completed', p.completed_at IS NOT NULL,
    'role', a.role,
    'permissions', to_json(a.permissions)
)) AS document
FROM project_access($1) a
JOIN projects p ON p.id = a.project_id
WHERE a.allowed AND p.id = $2;

-- name: project_users
-- The users who may enter project $1, with their role there, by name.
SELECT json_build_object('id', u.id, 'name', u.name, 'email', u.email, 'role', a.role) AS document
FROM users u
CROSS JOIN LATERAL project_access(u.id) a
WHERE a.project_id = $1 AND a.allowed
ORDER BY lower(u.name), u.id;
