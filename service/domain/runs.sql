-- name: matching_runs
-- The runs of project $1 that pass the filters, each of which is off when null: in cycle $2 or below it, closed or
-- open ($3), in environment $4, with a case assigned to user $5.
SELECT r.id
FROM runs r
WHERE r.project_id = $1
    AND ($2::bigint IS NULL OR r.cycle_id IN (
        WITH RECURSIVE below AS (
            SELECT c.id FROM cycles c WHERE c.project_id = $1 AND c.id = $2
            UNION ALL
            SELECT c.id FROM below b JOIN cycles c ON c.project_id = $1 AND c.parent_id = b.id
        )
        SELECT b.id FROM below b
    ))
    AND ($3::boolean IS NULL OR (r.closed_at IS NOT NULL) = $3)
    AND ($4::bigint IS NULL OR r.environment_id = $4)
    AND ($5::bigint IS NULL OR EXISTS (
        SELECT FROM run_cases rc WHERE rc.run_id = r.id AND rc.assignee_id = $5
    ));

-- name: run_documents
-- Runs $2 of project $1 but for their cases, in the order given. progress: completed of all cases; passRate:
-- successful of completed ones.
SELECT json_strip_nulls(json_build_object(
    'id', r.id,
    'title', r.title,
    'cycle', CASE WHEN y.id IS NOT NULL THEN json_build_object('id', y.id, 'name', y.name) END,
    'environment', CASE WHEN e.id IS NOT NULL THEN json_build_object('id', e.id, 'name', e.name) END,
    'state', json_build_object('id', l.id, 'name', l.name),
    'closed', r.closed_at IS NOT NULL,
    'caseCount', coalesce(n.cases, 0),
    'counts', coalesce(n.counts, '{}'),
    'progress', coalesce(round(n.completed / n.cases, 4), 0),
    'passRate', round(n.success / n.completed, 4),
    'tags', coalesce((
        SELECT json_agg(json_build_object('id', g.id, 'name', g.name) ORDER BY lower(g.name))
        FROM run_tags rt JOIN tags g ON g.id = rt.tag_id WHERE rt.run_id = r.id
    ), '[]'),
    'notes', nullif(r.notes, ''),
    'createdBy', json_build_object('id', author.id, 'name', author.name),
    'createdAt', date_trunc('second', r.created_at),
    'updatedAt', date_trunc('second', r.updated_at),
    'closedBy', CASE WHEN closer.id IS NOT NULL THEN json_build_object('id', closer.id, 'name', closer.name) END,
    'closedAt', date_trunc('second', r.closed_at),
    'version', r.version
)) AS document
FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (id, place)
JOIN runs r ON r.project_id = $1 AND r.id = wanted.id
JOIN lifecycle_states l ON l.id = r.lifecycle_state_id
JOIN users author ON author.id = r.created_by
LEFT JOIN users closer ON closer.id = r.closed_by
LEFT JOIN cycles y ON y.id = r.cycle_id
LEFT JOIN environments e ON e.id = r.environment_id
LEFT JOIN LATERAL (
    SELECT sum(by_status.cases) AS cases,
        sum(by_status.cases) FILTER (WHERE s.completed) AS completed,
        coalesce(sum(by_status.cases) FILTER (WHERE s.completed AND s.success), 0) AS success,
        json_object_agg(s.name, by_status.cases ORDER BY s.position, s.id) AS counts
    FROM (
        SELECT rc.status_id, count(*) AS cases FROM run_cases rc WHERE rc.run_id = r.id GROUP BY rc.status_id
    ) by_status
    JOIN statuses s ON s.id = by_status.status_id
) n ON true
ORDER BY wanted.place;

-- name: matching_run_cases
-- The cases of run $1 that pass the filters, each of which is off when null: with one of the statuses $2, failed if
-- $3, assigned to user $4 (0: to nobody), case $5 or number $6.
SELECT rc.case_id
FROM run_cases rc
WHERE rc.run_id = $1
    AND ($2::bigint[] IS NULL OR rc.status_id = ANY ($2))
    AND (NOT $3::boolean OR rc.status_id IN (SELECT s.id FROM statuses s WHERE s.failure))
    AND ($4::bigint IS NULL OR coalesce(rc.assignee_id, 0) = $4)
    AND ($5::bigint IS NULL OR rc.case_id = $5)
    AND ($6::integer IS NULL OR rc.case_id = (
        SELECT c.id FROM runs r JOIN cases c ON c.project_id = r.project_id WHERE r.id = $1 AND c.number = $6));

