-- name: insert_cycles
-- The cycles $2 of project $1, a JSON array, by user $3.
INSERT INTO cycles (
    id, project_id, type_id, parent_id, depth, name, description, state, start_date, end_date, completed_date,
    created_by, created_at, updated_at, version
)
SELECT c.id, $1, c.type_id, c.parent_id, c.depth, c.name, c.description, c.state, c.start_date, c.end_date,
    c.completed_date, $3, c.created_at, c.updated_at, c.version
FROM jsonb_to_recordset($2::jsonb) AS c (
    id bigint, type_id bigint, parent_id bigint, depth smallint, name text, description text, state text,
    start_date date, end_date date, completed_date date, created_at timestamptz, updated_at timestamptz,
    version integer);

-- name: insert_runs
-- The runs $2 of project $1, a JSON array, with their tags.
WITH made AS (
    SELECT r.id, r.cycle_id, r.lifecycle_state_id, r.environment_id, r.title, r.notes, r.tag_ids, r.created_by,
        r.created_at, r.updated_at, r.closed_at, r.closed_by, r.version
    FROM jsonb_to_recordset($2::jsonb) AS r (
        id bigint, cycle_id bigint, lifecycle_state_id bigint, environment_id bigint, title text, notes text,
        tag_ids jsonb, created_by bigint, created_at timestamptz, updated_at timestamptz, closed_at timestamptz,
        closed_by bigint, version integer)
), inserted AS (
    INSERT INTO runs (
        id, project_id, cycle_id, lifecycle_state_id, environment_id, title, notes, created_by, created_at,
        updated_at, closed_at, closed_by, version
    )
    SELECT m.id, $1, m.cycle_id, m.lifecycle_state_id, m.environment_id, m.title, m.notes, m.created_by,
        m.created_at, m.updated_at, m.closed_at, m.closed_by, m.version
    FROM made m
)
INSERT INTO run_tags (run_id, tag_id)
SELECT m.id, tag_id::bigint FROM made m CROSS JOIN jsonb_array_elements_text(m.tag_ids) AS tag_id;

-- name: insert_run_cases
-- The cases $1 of runs, a JSON array, each in the initial status and there since its run was made.
INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id, assignee_id, added_at)
SELECT r.id, m.case_id, r.project_id, m.case_version, s.id, m.assignee_id, r.created_at
FROM jsonb_to_recordset($1::jsonb) AS m (run_id bigint, case_id bigint, case_version integer, assignee_id bigint)
JOIN runs r ON r.id = m.run_id
JOIN statuses s ON s.is_initial;

-- name: insert_results
-- The results $1, a JSON array, with the outcomes of their steps.
WITH made AS (
    SELECT e.id, e.run_id, e.case_id, e.case_version, e.status_id, e.comment, e.elapsed_seconds, e.steps,
        e.created_by, e.created_at
    FROM jsonb_to_recordset($1::jsonb) AS e (
        id bigint, run_id bigint, case_id bigint, case_version integer, status_id bigint, comment text,
        elapsed_seconds integer, steps jsonb, created_by bigint, created_at timestamptz)
), inserted AS (
    INSERT INTO results (
        id, run_id, case_id, case_version, status_id, comment, elapsed_seconds, created_by, created_at
    )
    SELECT m.id, m.run_id, m.case_id, m.case_version, m.status_id, m.comment, m.elapsed_seconds, m.created_by,
        m.created_at
    FROM made m
)
INSERT INTO result_steps (result_id, position, outcome, comment)
SELECT m.id, s.position, s.status, coalesce(s.comment, '')
FROM made m CROSS JOIN jsonb_to_recordset(m.steps) AS s (position smallint, status text, comment text);

-- name: set_latest_results
-- The cases in the runs of project $1 take the status of their latest result.
UPDATE run_cases rc SET latest_result_id = latest.id, status_id = latest.status_id
FROM (
    SELECT DISTINCT ON (e.run_id, e.case_id) e.id, e.run_id, e.case_id, e.status_id
    FROM results e JOIN runs r ON r.id = e.run_id
    WHERE r.project_id = $1
    ORDER BY e.run_id, e.case_id, e.id DESC
) latest
WHERE rc.run_id = latest.run_id AND rc.case_id = latest.case_id;

-- name: insert_issues
-- The issues $2 that project $1 knows, a JSON array.
INSERT INTO issues (id, project_id, source_id, key, url, title, status, synced_at, created_at)
SELECT i.id, $1, s.id, i.key, replace(replace(s.issue_url_template, '{baseUrl}', s.base_url), '{key}', i.key),
    i.title, i.status, i.synced_at, i.created_at
FROM jsonb_to_recordset($2::jsonb) AS i (
    id bigint, source_id bigint, key text, title text, status text, synced_at timestamptz, created_at timestamptz)
JOIN sources s ON s.id = i.source_id;

-- name: insert_links
-- The links $2 in project $1, a JSON array: each on a case or on a result.
INSERT INTO links (project_id, issue_id, relation_id, case_id, result_id, created_by, created_at)
SELECT $1, k.issue_id, k.relation_id, k.case_id, k.result_id, k.created_by, k.created_at
FROM jsonb_to_recordset($2::jsonb) AS k (
    issue_id bigint, relation_id bigint, case_id bigint, result_id bigint, created_by bigint, created_at timestamptz)
ORDER BY k.created_at, k.issue_id;
