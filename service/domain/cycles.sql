-- name: cycles
-- The cycles of project $1, parents before children, with the progress of their runs and those of all below; and the
-- cases of these by status.
WITH RECURSIVE below AS (
    SELECT c.id AS ancestor_id, c.id FROM cycles c WHERE c.project_id = $1
    UNION ALL
    SELECT b.ancestor_id, c.id FROM below b JOIN cycles c ON c.project_id = $1 AND c.parent_id = b.id
), own AS (
    SELECT r.cycle_id, rc.status_id, count(*) AS cases
    FROM runs r
    JOIN run_cases rc ON rc.run_id = r.id
    WHERE r.project_id = $1 AND r.cycle_id IS NOT NULL
    GROUP BY r.cycle_id, rc.status_id
), rolled_up AS (
    SELECT b.ancestor_id, o.status_id, sum(o.cases) AS cases
    FROM below b
    JOIN own o ON o.cycle_id = b.id
    GROUP BY b.ancestor_id, o.status_id
), progress AS (
    SELECT u.ancestor_id, sum(u.cases) AS cases, coalesce(sum(u.cases) FILTER (WHERE s.completed), 0) AS completed,
        json_object_agg(s.name, u.cases ORDER BY s.position, s.id) AS counts
    FROM rolled_up u
    JOIN statuses s ON s.id = u.status_id
    GROUP BY u.ancestor_id
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
    'progress', coalesce(round(p.completed / p.cases, 4), 0)
)) AS document, coalesce(p.counts, '{}') AS counts
FROM cycles c
JOIN cycle_types t ON t.id = c.type_id
LEFT JOIN progress p ON p.ancestor_id = c.id
WHERE c.project_id = $1
ORDER BY c.depth, c.start_date NULLS LAST, c.id;

-- name: names
-- The names of the cycles of project $1, the latest to start first.
SELECT c.id, c.name FROM cycles c WHERE c.project_id = $1 ORDER BY c.start_date DESC NULLS FIRST, c.id DESC;

-- name: cycle_types
-- The kinds of cycle of project $1.
SELECT json_build_object('id', t.id, 'name', t.name, 'default', t.is_default) AS document
FROM cycle_types t
WHERE t.enabled
    AND (t.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.cycle_type_id = t.id))
ORDER BY t.is_default DESC, lower(t.name), t.id;

-- name: cycle
-- Cycle $2 of project $1 as the tools return it, with the runs in it and below.
WITH RECURSIVE below AS (
    SELECT c.id FROM cycles c WHERE c.project_id = $1 AND c.id = $2
    UNION ALL
    SELECT c.id FROM below b JOIN cycles c ON c.project_id = $1 AND c.parent_id = b.id
)
SELECT json_strip_nulls(json_build_object(
    'id', c.id,
    'name', c.name,
    'type', json_build_object('id', t.id, 'name', t.name),
    'parentId', c.parent_id,
    'state', c.state,
    'startDate', c.start_date,
    'endDate', c.end_date,
    'completedDate', c.completed_date,
    'description', nullif(c.description, ''),
    'pastDue', c.state <> 'COMPLETED' AND coalesce(c.end_date < current_date, false),
    'progress', coalesce(round(p.completed::numeric / nullif(p.cases, 0), 4), 0),
    'runCount', (SELECT count(*) FROM below b JOIN runs r ON r.cycle_id = b.id),
    'createdAt', date_trunc('second', c.created_at),
    'updatedAt', date_trunc('second', c.updated_at),
    'version', c.version
)) AS document
FROM cycles c
JOIN cycle_types t ON t.id = c.type_id
CROSS JOIN LATERAL (
    SELECT count(*) AS cases, count(*) FILTER (WHERE s.completed) AS completed
    FROM below b
    JOIN runs r ON r.cycle_id = b.id
    JOIN run_cases rc ON rc.run_id = r.id
    JOIN statuses s ON s.id = rc.status_id
) p
WHERE c.project_id = $1 AND c.id = $2;

-- name: lock_tree
-- The cycles of project $1 change one call at a time: their rules are about several of them, and locks of the rows that
-- there are keep no other call from adding one. New cases wait as well, since they raise the project's number.
SELECT p.id FROM projects p WHERE p.id = $1 FOR NO KEY UPDATE;

-- name: tree
-- All cycles of project $1.
SELECT c.id, c.parent_id, c.depth, c.type_id, c.name, c.description, c.state, c.start_date, c.end_date,
    c.completed_date, c.version
FROM cycles c
WHERE c.project_id = $1
ORDER BY c.id;

-- name: usable_types
-- The kinds of cycle that project $1 can use, the default one first.
SELECT t.id, t.name, t.is_default
FROM cycle_types t
WHERE t.enabled
    AND (t.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.cycle_type_id = t.id))
ORDER BY t.is_default DESC, lower(t.name), t.id;

-- name: insert_cycle
-- A new cycle of project $1.
INSERT INTO cycles (project_id, type_id, parent_id, depth, name, description, start_date, end_date)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id;

-- name: update_cycle
-- Cycle $2 of project $1 as it is from now on, in its next version.
UPDATE cycles SET
    type_id = $3, name = $4, description = $5, state = $6, start_date = $7, end_date = $8, completed_date = $9,
    version = version + 1, updated_at = now()
WHERE project_id = $1 AND id = $2;

-- name: move_cycle
-- Cycle $2 of project $1 goes under $3 (null: the root), those below it with it, by $4 levels.
WITH RECURSIVE subtree AS (
    SELECT c.id FROM cycles c WHERE c.project_id = $1 AND c.id = $2
    UNION ALL
    SELECT c.id FROM subtree s JOIN cycles c ON c.project_id = $1 AND c.parent_id = s.id
)
UPDATE cycles SET
    depth = depth + $4::smallint,
    parent_id = CASE WHEN cycles.id = $2 THEN $3::bigint ELSE cycles.parent_id END
FROM subtree
WHERE cycles.id = subtree.id;
