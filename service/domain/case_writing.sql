-- name: take_numbers
-- The last of $2 new case numbers in project $1. It locks the project, so that numbers have no gaps.
UPDATE projects SET last_case_number = last_case_number + $2 WHERE id = $1 RETURNING last_case_number;

-- name: insert_cases
-- New cases in project $1, numbered from $2 + 1 on; $3 is a JSON array with one draft for each.
WITH draft AS (
    SELECT d.place, d.title, d.folder_id, d.template_id, d.lifecycle_state_id, d.estimate_seconds,
        d.field_values, d.steps, d.tag_ids, d.environment_ids
    FROM jsonb_to_recordset($3::jsonb) AS d (
        place integer, title text, folder_id bigint, template_id bigint, lifecycle_state_id bigint,
        estimate_seconds integer, field_values jsonb, steps jsonb, tag_ids jsonb, environment_ids jsonb
    )
), inserted AS (
    INSERT INTO cases (project_id, number, title, folder_id, template_id, lifecycle_state_id, estimate_seconds)
    SELECT $1, $2 + d.place, d.title, d.folder_id, d.template_id, d.lifecycle_state_id, d.estimate_seconds
    FROM draft d
    ORDER BY d.place
    RETURNING id, number
), made AS (
    SELECT i.id, i.number, d.field_values, d.steps, d.tag_ids, d.environment_ids
    FROM inserted i JOIN draft d ON $2 + d.place = i.number
), with_values AS (
    INSERT INTO case_field_values (case_id, field_id, type, value)
    SELECT m.id, v.field_id, v.type, v.value
    FROM made m CROSS JOIN jsonb_to_recordset(m.field_values) AS v (field_id bigint, type text, value jsonb)
), with_steps AS (
    INSERT INTO case_steps (case_id, field_id, position, step, expected_result, actual_result, notes)
    SELECT m.id, s.field_id, s.position, coalesce(s.step, ''), coalesce(s."expectedResult", ''),
        coalesce(s."actualResult", ''), coalesce(s.notes, '')
    FROM made m
    CROSS JOIN jsonb_to_recordset(m.steps) AS s (
        field_id bigint, position smallint, step text, "expectedResult" text, "actualResult" text, notes text)
), with_tags AS (
    INSERT INTO case_tags (case_id, tag_id)
    SELECT m.id, tag_id::bigint FROM made m CROSS JOIN jsonb_array_elements_text(m.tag_ids) AS tag_id
), with_environments AS (
    INSERT INTO case_environments (case_id, environment_id)
    SELECT m.id, environment_id::bigint
    FROM made m CROSS JOIN jsonb_array_elements_text(m.environment_ids) AS environment_id
)
SELECT m.id FROM made m ORDER BY m.number;

-- name: insert_case_versions
-- The versions $2 of cases $1 with their snapshots $3.
INSERT INTO case_versions (case_id, version, snapshot)
SELECT v.case_id, v.version, v.snapshot
FROM unnest($1::bigint[], $2::integer[], $3::jsonb[]) AS v (case_id, version, snapshot);

-- name: lock_cases
-- The cases of project $1 by ids $2 or numbers $3, locked against other changes.
SELECT c.id, c.number, c.template_id, c.version
FROM cases c
WHERE c.project_id = $1 AND c.deleted_at IS NULL AND (c.id = ANY ($2::bigint[]) OR c.number = ANY ($3::integer[]))
ORDER BY c.id
FOR UPDATE;

-- name: update_cases
-- Cases $2 of project $1: what is null stays; 0 as folder is the root, 0 as estimate is none.
UPDATE cases SET
    title = coalesce($3, title),
    folder_id = CASE WHEN $4::bigint IS NULL THEN folder_id ELSE nullif($4, 0) END,
    template_id = coalesce($5, template_id),
    lifecycle_state_id = coalesce($6, lifecycle_state_id),
    estimate_seconds = CASE WHEN $7::integer IS NULL THEN estimate_seconds ELSE nullif($7, 0) END
WHERE project_id = $1 AND id = ANY ($2::bigint[]);

-- name: delete_tags
-- Cases $1 lose the tags $2, or with $3 all others.
DELETE FROM case_tags WHERE case_id = ANY ($1::bigint[]) AND (tag_id = ANY ($2::bigint[])) <> $3::boolean;

-- name: put_tags
-- Cases $1 get the tags $2.
INSERT INTO case_tags (case_id, tag_id)
SELECT case_id, tag_id FROM unnest($1::bigint[]) AS case_id CROSS JOIN unnest($2::bigint[]) AS tag_id
ON CONFLICT DO NOTHING;

-- name: put_environments
-- Cases $1 are meant for environments $2 and no others.
WITH gone AS (
    DELETE FROM case_environments WHERE case_id = ANY ($1::bigint[]) AND environment_id <> ALL ($2::bigint[])
)
INSERT INTO case_environments (case_id, environment_id)
SELECT case_id, environment_id
FROM unnest($1::bigint[]) AS case_id CROSS JOIN unnest($2::bigint[]) AS environment_id
ON CONFLICT DO NOTHING;

-- name: raise_versions
-- Cases $1 have been changed by user $2.
UPDATE cases SET version = version + 1, updated_by = $2, updated_at = now() WHERE id = ANY ($1::bigint[]);
