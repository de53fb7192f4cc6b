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

-- name: active_user
-- The active user of e-mail $1.
SELECT u.id FROM users u WHERE lower(u.email) = lower($1) AND u.active;

-- name: rename_self
-- Call the active user $1 $2, with an audit row if that is another name.
WITH renamed AS (
    UPDATE users u SET name = $2, version = u.version + 1
    WHERE u.id = $1 AND u.active AND u.name <> $2
    RETURNING u.id, u.version
)
INSERT INTO audit_log (action, object_type, object_id, version_before, version_after, details)
SELECT 'update', 'user', renamed.id, renamed.version - 1, renamed.version,
    jsonb_build_object('name', $2::text)
FROM renamed;
