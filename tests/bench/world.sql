-- name: project
-- A project with the folders and tags of a team at work; its id.
WITH project AS (
    INSERT INTO projects (name, last_case_number) VALUES ('Shop', $1::integer) RETURNING id
), tags AS (
    INSERT INTO tags (context, name) SELECT 'REPOSITORY', 'area-' || n FROM generate_series(1, 12) n
    ON CONFLICT DO NOTHING
), root AS (
    INSERT INTO folders (id, project_id, depth, name)
    SELECT nextval('ids'), p.id, 1, 'Area ' || n FROM project p, generate_series(1, 8) n RETURNING id, project_id
), leaves AS (
    INSERT INTO folders (id, project_id, parent_id, depth, name)
    SELECT nextval('ids'), r.project_id, r.id, 2, 'Part ' || n FROM root r, generate_series(1, 6) n
)
SELECT id FROM project;

-- name: cases
-- The cases $2 of project $1 by user $3: titles of five words from a vocabulary, spread over the folders, one a minute.
INSERT INTO cases (
    project_id, number, title, folder_id, template_id, lifecycle_state_id, created_by, updated_by, updated_at)
SELECT $1, n, initcap(w.words[1 + n % 20]) || ' ' || w.words[1 + (n / 20) % 20] || ' is ' || w.words[1 + (n * 7) % 20]
        || ' after ' || w.words[1 + (n * 13) % 20] || ' ' || n,
    f.ids[1 + n % cardinality(f.ids)], t.id, l.id, $3, $3, now() - interval '1 minute' * ($2 - n)
FROM generate_series(1, $2::integer) n,
    (SELECT array_agg(id ORDER BY id) AS ids FROM folders WHERE project_id = $1 AND depth = 2) f,
    templates t, lifecycle_states l,
    (SELECT ARRAY['cart', 'price', 'voucher', 'invoice', 'card', 'refund', 'login', 'password', 'profile', 'address',
        'search', 'filter', 'stock', 'delivery', 'slot', 'mail', 'order', 'basket', 'session', 'export'] AS words) w
WHERE t.is_default AND l.name = 'Ready' AND l.context = 'REPOSITORY';

-- name: versions
-- The first version of every case of project $1.
INSERT INTO case_versions (case_id, version, snapshot, created_by)
SELECT c.id, 1, jsonb_build_object('title', c.title), c.created_by FROM cases c WHERE c.project_id = $1;

-- name: steps
-- Four steps for every case of project $1.
INSERT INTO case_steps (case_id, field_id, position, step, expected_result)
SELECT c.id, f.id, n, 'Do what the case says in its part ' || n, 'What is shown agrees with part ' || n
FROM cases c, fields f, generate_series(1, 4) n
WHERE c.project_id = $1 AND f.system_name = 'steps';

-- name: values
-- A priority and preconditions for every case of project $1.
INSERT INTO case_field_values (case_id, field_id, type, value)
SELECT c.id, f.id, f.type, CASE f.system_name
    WHEN 'priority' THEN to_jsonb((ARRAY['Critical', 'High', 'Medium', 'Low'])[1 + c.number % 4])
    ELSE to_jsonb('A customer with an order of ' || c.number || ' lines is signed in'::text) END
FROM cases c, fields f
WHERE c.project_id = $1 AND f.system_name IN ('priority', 'preconditions');

-- name: tagged
-- Two tags for every case of project $1.
INSERT INTO case_tags (case_id, tag_id)
SELECT c.id, t.ids[1 + (c.number * n) % 11] FROM cases c, generate_series(1, 2) n,
    (SELECT array_agg(id ORDER BY id) AS ids FROM tags WHERE context = 'REPOSITORY' AND name LIKE 'area-%') t
WHERE c.project_id = $1
ON CONFLICT DO NOTHING;

-- name: run
-- An open run of all cases of project $1, by user $2; its id.
WITH run AS (
    INSERT INTO runs (project_id, lifecycle_state_id, title, created_by)
    SELECT $1, l.id, 'Regression', $2 FROM lifecycle_states l WHERE l.is_default AND l.context = 'RUNS' RETURNING id
), cases AS (
    INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id)
    SELECT r.id, c.id, $1, 1, s.id FROM run r, cases c, statuses s WHERE c.project_id = $1 AND s.is_initial
)
SELECT id FROM run;

-- name: results_of_run
-- A result for every case of run $1 by user $2: one in eight has failed.
WITH inserted AS (
    INSERT INTO results (run_id, case_id, case_version, status_id, created_by)
    SELECT rc.run_id, rc.case_id, rc.case_version, s.id, $2
    FROM run_cases rc
    JOIN statuses s ON s.system_name = CASE WHEN rc.case_id % 8 = 0 THEN 'failed' ELSE 'passed' END
    WHERE rc.run_id = $1
    RETURNING id, case_id, status_id
)
UPDATE run_cases SET status_id = i.status_id, latest_result_id = i.id
FROM inserted i
WHERE run_cases.run_id = $1 AND run_cases.case_id = i.case_id;
