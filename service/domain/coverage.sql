-- name: scope
-- What folder $2 and cycle $3 of project $1 limit coverage to: the folders in it and below; the runs of the cycle and of
-- those below. Null where they are not given; no row where one is not the project's.
SELECT
    CASE WHEN $2::bigint IS NOT NULL THEN ARRAY(
        WITH RECURSIVE below AS (
            SELECT $2::bigint AS id
            UNION ALL
            SELECT f.id FROM below b JOIN folders f ON f.project_id = $1 AND f.parent_id = b.id
        )
        SELECT b.id FROM below b
    ) END AS folders,
    CASE WHEN $3::bigint IS NOT NULL THEN ARRAY(
        WITH RECURSIVE below AS (
            SELECT $3::bigint AS id
            UNION ALL
            SELECT c.id FROM below b JOIN cycles c ON c.project_id = $1 AND c.parent_id = b.id
        )
        SELECT r.id FROM below b JOIN runs r ON r.project_id = $1 AND r.cycle_id = b.id
    ) END AS runs
WHERE ($2::bigint IS NULL OR EXISTS (SELECT FROM folders f WHERE f.project_id = $1 AND f.id = $2))
    AND ($3::bigint IS NULL OR EXISTS (SELECT FROM cycles c WHERE c.project_id = $1 AND c.id = $3));

-- name: cases_in_scope
-- The cases of project $1, of folders $2 and runs $3 where those are not null.
SELECT c.id
FROM cases c
WHERE c.project_id = $1 AND c.deleted_at IS NULL
    AND ($2::bigint[] IS NULL OR c.folder_id = ANY ($2))
    AND ($3::bigint[] IS NULL OR EXISTS (
        SELECT FROM run_cases rc WHERE rc.case_id = c.id AND rc.run_id = ANY ($3)));

-- name: covering
-- The links by which the cases of project $1, of folders $2 and runs $3 where those are not null, cover issues (or the
-- issues $4), with what the latest counted result of the case says; null where there is none.
SELECT k.issue_id, k.case_id, s.success AND NOT s.failure AS passed, s.failure AS failed
FROM links k
JOIN relations m ON m.id = k.relation_id AND m.semantic = 'GENERAL'
JOIN cases c ON c.id = k.case_id AND c.deleted_at IS NULL
LEFT JOIN LATERAL (
    SELECT e.status_id FROM results e
    WHERE e.case_id = k.case_id AND ($3::bigint[] IS NULL OR e.run_id = ANY ($3))
    ORDER BY e.id DESC
    LIMIT 1
) latest ON true
LEFT JOIN statuses s ON s.id = latest.status_id
WHERE k.project_id = $1 AND ($4::bigint[] IS NULL OR k.issue_id = ANY ($4))
    AND ($2::bigint[] IS NULL OR c.folder_id = ANY ($2))
    AND ($3::bigint[] IS NULL OR EXISTS (
        SELECT FROM run_cases rc WHERE rc.case_id = c.id AND rc.run_id = ANY ($3)));

-- name: issues_in_scope
-- The issues of project $1; where folders $2 or runs $3 are not null, those that are linked to their cases and results,
-- some of them several times.
SELECT i.id FROM issues i WHERE i.project_id = $1 AND $2::bigint[] IS NULL AND $3::bigint[] IS NULL
UNION ALL
SELECT k.issue_id
FROM links k
LEFT JOIN results e ON e.id = k.result_id
JOIN cases c ON c.id = coalesce(k.case_id, e.case_id) AND c.deleted_at IS NULL
WHERE k.project_id = $1 AND ($2::bigint[] IS NOT NULL OR $3::bigint[] IS NOT NULL)
    AND ($2::bigint[] IS NULL OR c.folder_id = ANY ($2))
    AND ($3::bigint[] IS NULL
        OR (k.case_id IS NOT NULL OR e.run_id = ANY ($3))
        AND EXISTS (SELECT FROM run_cases rc WHERE rc.case_id = c.id AND rc.run_id = ANY ($3)));

-- name: case_gaps
-- The cases $1 as lists of gaps show them, in the order given.
SELECT json_strip_nulls(json_build_object(
    'caseId', c.id,
    'number', 'C-' || c.number,
    'title', c.title,
    'folder', CASE WHEN f.id IS NOT NULL THEN json_build_object('id', f.id, 'name', f.name) END
)) AS document
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
JOIN cases c ON c.id = wanted.id
LEFT JOIN folders f ON f.id = c.folder_id
ORDER BY wanted.place;