-- name: run_case_items
-- The cases $2 of run $1 as get_test_run shows them, in the order given: with the title of the version executed.
SELECT json_strip_nulls(json_build_object(
    'caseId', c.id,
    'number', 'C-' || c.number,
    'title', coalesce(v.snapshot ->> 'title', c.title),
    'caseVersion', rc.case_version,
    'status', s.name,
    'assignee', CASE WHEN u.id IS NOT NULL THEN json_build_object('id', u.id, 'name', u.name) END,
    'lastResultAt', date_trunc('second', e.created_at),
    'defects', (
        SELECT json_agg(DISTINCT i.key)
        FROM results x
        JOIN links k ON k.result_id = x.id
        JOIN relations m ON m.id = k.relation_id AND m.semantic = 'DEFECT'
        JOIN issues i ON i.id = k.issue_id
        WHERE x.run_id = $1 AND x.case_id = c.id
    )
)) AS document
FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (case_id, place)
JOIN run_cases rc ON rc.run_id = $1 AND rc.case_id = wanted.case_id
JOIN cases c ON c.id = rc.case_id
JOIN case_versions v ON v.case_id = rc.case_id AND v.version = rc.case_version
JOIN statuses s ON s.id = rc.status_id
LEFT JOIN users u ON u.id = rc.assignee_id
LEFT JOIN results e ON e.id = rc.latest_result_id
ORDER BY wanted.place;

-- name: results_of_case
-- All results of case $2 in run $1, the latest first.
SELECT json_strip_nulls(json_build_object(
    'id', e.id,
    'status', s.name,
    'caseVersion', e.case_version,
    'comment', nullif(e.comment, ''),
    'elapsedSeconds', e.elapsed_seconds,
    'stepResults', (
        SELECT json_agg(
            json_build_object('position', p.position, 'status', p.outcome, 'comment', nullif(p.comment, ''))
            ORDER BY p.position)
        FROM result_steps p WHERE p.result_id = e.id
    ),
    'issues', (
        SELECT json_agg(json_build_object('linkId', k.id, 'issueKey', i.key, 'relation', m.name) ORDER BY k.id)
        FROM links k JOIN issues i ON i.id = k.issue_id JOIN relations m ON m.id = k.relation_id
        WHERE k.result_id = e.id
    ),
    'createdBy', json_build_object('id', u.id, 'name', u.name),
    'createdAt', date_trunc('second', e.created_at)
)) AS document
FROM results e
JOIN statuses s ON s.id = e.status_id
JOIN users u ON u.id = e.created_by
WHERE e.run_id = $1 AND e.case_id = $2
ORDER BY e.id DESC;

-- name: executions
-- The results of case $1 in all runs of project $2, the latest first, before id $3; at most $4.
SELECT e.id, json_strip_nulls(json_build_object(
    'id', e.id,
    'run', json_build_object('id', r.id, 'title', r.title),
    'environment', v.name,
    'status', s.name,
    'caseVersion', e.case_version,
    'comment', nullif(e.comment, ''),
    'elapsedSeconds', e.elapsed_seconds,
    'stepResults', (
        SELECT json_agg(
            json_build_object('position', p.position, 'status', p.outcome, 'comment', nullif(p.comment, ''))
            ORDER BY p.position)
        FROM result_steps p WHERE p.result_id = e.id
    ),
    'issues', (
        SELECT json_agg(json_build_object(
            'linkId', k.id, 'issueKey', i.key, 'url', nullif(i.url, ''), 'relation', m.name) ORDER BY k.id)
        FROM links k JOIN issues i ON i.id = k.issue_id JOIN relations m ON m.id = k.relation_id
        WHERE k.result_id = e.id
    ),
    'createdBy', json_build_object('id', u.id, 'name', u.name),
    'apiKeyId', e.api_key_id,
    'createdAt', date_trunc('second', e.created_at)
)) AS document
FROM results e
JOIN runs r ON r.id = e.run_id
JOIN statuses s ON s.id = e.status_id
JOIN users u ON u.id = e.created_by
LEFT JOIN environments v ON v.id = r.environment_id
WHERE e.case_id = $1 AND r.project_id = $2 AND ($3::bigint IS NULL OR e.id < $3)
ORDER BY e.id DESC
LIMIT $4;

-- name: count_executions
-- How many results case $1 has.
SELECT count(*) FROM results e WHERE e.case_id = $1;

-- name: statuses_by_ref
-- The statuses in use in project $1 or in its runs, with id and name.
SELECT s.id, s.name, s.system_name
FROM statuses s
WHERE s.all_projects
    OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.status_id = s.id)
    OR EXISTS (
        SELECT FROM runs r JOIN run_cases rc ON rc.run_id = r.id WHERE r.project_id = $1 AND rc.status_id = s.id)
ORDER BY s.position, s.id;

-- name: run_filters
-- Whether cycle $2, environment $3 and user $4 are the project's; one that is not given is.
SELECT
    ($2::bigint IS NULL OR EXISTS (SELECT FROM cycles c WHERE c.project_id = $1 AND c.id = $2))
    AND ($3::bigint IS NULL OR EXISTS (
        SELECT FROM environments e
        WHERE e.id = $3 AND (
            e.all_projects
            OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.environment_id = e.id)
            OR EXISTS (SELECT FROM runs r WHERE r.project_id = $1 AND r.environment_id = e.id))))
    AND ($4::bigint IS NULL OR $4 = 0
        OR EXISTS (SELECT FROM project_access($4) a WHERE a.project_id = $1 AND a.allowed)
        OR EXISTS (SELECT FROM run_cases rc WHERE rc.project_id = $1 AND rc.assignee_id = $4)) AS known;
