-- name: insert_cases
-- The cases $2 of project $1, a JSON array, without what the restore_… queries add.
INSERT INTO cases (
    id, project_id, number, title, folder_id, template_id, lifecycle_state_id, estimate_seconds, created_by,
    created_at, updated_by, updated_at, version
)
SELECT c.id, $1, c.number, c.title, c.folder_id, c.template_id, c.lifecycle_state_id, c.estimate_seconds,
    c.created_by, c.created_at, c.updated_by, c.updated_at, c.version
FROM jsonb_to_recordset($2::jsonb) AS c (
    id bigint, number integer, title text, folder_id bigint, template_id bigint,
    lifecycle_state_id bigint, estimate_seconds integer, created_by bigint, created_at timestamptz,
    updated_by bigint, updated_at timestamptz, version integer);

-- name: insert_case_versions
-- The versions $1 of cases, a JSON array.
INSERT INTO case_versions (case_id, version, snapshot, created_by, created_at)
SELECT v.case_id, v.version, v.snapshot, v.created_by, v.created_at
FROM jsonb_to_recordset($1::jsonb) AS v (
    case_id bigint, version integer, snapshot jsonb, created_by bigint, created_at timestamptz);

-- name: restore_field_values
-- The cases of project $1 get the values in their latest versions; steps apart.
INSERT INTO case_field_values (case_id, field_id, type, value)
SELECT c.id, f.id, f.type, held.value
FROM cases c
JOIN case_versions v ON v.case_id = c.id AND v.version = c.version
CROSS JOIN jsonb_each(v.snapshot -> 'fields') AS held
JOIN fields f ON f.system_name = held.key AND f.applies_to = 'CASE'
WHERE c.project_id = $1 AND f.type <> 'STEPS';

-- name: restore_steps
-- The cases of project $1 get the steps in their latest versions.
INSERT INTO case_steps (case_id, field_id, position, step, expected_result, actual_result, notes)
SELECT c.id, f.id, s.position, coalesce(s.content ->> 'step', ''), coalesce(s.content ->> 'expectedResult', ''),
    coalesce(s.content ->> 'actualResult', ''), coalesce(s.content ->> 'notes', '')
FROM cases c
JOIN case_versions v ON v.case_id = c.id AND v.version = c.version
JOIN fields f ON f.type = 'STEPS'
CROSS JOIN jsonb_array_elements(v.snapshot -> 'fields' -> f.system_name) WITH ORDINALITY AS s (content, position)
WHERE c.project_id = $1;

-- name: restore_tags
-- The cases of project $1 get the tags in their latest versions.
INSERT INTO case_tags (case_id, tag_id)
SELECT c.id, (tag ->> 'id')::bigint
FROM cases c
JOIN case_versions v ON v.case_id = c.id AND v.version = c.version
CROSS JOIN jsonb_array_elements(v.snapshot -> 'tags') AS tag
WHERE c.project_id = $1;

-- name: restore_environments
-- The cases of project $1 get the environments in their latest versions.
INSERT INTO case_environments (case_id, environment_id)
SELECT c.id, (environment ->> 'id')::bigint
FROM cases c
JOIN case_versions v ON v.case_id = c.id AND v.version = c.version
CROSS JOIN jsonb_array_elements(v.snapshot -> 'environments') AS environment
WHERE c.project_id = $1;

-- name: insert_comments
-- The comments $2 on cases of project $1, a JSON array; ids ascend with time.
INSERT INTO comments (project_id, case_id, author_id, body, created_at)
SELECT $1, m.case_id, m.author_id, m.body, m.created_at
FROM jsonb_to_recordset($2::jsonb) AS m (case_id bigint, author_id bigint, body text, created_at timestamptz)
ORDER BY m.created_at;
