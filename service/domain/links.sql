-- name: trackers
-- The issue trackers of project $1 and the relations that links may have there; of both, those that are in use now
-- as enabled ones, and of the trackers also those that hold issues of the project.
SELECT
    (
        SELECT coalesce(json_agg(json_build_object(
            'id', s.id, 'name', s.name, 'system', s.system, 'base_url', s.base_url,
            'issue_url_template', s.issue_url_template, 'key_pattern', s.key_pattern, 'example', s.example,
            'enabled', s.available
        ) ORDER BY lower(s.name), s.id), '[]')
        FROM (
            SELECT t.id, t.name, t.system, t.base_url, t.issue_url_template, t.key_pattern, t.example,
                t.enabled AND (t.all_projects OR EXISTS (
                    SELECT FROM project_availability a WHERE a.project_id = $1 AND a.source_id = t.id)) AS available
            FROM sources t
        ) s
        WHERE s.available OR EXISTS (SELECT FROM issues i WHERE i.project_id = $1 AND i.source_id = s.id)
    ) AS sources,
    (
        SELECT coalesce(json_agg(json_build_object(
            'id', r.id, 'name', r.name, 'semantic', r.semantic
        ) ORDER BY r.is_default DESC, r.id), '[]')
        FROM relations r
        WHERE r.enabled
            AND (r.all_projects
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.relation_id = r.id))
    ) AS relations;

-- name: matching_keys
-- Those of the keys $1 that the pattern $2 matches; $3 is the same pattern made to match a key as a whole. By itself
-- it must be a pattern too, or brackets that it closes too early would open it to anything.
SELECT k.key
FROM unnest($1::text[]) AS k (key)
WHERE k.key ~ $3 AND ('' ~ $2) IS NOT NULL;

-- name: case_to_link
-- The case of project $1 by id $2 or number $3.
SELECT c.id
FROM cases c
WHERE c.project_id = $1 AND c.deleted_at IS NULL AND (c.id = ANY ($2::bigint[]) OR c.number = ANY ($3::integer[]));

-- name: result_to_link
-- Run $2 of project $1, locked so that it cannot be closed meanwhile, and the latest result of case $3 in it.
SELECT r.closed_at, rc.case_id, rc.latest_result_id
FROM runs r
LEFT JOIN run_cases rc ON rc.run_id = r.id AND rc.case_id = $3
WHERE r.project_id = $1 AND r.id = $2
FOR SHARE OF r;

-- name: insert_links
-- The links $3 in project $1 to the issues $2, both JSON arrays, with the issues that are new. A link that
-- is there already stays. Every issue is touched, so that it cannot be deleted meanwhile; in the order of their keys,
-- so that two calls never wait for each other. An address is kept where there was none.
WITH issue AS (
    INSERT INTO issues (project_id, source_id, key, url)
    SELECT $1, d.source_id, d.key, d.url
    FROM jsonb_to_recordset($2::jsonb) AS d (source_id bigint, key text, url text)
    ORDER BY d.source_id, d.key
    ON CONFLICT (project_id, source_id, key) DO UPDATE
        SET url = CASE WHEN issues.url = '' THEN excluded.url ELSE issues.url END
    RETURNING id, source_id, key
), wanted AS (
    SELECT i.id AS issue_id, i.key, i.source_id, d.relation_id, d.case_id, d.result_id
    FROM jsonb_to_recordset($3::jsonb) AS d (
        source_id bigint, key text, relation_id bigint, case_id bigint, result_id bigint)
    JOIN issue i ON i.source_id = d.source_id AND i.key = d.key
), inserted AS (
    INSERT INTO links (project_id, issue_id, relation_id, case_id, result_id)
    SELECT $1, w.issue_id, w.relation_id, w.case_id, w.result_id
    FROM wanted w
    ORDER BY w.result_id, w.case_id
    ON CONFLICT ON CONSTRAINT links_same_key DO NOTHING
    RETURNING id, issue_id, relation_id, case_id, result_id
)
SELECT w.issue_id, w.source_id, w.key, w.relation_id, w.case_id, w.result_id, n.id AS link_id
FROM wanted w
LEFT JOIN inserted n ON n.issue_id = w.issue_id AND n.relation_id = w.relation_id
    AND n.case_id IS NOT DISTINCT FROM w.case_id AND n.result_id IS NOT DISTINCT FROM w.result_id;

-- name: same_link
-- The link of issue $1 by relation $2 on case $3 or result $4.
SELECT k.id
FROM links k
WHERE k.issue_id = $1 AND k.relation_id = $2
    AND k.case_id IS NOT DISTINCT FROM $3::bigint AND k.result_id IS NOT DISTINCT FROM $4::bigint
    AND k.run_id IS NULL AND k.cycle_id IS NULL;

-- name: link_document
-- Link $2 of project $1 on a case or on a result, as the tools return it.
SELECT json_strip_nulls(json_build_object(
    'id', k.id,
    'caseId', c.id,
    'number', 'C-' || c.number,
    'issueKey', i.key,
    'source', json_build_object('id', s.id, 'name', s.name),
    'relation', json_build_object('id', m.id, 'name', m.name, 'semantic', m.semantic),
    'url', nullif(i.url, ''),
    'runId', e.run_id,
    'resultId', e.id,
    'createdAt', date_trunc('second', k.created_at)
)) AS document
FROM links k
JOIN issues i ON i.id = k.issue_id
JOIN sources s ON s.id = i.source_id
JOIN relations m ON m.id = k.relation_id
LEFT JOIN results e ON e.id = k.result_id
JOIN cases c ON c.id = coalesce(k.case_id, e.case_id)
WHERE k.project_id = $1 AND k.id = $2;

-- name: lock_link
-- Link $2 of project $1 on a case or on a result, with its issue locked against new links, and the run of the result.
SELECT k.issue_id, e.run_id
FROM links k
JOIN issues i ON i.id = k.issue_id
LEFT JOIN results e ON e.id = k.result_id
WHERE k.project_id = $1 AND k.id = $2 AND (k.case_id IS NOT NULL OR k.result_id IS NOT NULL)
FOR UPDATE OF k, i;

-- name: lock_run
-- Run $2 of project $1, locked so that it cannot be closed meanwhile.
SELECT r.closed_at FROM runs r WHERE r.project_id = $1 AND r.id = $2 FOR SHARE;

-- name: delete_link
-- Link $2 of project $1 goes, and with the last one its issue, unless the tracker told of it.
WITH deleted AS (
    DELETE FROM links WHERE project_id = $1 AND id = $2 RETURNING issue_id
)
DELETE FROM issues USING deleted
WHERE issues.id = deleted.issue_id AND issues.synced_at IS NULL
    AND NOT EXISTS (SELECT FROM links k WHERE k.issue_id = issues.id AND k.id <> $2);
