-- name: figures
-- How many cases and open runs each of the projects $1 has.
SELECT p.id,
    (SELECT count(*) FROM cases c WHERE c.project_id = p.id AND c.deleted_at IS NULL) AS cases,
    (SELECT count(*) FROM runs r WHERE r.project_id = p.id AND r.closed_at IS NULL) AS open_runs
FROM projects p
WHERE p.id = ANY ($1::bigint[]);

-- name: results_by_day
-- The results of project $1 since day $2, in UTC, by day and status. Of runs closed before that day there are none.
SELECT e.day, s.name AS status, s.success, s.completed, sum(e.results)::integer AS results
FROM runs r
CROSS JOIN LATERAL (
    SELECT (x.created_at AT TIME ZONE 'UTC')::date AS day, x.status_id, count(*) AS results
    FROM results x
    WHERE x.run_id = r.id AND x.created_at >= $2::date::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2
) e
JOIN statuses s ON s.id = e.status_id
WHERE r.project_id = $1 AND (r.closed_at IS NULL OR r.closed_at >= $2::date::timestamp AT TIME ZONE 'UTC')
GROUP BY e.day, s.id
ORDER BY e.day, s.position, s.id;

-- name: activity
-- What was done last in project $1, of its latest $2 changes: those that one call made to objects of one type are
-- one, with what they concern where that is one object.
SELECT json_strip_nulls(json_build_object(
    'at', date_trunc('second', a.created_at),
    'user', CASE WHEN u.id IS NOT NULL THEN json_build_object('id', u.id, 'name', u.name) END,
    'apiKeyId', a.api_key_id,
    'tool', a.tool,
    'action', a.action,
    'objectType', a.object_type,
    'count', a.changes,
    'case', CASE WHEN c.id IS NOT NULL THEN json_build_object(
        'id', c.id, 'number', 'C-' || c.number, 'title', c.title) END,
    'run', CASE WHEN r.id IS NOT NULL THEN json_build_object('id', r.id, 'title', r.title) END,
    'cycle', CASE WHEN y.id IS NOT NULL THEN json_build_object('id', y.id, 'name', y.name) END,
    'folder', CASE WHEN f.id IS NOT NULL THEN json_build_object('id', f.id, 'name', f.name) END,
    'issueKey', a.issue_key
)) AS document
FROM (
    SELECT max(l.id) AS id, l.created_at, l.user_id, l.api_key_id, l.tool, l.action, l.object_type,
        count(*) AS changes,
        CASE WHEN count(DISTINCT l.object_id) = 1 THEN min(l.object_id) END AS object_id,
        CASE WHEN count(DISTINCT l.details ->> 'caseId') = 1 THEN min((l.details ->> 'caseId')::bigint) END AS case_id,
        CASE WHEN count(DISTINCT l.details ->> 'runId') = 1 THEN min((l.details ->> 'runId')::bigint) END AS run_id,
        CASE WHEN count(*) = 1 THEN min(l.details ->> 'issueKey') END AS issue_key
    FROM (
        SELECT g.id, g.created_at, g.user_id, g.api_key_id, g.tool, g.action, g.object_type, g.object_id, g.details
        FROM audit_log g
        WHERE g.project_id = $1
        ORDER BY g.id DESC
        LIMIT $2
    ) l
    GROUP BY l.created_at, l.user_id, l.api_key_id, l.tool, l.action, l.object_type
) a
LEFT JOIN users u ON u.id = a.user_id
LEFT JOIN cases c ON c.project_id = $1 AND c.deleted_at IS NULL
    AND c.id = CASE a.object_type WHEN 'case' THEN a.object_id ELSE a.case_id END
LEFT JOIN runs r ON r.project_id = $1 AND r.id = CASE a.object_type WHEN 'run' THEN a.object_id ELSE a.run_id END
LEFT JOIN cycles y ON a.object_type = 'cycle' AND y.project_id = $1 AND y.id = a.object_id
LEFT JOIN folders f ON a.object_type = 'folder' AND f.project_id = $1 AND f.id = a.object_id
ORDER BY a.id DESC
LIMIT $3;
