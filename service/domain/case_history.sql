-- name: version
-- Version $2 of case $1, with who made it.
SELECT v.snapshot, date_trunc('second', v.created_at) AS created_at,
    json_build_object('id', u.id, 'name', u.name) AS author
FROM case_versions v
JOIN users u ON u.id = v.created_by
WHERE v.case_id = $1 AND v.version = $2;

-- name: versions
-- The versions of case $1, the newest first, each with what it changed; $2 at most. What is referred to counts by its
-- id, since a new name of a tag or folder is no change of the case.
SELECT json_strip_nulls(json_build_object(
    'version', v.version,
    'author', json_build_object('id', u.id, 'name', u.name),
    'apiKeyId', v.api_key_id,
    'createdAt', date_trunc('second', v.created_at),
    'changed', CASE WHEN v.before IS NULL THEN '["created"]' ELSE (
        SELECT coalesce(json_agg(part.name ORDER BY part.name), '[]')
        FROM (
            SELECT compared.name
            FROM (VALUES
                ('title', '$.title'),
                ('folder', '$.folder.id'),
                ('template', '$.template.id'),
                ('lifecycleState', '$.lifecycleState.id'),
                ('estimateSeconds', '$.estimateSeconds'),
                ('tags', '$.tags[*].id'),
                ('environments', '$.environments[*].id')
            ) AS compared (name, path)
            WHERE jsonb_path_query_array(v.snapshot, compared.path::jsonpath)
                <> jsonb_path_query_array(v.before, compared.path::jsonpath)
            UNION ALL
            SELECT 'fields.' || field.name
            FROM jsonb_object_keys(coalesce(v.before -> 'fields', '{}') || coalesce(v.snapshot -> 'fields', '{}'))
                AS field (name)
            WHERE v.snapshot -> 'fields' -> field.name IS DISTINCT FROM v.before -> 'fields' -> field.name
        ) part
    ) END
)) AS document
FROM (
    SELECT h.version, h.snapshot, h.created_by, h.api_key_id, h.created_at,
        lag(h.snapshot) OVER (ORDER BY h.version) AS before
    FROM case_versions h
    WHERE h.case_id = $1
) v
JOIN users u ON u.id = v.created_by
ORDER BY v.version DESC
LIMIT $2;

-- name: results
-- The results of case $1 in all runs, the latest first and $2 at most, each with how many there are.
SELECT count(*) OVER () AS total, json_strip_nulls(json_build_object(
    'status', s.name,
    'runId', r.id,
    'run', r.title,
    'caseVersion', e.case_version,
    'defects', (
        SELECT json_agg(DISTINCT i.key) FROM links k JOIN issues i ON i.id = k.issue_id WHERE k.result_id = e.id
    ),
    'createdBy', json_build_object('id', u.id, 'name', u.name),
    'createdAt', date_trunc('second', e.created_at)
)) AS document
FROM results e
JOIN statuses s ON s.id = e.status_id
JOIN runs r ON r.id = e.run_id
JOIN users u ON u.id = e.created_by
WHERE e.case_id = $1
ORDER BY e.id DESC
LIMIT $2;
