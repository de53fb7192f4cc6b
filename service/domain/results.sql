-- name: move_at_first_result
-- Run $2 of project $1, still without results, moves to the lifecycle state that the first result brings.
UPDATE runs SET lifecycle_state_id = l.id, version = version + 1, updated_at = now()
FROM lifecycle_states l
WHERE runs.project_id = $1 AND runs.id = $2 AND runs.closed_at IS NULL AND runs.lifecycle_state_id <> l.id
    AND l.automation = 'FIRST_RESULT' AND l.enabled
    AND (l.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.lifecycle_state_id = l.id))
    AND NOT EXISTS (SELECT FROM results e WHERE e.run_id = $2)
RETURNING runs.version;

-- name: recording
-- Run $2 of project $1, locked so that it cannot be closed meanwhile, with the statuses that results may have there, and
-- those of the users $3 who may enter the project.
SELECT r.closed_at,
    (
        SELECT json_agg(json_build_object(
            'id', s.id, 'name', s.name, 'systemName', s.system_name, 'initial', s.is_initial
        ) ORDER BY s.position, s.id)
        FROM statuses s
        WHERE s.enabled AND s.for_runs
            AND (s.all_projects
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.status_id = s.id))
    ) AS statuses,
    (
        SELECT coalesce(array_agg(u.id), '{}')
        FROM unnest($3::bigint[]) AS u (id)
        WHERE EXISTS (SELECT FROM project_access(u.id) a WHERE a.project_id = $1 AND a.allowed)
    ) AS users
FROM runs r
WHERE r.project_id = $1 AND r.id = $2
FOR SHARE OF r;

-- name: lock_run_cases
-- The cases of run $1 by ids $2 or numbers $3, locked against other results, with the number of steps of the version
-- that is executed. In the order of ids, so that two calls never wait for each other.
SELECT rc.case_id, c.number, rc.case_version, (
    SELECT coalesce(sum(jsonb_array_length(f.value)), 0)
    FROM jsonb_each(CASE jsonb_typeof(v.snapshot -> 'fields') WHEN 'object' THEN v.snapshot -> 'fields' END) AS f
    WHERE jsonb_typeof(f.value) = 'array' AND jsonb_typeof(f.value -> 0) = 'object'
) AS steps
FROM run_cases rc
JOIN cases c ON c.id = rc.case_id
JOIN case_versions v ON v.case_id = rc.case_id AND v.version = rc.case_version
WHERE rc.run_id = $1 AND rc.case_id = ANY ($2::bigint[] || ARRAY(
    SELECT n.id FROM runs r JOIN cases n ON n.project_id = r.project_id
    WHERE r.id = $1 AND n.number = ANY ($3::integer[])))
ORDER BY rc.case_id
FOR UPDATE OF rc;

-- name: take_ids
-- Ids for $1 results, in order. Only after the cases are locked: of one case, the later result has the higher id.
SELECT array_agg(taken.id ORDER BY taken.id) FROM (SELECT nextval('ids') AS id FROM generate_series(1, $1::integer)) taken;

-- name: insert_results
-- The results $2 (a JSON array) of run $1, with their steps; of each case (their ids are $4), $3 tells what the run
-- holds from now on.
WITH given AS (
    SELECT d.id, d.case_id, d.case_version, d.status_id, d.comment, d.elapsed_seconds, d.steps
    FROM jsonb_to_recordset($2::jsonb) AS d (
        id bigint, case_id bigint, case_version integer, status_id bigint, comment text, elapsed_seconds integer,
        steps jsonb)
), inserted AS (
    INSERT INTO results (id, run_id, case_id, case_version, status_id, comment, elapsed_seconds)
    SELECT g.id, $1, g.case_id, g.case_version, g.status_id, g.comment, g.elapsed_seconds FROM given g
), with_steps AS (
    INSERT INTO result_steps (result_id, position, outcome, comment)
    SELECT g.id, s.position, s.outcome, s.comment
    FROM given g
    CROSS JOIN jsonb_to_recordset(g.steps) AS s (position smallint, outcome text, comment text)
)
UPDATE run_cases SET
    status_id = l.status_id,
    latest_result_id = l.result_id,
    assignee_id = coalesce(l.assignee_id, run_cases.assignee_id)
FROM jsonb_to_recordset($3::jsonb) AS l (case_id bigint, status_id bigint, result_id bigint, assignee_id bigint)
WHERE run_cases.run_id = $1 AND run_cases.case_id = l.case_id
    -- Said twice, so that few of a large run are found by the index.
    AND run_cases.case_id = ANY ($4::bigint[]);

-- name: result_documents
-- The results $1 as recording returns them, in the order of ids.
SELECT json_strip_nulls(json_build_object(
    'id', e.id,
    'runId', e.run_id,
    'caseId', e.case_id,
    'number', 'C-' || c.number,
    'caseVersion', e.case_version,
    'status', s.name,
    'comment', nullif(e.comment, ''),
    'elapsedSeconds', e.elapsed_seconds,
    'stepResults', (
        SELECT json_agg(
            json_build_object('position', p.position, 'status', p.outcome, 'comment', nullif(p.comment, ''))
            ORDER BY p.position)
        FROM result_steps p WHERE p.result_id = e.id
    ),
    'assignee', CASE WHEN a.id IS NOT NULL THEN json_build_object('id', a.id, 'name', a.name) END,
    'issues', (
        SELECT json_agg(json_build_object('linkId', k.id, 'issueKey', i.key, 'relation', m.name) ORDER BY k.id)
        FROM links k JOIN issues i ON i.id = k.issue_id JOIN relations m ON m.id = k.relation_id
        WHERE k.result_id = e.id
    ),
    'createdBy', json_build_object('id', u.id, 'name', u.name),
    'createdAt', date_trunc('second', e.created_at)
)) AS document
FROM results e
JOIN run_cases rc ON rc.run_id = e.run_id AND rc.case_id = e.case_id
JOIN cases c ON c.id = e.case_id
JOIN statuses s ON s.id = e.status_id
JOIN users u ON u.id = e.created_by
LEFT JOIN users a ON a.id = rc.assignee_id
WHERE e.id = ANY ($1::bigint[])
ORDER BY e.id;

-- name: result_items
-- The results $1 in few words, in the order of ids.
SELECT json_strip_nulls(json_build_object(
    'id', e.id,
    'caseId', e.case_id,
    'number', 'C-' || c.number,
    'status', s.name,
    'issues', (
        SELECT json_agg(i.key ORDER BY k.id)
        FROM links k JOIN issues i ON i.id = k.issue_id
        WHERE k.result_id = e.id
    )
)) AS document
FROM results e
JOIN cases c ON c.id = e.case_id
JOIN statuses s ON s.id = e.status_id
WHERE e.id = ANY ($1::bigint[])
ORDER BY e.id;
