-- name: rename
-- Project $1 is called $2, so that there can be another.
UPDATE projects SET name = $2::text WHERE id = $1;

-- name: rare
-- One case in 5,000 of project $1 is unlike the others: in a folder, a state, with a tag, a field's value and a word in
-- its title that no other has.
WITH folder AS (
    INSERT INTO folders (project_id, depth, name) VALUES ($1, 1, 'Rare') RETURNING id
), tag AS (
    INSERT INTO tags (context, name) VALUES ('REPOSITORY', 'rare') ON CONFLICT DO NOTHING RETURNING id
), changed AS (
    UPDATE cases c SET title = 'Zebra crossing ' || c.number, folder_id = f.id, lifecycle_state_id = s.id
    FROM folder f, lifecycle_states s
    WHERE c.project_id = $1 AND c.number % 5000 = 17 AND s.name = 'Draft' AND s.context = 'REPOSITORY'
    RETURNING c.id
), tagged AS (
    INSERT INTO case_tags (case_id, tag_id) SELECT c.id, t.id FROM changed c, tag t
)
UPDATE case_field_values v SET value = '"Rare"'
FROM changed c, fields f WHERE v.case_id = c.id AND v.field_id = f.id AND f.system_name = 'priority';

-- name: cycles
-- Twenty cycles of project $1, each with one below it.
WITH above AS (
    INSERT INTO cycles (project_id, type_id, name, state, start_date)
    SELECT $1, t.id, 'Release ' || n, 'ACTIVE', current_date - 30 * n
    FROM generate_series(1, 20) n, cycle_types t WHERE t.is_default
    RETURNING id, type_id, name
)
INSERT INTO cycles (project_id, type_id, parent_id, depth, name) SELECT $1, type_id, id, 2, name || ' sprint' FROM above;

-- name: runs
-- A hundred runs of project $1 by user $2, the first half of them closed, with a five-hundredth of the cases each.
WITH cycle AS (
    SELECT c.id, row_number() OVER (ORDER BY c.id) AS place FROM cycles c WHERE c.project_id = $1
), run AS (
    INSERT INTO runs (project_id, cycle_id, lifecycle_state_id, title, created_by, created_at, closed_at, closed_by)
    SELECT $1, c.id, l.id, 'Regression ' || n, $2::bigint, now() - interval '1 day' * (100 - n),
        CASE WHEN n <= 50 THEN now() - interval '1 day' * (99 - n) END, CASE WHEN n <= 50 THEN $2::bigint END
    FROM generate_series(1, 100) n JOIN cycle c ON c.place = 1 + n % 40, lifecycle_states l
    WHERE l.is_default AND l.context = 'RUNS'
    ORDER BY n
    RETURNING id
), numbered AS (
    SELECT r.id, row_number() OVER (ORDER BY r.id) AS place FROM run r
)
INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id, assignee_id)
SELECT r.id, c.id, $1, 1, s.id, CASE WHEN c.number % 3 = 0 THEN $2::bigint END
FROM cases c JOIN numbered r ON (r.place * 37) % 500 = c.number % 500, statuses s
WHERE c.project_id = $1 AND s.is_initial;

-- name: results
-- Two results by user $2 of every case in a run of project $1; one in five is not good.
WITH status AS (
    SELECT s.id, row_number() OVER (ORDER BY s.position) AS place FROM statuses s WHERE NOT s.is_initial
), made AS (
    INSERT INTO results (run_id, case_id, case_version, status_id, elapsed_seconds, created_by, created_at)
    SELECT rc.run_id, rc.case_id, 1, s.id, 30, $2, r.created_at + interval '1 second' * (n * 3600 + c.number % 36000)
    FROM run_cases rc
    JOIN runs r ON r.id = rc.run_id
    JOIN cases c ON c.id = rc.case_id
    CROSS JOIN generate_series(1, 2) n
    JOIN status s ON s.place = CASE (c.number / 500 + n) % 20 WHEN 0 THEN 2 WHEN 1 THEN 2 WHEN 2 THEN 3 WHEN 3 THEN 4 ELSE 1 END
    WHERE rc.project_id = $1
    ORDER BY n
    RETURNING id, run_id, case_id, status_id
), latest AS (
    SELECT DISTINCT ON (m.run_id, m.case_id) m.run_id, m.case_id, m.id, m.status_id
    FROM made m ORDER BY m.run_id, m.case_id, m.id DESC
)
UPDATE run_cases rc SET latest_result_id = l.id, status_id = l.status_id
FROM latest l WHERE rc.run_id = l.run_id AND rc.case_id = l.case_id;

-- name: comments
-- A comment by user $2 on every twentieth case of project $1.
INSERT INTO comments (project_id, case_id, author_id, body)
SELECT $1, c.id, $2, 'Seen on the test system' FROM cases c WHERE c.project_id = $1 AND c.number % 20 = 0;

-- name: issues
-- An issue for every hundred of the cases $2 of project $1, of a tracker of its own.
WITH source AS (
    INSERT INTO sources (name, system, key_pattern, base_url)
    VALUES ('Tracker of ' || $1::bigint, 'JIRA', '[A-Z]+-[0-9]+', 'https://tracker.example') RETURNING id
)
INSERT INTO issues (project_id, source_id, key, title)
SELECT $1::bigint, s.id, 'SHOP-' || n, 'Customer wants thing ' || n FROM generate_series(1, $2::integer / 100) n, source s;

-- name: links
-- Every tenth case of project $1 covers one of all but the last tenth of the issues, and some failures are defects.
WITH issue AS (
    SELECT i.id, row_number() OVER (ORDER BY i.id) AS place, count(*) OVER () AS issues
    FROM issues i WHERE i.project_id = $1
), wanted AS (
    SELECT c.id AS case_id, NULL::bigint AS result_id, 1 + (c.number / 10) % greatest(i.issues * 9 / 10, 1) AS place
    FROM cases c, (SELECT count(*) AS issues FROM issue) i WHERE c.project_id = $1 AND c.number % 10 = 0
    UNION ALL
    SELECT NULL, rc.latest_result_id, 1 + rc.case_id % i.issues
    FROM run_cases rc JOIN statuses s ON s.id = rc.status_id AND s.failure, (SELECT count(*) AS issues FROM issue) i
    WHERE rc.project_id = $1 AND rc.case_id % 4 = 0
)
INSERT INTO links (project_id, issue_id, relation_id, case_id, result_id, created_by)
SELECT $1, i.id, m.id, w.case_id, w.result_id, $2
FROM wanted w
JOIN issue i ON i.place = w.place
JOIN relations m ON m.is_default AND m.semantic = CASE WHEN w.case_id IS NULL THEN 'DEFECT' ELSE 'GENERAL' END;

-- name: audit
-- An audit row of user $2 for every result of project $1 and for every case.
INSERT INTO audit_log (user_id, tool, action, object_type, object_id, project_id, version_after, created_at)
SELECT $2::bigint, 'create_test_cases', 'create', 'case', c.id, $1::bigint, 1, c.updated_at FROM cases c WHERE c.project_id = $1
UNION ALL
SELECT $2, 'record_test_results', 'create', 'result', e.id, $1, 1, e.created_at
FROM results e JOIN runs r ON r.id = e.run_id WHERE r.project_id = $1;

-- name: found
-- What there is in a workspace that was filled like this.
SELECT u.id AS user, p.id AS project, n.id AS neighbour, p.last_case_number AS cases
FROM users u, projects p, projects n
WHERE u.email = 'ann@large.example' AND p.name = 'The project' AND n.name = 'The neighbour';