-- name: issues_by_key
-- The issues of project $1 with the sources $2 and keys $3, pair by pair.
SELECT i.id, i.source_id, i.key
FROM unnest($2::bigint[], $3::text[]) AS wanted (source_id, key)
JOIN issues i ON i.project_id = $1 AND i.source_id = wanted.source_id AND i.key = wanted.key;

-- name: cases_of_issue
-- The cases that are linked to issue $1, each with what its links mean and its latest result; the first $2, and the
-- number of all.
SELECT count(*) OVER () AS total, json_strip_nulls(json_build_object(
    'caseId', c.id,
    'number', 'C-' || c.number,
    'title', c.title,
    'relations', linked.relations,
    'latestResult', (
        SELECT json_build_object(
            'status', s.name, 'runId', r.id, 'run', r.title, 'at', date_trunc('second', e.created_at))
        FROM results e JOIN statuses s ON s.id = e.status_id JOIN runs r ON r.id = e.run_id
        WHERE e.case_id = c.id
        ORDER BY e.id DESC LIMIT 1
    )
)) AS document
FROM (
    SELECT k.case_id,
        json_agg(json_build_object('linkId', k.id, 'name', m.name, 'semantic', m.semantic) ORDER BY k.id) AS relations
    FROM links k JOIN relations m ON m.id = k.relation_id
    WHERE k.issue_id = $1 AND k.case_id IS NOT NULL
    GROUP BY k.case_id
) linked
JOIN cases c ON c.id = linked.case_id AND c.deleted_at IS NULL
ORDER BY c.number
LIMIT $2;

-- name: runs_of_issue
-- The runs with results of the cases that are linked to issue $1, the newest first; the first $2, and the number of all.
SELECT count(*) OVER () AS total, json_strip_nulls(json_build_object(
    'id', r.id,
    'title', r.title,
    'state', l.name,
    'closed', r.closed_at IS NOT NULL,
    'cycle', CASE WHEN y.id IS NOT NULL THEN json_build_object('id', y.id, 'name', y.name) END
)) AS document
FROM runs r
JOIN lifecycle_states l ON l.id = r.lifecycle_state_id
LEFT JOIN cycles y ON y.id = r.cycle_id
WHERE r.id IN (
    SELECT rc.run_id
    FROM links k
    JOIN cases c ON c.id = k.case_id AND c.deleted_at IS NULL
    JOIN run_cases rc ON rc.case_id = c.id AND rc.latest_result_id IS NOT NULL
    WHERE k.issue_id = $1
)
ORDER BY r.id DESC
LIMIT $2;

-- name: cycles_of_issue
-- The cycles that those runs are in, the latest to start first; the first $2, and the number of all.
SELECT count(*) OVER () AS total, json_build_object('id', y.id, 'name', y.name, 'state', y.state) AS document
FROM cycles y
WHERE y.id IN (
    SELECT r.cycle_id
    FROM links k
    JOIN cases c ON c.id = k.case_id AND c.deleted_at IS NULL
    JOIN run_cases rc ON rc.case_id = c.id AND rc.latest_result_id IS NOT NULL
    JOIN runs r ON r.id = rc.run_id
    WHERE k.issue_id = $1
)
ORDER BY y.start_date DESC NULLS LAST, y.id DESC
LIMIT $2;

-- name: defects_of_issue
-- The results that issue $1 is linked to as a defect, the newest first; the first $2, and the number of all.
SELECT count(*) OVER () AS total, json_build_object(
    'linkId', k.id,
    'caseId', c.id,
    'number', 'C-' || c.number,
    'resultId', e.id,
    'runId', r.id,
    'run', r.title,
    'relation', m.name,
    'status', s.name,
    'at', date_trunc('second', e.created_at)
) AS document
FROM links k
JOIN relations m ON m.id = k.relation_id AND m.semantic = 'DEFECT'
JOIN results e ON e.id = k.result_id
JOIN cases c ON c.id = e.case_id AND c.deleted_at IS NULL
JOIN runs r ON r.id = e.run_id
JOIN statuses s ON s.id = e.status_id
WHERE k.issue_id = $1
ORDER BY e.id DESC, k.id
LIMIT $2;
