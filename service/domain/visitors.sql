-- name: visitor
-- The active user $1, with the name of project $2 and their permissions in it, if they may enter it.
SELECT u.id, u.email, u.name, u.access_level, a.project, coalesce(a.permissions, '{}') AS permissions
FROM users u
LEFT JOIN LATERAL (
    SELECT p.name AS project, found.permissions
    FROM project_access(u.id) found JOIN projects p ON p.id = found.project_id
    WHERE found.allowed AND p.id = $2::bigint
) a ON true
WHERE u.id = $1 AND u.active;
