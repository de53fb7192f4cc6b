-- name: cycles
-- The cycles of project $1, parents before children, with the progress of their runs and those of all below.
WITH RECURSIVE below AS (
    SELECT c.id AS ancestor_id, c.id FROM cycles c WHERE c.project_id = $1
    UNION ALL
    SELECT b.ancestor_id, c.id FROM below b JOIN cycles c ON c.project_id = $1 AND c.parent_id = b.id
), progress AS (
    SELECT b.ancestor_id, count(*) AS cases, count(*) FILTER (WHERE s.completed) AS completed
    FROM below b
    JOIN runs r ON r.cycle_id = b.id
    JOIN run_cases rc ON rc.run_id = r.id
    JOIN statuses s ON s.id = rc.status_id
    GROUP BY b.ancestor_id
)
SELECT json_strip_nulls(json_build_object(
    'id', c.id,
    'name', c.name,
    'type', t.name,
    'parentId', c.parent_id,
    'state', c.state,
    'startDate', c.start_date,
    'endDate', c.end_date,
    'completedDate', c.completed_date,
    'pastDue', c.state <> 'COMPLETED' AND coalesce(c.end_date < current_date, false),
    'progress', coalesce(round(p.completed::numeric / p.cases, 4), 0)
)) AS document
FROM cycles c
JOIN cycle_types t ON t.id = c.type_id
LEFT JOIN progress p ON p.ancestor_id = c.id
WHERE c.project_id = $1
ORDER BY c.depth, c.start_date NULLS LAST, c.id;

-- name: cycle_types
-- The kinds of cycle of project $1.
SELECT json_build_object('id', t.id, 'name', t.name, 'default', t.is_default) AS document
FROM cycle_types t
WHERE t.enabled
    AND (t.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.cycle_type_id = t.id))
ORDER BY t.is_default DESC, lower(t.name), t.id;
