-- name: run_references
-- What a run of project $1 refers to: whether cycle $2, environment $3 and user $4 are the project's (0 and null are),
-- how many of the folders $5 are, the runs' tags among ids $6, those of names $7 (as pairs of the name given and the
-- id), and all lifecycle states of runs.
SELECT
    (coalesce($2::bigint, 0) = 0 OR EXISTS (SELECT FROM cycles c WHERE c.project_id = $1 AND c.id = $2)) AS cycle,
    (coalesce($3::bigint, 0) = 0 OR EXISTS (
        SELECT FROM environments e
        WHERE e.id = $3 AND e.enabled AND e.for_runs
            AND (e.all_projects
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.environment_id = e.id))
    )) AS environment,
    (coalesce($4::bigint, 0) = 0
        OR EXISTS (SELECT FROM project_access($4) a WHERE a.project_id = $1 AND a.allowed)) AS assignee,
    (SELECT count(*) FROM folders f WHERE f.project_id = $1 AND f.id = ANY ($5::bigint[])) AS folders,
    (
        SELECT coalesce(array_agg(g.id), '{}') FROM tags g WHERE g.context = 'RUNS' AND g.id = ANY ($6::bigint[])
    ) AS tags,
    (
        SELECT coalesce(json_agg(json_build_array(given.name, g.id)), '[]')
        FROM unnest($7::text[]) AS given (name)
        JOIN tags g ON g.context = 'RUNS' AND lower(g.name) = lower(given.name)
    ) AS named_tags,
    (
        SELECT coalesce(json_agg(json_build_object(
            'id', s.id, 'name', s.name, 'default', s.is_default, 'automation', s.automation
        ) ORDER BY s.position, s.id), '[]')
        FROM lifecycle_states s
        WHERE s.context = 'RUNS' AND s.enabled
            AND (s.all_projects OR s.is_default
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.lifecycle_state_id = s.id))
    ) AS lifecycle_states;

-- name: insert_run
-- A new run of project $1.
INSERT INTO runs (project_id, title, cycle_id, environment_id, lifecycle_state_id, notes)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id;

-- name: insert_selected_cases
-- Into run $2 of project $1, assigned to user $3, each once and untested, in the version that is current: the cases $4,
-- those in the folders $5 and below, those with any of the tags $6, all if $7; if $8, those whose lifecycle state is
-- included in runs.
WITH RECURSIVE below AS (
    SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.id = ANY ($5::bigint[])
    UNION
    SELECT f.id FROM below b JOIN folders f ON f.project_id = $1 AND f.parent_id = b.id
)
INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id, assignee_id)
SELECT $2, c.id, $1, c.version, s.id, $3
FROM cases c
JOIN statuses s ON s.is_initial
WHERE c.project_id = $1 AND c.deleted_at IS NULL
    AND (
        c.id = ANY ($4::bigint[])
        OR c.folder_id IN (SELECT b.id FROM below b)
        OR EXISTS (SELECT FROM case_tags ct WHERE ct.case_id = c.id AND ct.tag_id = ANY ($6::bigint[]))
        OR $7::boolean
        OR $8::boolean AND EXISTS (
            SELECT FROM lifecycle_states l
            WHERE l.id = c.lifecycle_state_id AND l.include_in_runs AND l.enabled)
    )
ON CONFLICT (run_id, case_id) DO NOTHING;

-- name: lock_run
-- Run $2 of project $1, locked against recording and other changes.
SELECT r.title, r.cycle_id, r.environment_id, r.lifecycle_state_id, r.notes, r.closed_at, r.version
FROM runs r
WHERE r.project_id = $1 AND r.id = $2
FOR NO KEY UPDATE;

-- name: cases_by_ref
-- The cases of project $1 by ids $2 or numbers $3, and whether each is in run $4 and has results there.
SELECT c.id, c.number, rc.case_id IS NOT NULL AS in_run, rc.latest_result_id IS NOT NULL AS has_results
FROM cases c
LEFT JOIN run_cases rc ON rc.run_id = $4 AND rc.case_id = c.id
WHERE c.project_id = $1 AND (c.deleted_at IS NULL OR rc.case_id IS NOT NULL)
    AND (c.id = ANY ($2::bigint[]) OR c.number = ANY ($3::integer[]));

-- name: delete_run_cases
-- The cases $2 leave run $1.
DELETE FROM run_cases WHERE run_id = $1 AND case_id = ANY ($2::bigint[]);

-- name: assign_run_cases
-- The cases $2 of run $1 (null: all) are for user $3 to execute, or for nobody. In the order of ids, as recording
-- locks them.
WITH locked AS (
    SELECT rc.case_id FROM run_cases rc
    WHERE rc.run_id = $1 AND ($2::bigint[] IS NULL OR rc.case_id = ANY ($2))
        AND rc.assignee_id IS DISTINCT FROM $3::bigint
    ORDER BY rc.case_id
    FOR UPDATE
)
UPDATE run_cases SET assignee_id = $3
FROM locked
WHERE run_cases.run_id = $1 AND run_cases.case_id = locked.case_id;

-- name: count_run_cases
-- How many cases run $1 has.
SELECT count(*) FROM run_cases rc WHERE rc.run_id = $1;

-- name: put_run_tags
-- Run $1 has the tags $2 and no others; how many rows that changed.
WITH gone AS (
    DELETE FROM run_tags WHERE run_id = $1 AND tag_id <> ALL ($2::bigint[]) RETURNING tag_id
), come AS (
    INSERT INTO run_tags (run_id, tag_id) SELECT $1, tag_id FROM unnest($2::bigint[]) AS tag_id
    ON CONFLICT DO NOTHING
    RETURNING tag_id
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM come);

-- name: update_run
-- Run $1 as it is from now on, in its next version.
UPDATE runs SET
    title = $2, cycle_id = $3, environment_id = $4, lifecycle_state_id = $5, notes = $6,
    version = version + 1, updated_at = now()
WHERE id = $1;

-- name: close_run
-- Run $1 is closed by user $2 and moves to lifecycle state $3 (null: stays).
UPDATE runs SET
    closed_at = now(), closed_by = $2, lifecycle_state_id = coalesce($3, lifecycle_state_id),
    version = version + 1, updated_at = now()
WHERE id = $1;
