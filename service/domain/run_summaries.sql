-- name: run_totals
-- Of run $1: the time spent on all its results, and how many failed cases there are, with and without a defect.
SELECT
    (SELECT coalesce(sum(e.elapsed_seconds), 0) FROM results e WHERE e.run_id = $1) AS elapsed_seconds,
    count(*) FILTER (WHERE f.has_defect) AS with_defect,
    count(*) FILTER (WHERE NOT f.has_defect) AS without_defect
FROM (
    SELECT EXISTS (
        SELECT FROM results x
        JOIN links k ON k.result_id = x.id
        JOIN relations m ON m.id = k.relation_id AND m.semantic = 'DEFECT'
        WHERE x.run_id = $1 AND x.case_id = rc.case_id
    ) AS has_defect
    FROM run_cases rc
    JOIN statuses s ON s.id = rc.status_id AND s.failure
    WHERE rc.run_id = $1
) f;

-- name: failed_cases
-- The failed cases of run $1 by number, with the keys of their defects, or if $2 only those without one; $3 at most.
-- Materialized, or the defects of all cases would be looked for before it is asked which have failed.
WITH failed AS MATERIALIZED (
    SELECT rc.case_id, rc.case_version, s.name AS status
    FROM run_cases rc
    JOIN statuses s ON s.id = rc.status_id AND s.failure
    WHERE rc.run_id = $1
)
SELECT json_strip_nulls(json_build_object(
    'caseId', f.case_id,
    'number', 'C-' || f.number,
    'title', f.title,
    'status', f.status,
    'defects', f.defects
)) AS document
FROM (
    SELECT rc.case_id, c.number, coalesce(v.snapshot ->> 'title', c.title) AS title, rc.status,
        (
            SELECT json_agg(DISTINCT i.key)
            FROM results x
            JOIN links k ON k.result_id = x.id
            JOIN relations m ON m.id = k.relation_id AND m.semantic = 'DEFECT'
            JOIN issues i ON i.id = k.issue_id
            WHERE x.run_id = $1 AND x.case_id = rc.case_id
        ) AS defects
    FROM failed rc
    JOIN cases c ON c.id = rc.case_id
    JOIN case_versions v ON v.case_id = rc.case_id AND v.version = rc.case_version
) f
WHERE (f.defects IS NULL) = $2::boolean
ORDER BY f.number
LIMIT $3;

-- name: counts_by_assignee
-- The cases of run $1 by who is to execute them and status; nobody last.
SELECT json_strip_nulls(json_build_object(
    'assignee', CASE WHEN u.id IS NOT NULL THEN json_build_object('id', u.id, 'name', u.name) END,
    'caseCount', sum(n.cases),
    'counts', json_object_agg(s.name, n.cases ORDER BY s.position, s.id)
)) AS document
FROM (
    SELECT rc.assignee_id, rc.status_id, count(*) AS cases
    FROM run_cases rc WHERE rc.run_id = $1 GROUP BY rc.assignee_id, rc.status_id
) n
JOIN statuses s ON s.id = n.status_id
LEFT JOIN users u ON u.id = n.assignee_id
GROUP BY u.id
ORDER BY lower(u.name) NULLS LAST, u.id;

-- name: counts_by_folder
-- The cases of run $1 by the folder that they are in now and status, in the order of the paths; the root first.
WITH RECURSIVE n AS (
    SELECT c.folder_id, rc.status_id, count(*) AS cases
    FROM run_cases rc JOIN cases c ON c.id = rc.case_id
    WHERE rc.run_id = $1
    GROUP BY c.folder_id, rc.status_id
), upward AS (
    SELECT f.id AS folder_id, f.parent_id, f.name::text AS path
    FROM folders f WHERE f.id IN (SELECT n.folder_id FROM n)
    UNION ALL
    SELECT u.folder_id, f.parent_id, f.name || ' / ' || u.path FROM upward u JOIN folders f ON f.id = u.parent_id
)
SELECT json_strip_nulls(json_build_object(
    'folder', CASE WHEN n.folder_id IS NOT NULL THEN json_build_object('id', n.folder_id, 'path', u.path) END,
    'caseCount', sum(n.cases),
    'counts', json_object_agg(s.name, n.cases ORDER BY s.position, s.id)
)) AS document
FROM n
JOIN statuses s ON s.id = n.status_id
LEFT JOIN upward u ON u.folder_id = n.folder_id AND u.parent_id IS NULL
GROUP BY n.folder_id, u.path
ORDER BY lower(u.path) NULLS FIRST, n.folder_id;
