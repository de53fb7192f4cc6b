-- name: entries
-- The log, the latest first: of user $1, key $2, tool $3, object $4, since $5, before $6, where null is any; after the
-- entry of time $7 and id $8, $9 of them.
SELECT a.created_at, a.id, json_strip_nulls(json_build_object(
    'id', a.id,
    'at', a.created_at,
    'user', CASE WHEN u.id IS NOT NULL THEN json_build_object('id', u.id, 'name', u.name, 'email', u.email) END,
    'apiKeyId', a.api_key_id,
    'tool', a.tool,
    'action', a.action,
    'objectType', a.object_type,
    'objectId', a.object_id,
    'object', CASE a.object_type
        WHEN 'case' THEN (SELECT 'C-' || c.number || ' ' || c.title FROM cases c WHERE c.id = a.object_id)
        WHEN 'run' THEN (SELECT r.title FROM runs r WHERE r.id = a.object_id)
        WHEN 'cycle' THEN (SELECT y.name FROM cycles y WHERE y.id = a.object_id)
        WHEN 'folder' THEN (SELECT f.name FROM folders f WHERE f.id = a.object_id)
        WHEN 'user' THEN (SELECT o.email FROM users o WHERE o.id = a.object_id)
        WHEN 'project_member' THEN (SELECT o.email FROM users o WHERE o.id = a.object_id)
        WHEN 'role' THEN (SELECT o.name FROM roles o WHERE o.id = a.object_id)
        WHEN 'group' THEN (SELECT g.name FROM groups g WHERE g.id = a.object_id)
        WHEN 'project_group' THEN (SELECT g.name FROM groups g WHERE g.id = a.object_id)
        WHEN 'project' THEN (SELECT o.name FROM projects o WHERE o.id = a.object_id)
    END,
    'project', CASE WHEN p.id IS NOT NULL THEN json_build_object('id', p.id, 'name', p.name) END,
    'versionBefore', a.version_before,
    'versionAfter', a.version_after
)) AS document, a.details
FROM (
    SELECT l.created_at, l.id, l.user_id, l.api_key_id, l.tool, l.action, l.object_type, l.object_id, l.project_id,
        l.version_before, l.version_after, l.details
    FROM audit_log l
    WHERE ($1::bigint IS NULL OR l.user_id = $1)
        AND ($2::bigint IS NULL OR l.api_key_id = $2)
        AND ($3::text IS NULL OR l.tool = $3)
        AND ($4::bigint IS NULL OR l.object_id = $4)
        AND ($5::timestamptz IS NULL OR l.created_at >= $5)
        AND ($6::timestamptz IS NULL OR l.created_at < $6)
        AND ($7::timestamptz IS NULL OR (l.created_at, l.id) < ($7, $8::bigint))
    ORDER BY l.created_at DESC, l.id DESC
    LIMIT $9::bigint
) a
LEFT JOIN users u ON u.id = a.user_id
LEFT JOIN projects p ON p.id = a.project_id
ORDER BY a.created_at DESC, a.id DESC;

-- name: tools
-- The tools and commands that the log tells of, each found by one look into the index after the one before.
WITH RECURSIVE found AS (
    (SELECT l.tool FROM audit_log l ORDER BY l.tool LIMIT 1)
    UNION ALL
    SELECT (SELECT l.tool FROM audit_log l WHERE l.tool > f.tool ORDER BY l.tool LIMIT 1)
    FROM found f WHERE f.tool IS NOT NULL
)
SELECT f.tool FROM found f WHERE f.tool IS NOT NULL ORDER BY f.tool;
