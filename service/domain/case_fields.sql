-- name: delete_fields
-- Cases $1 lose the values and steps of fields $2.
WITH steps AS (
    DELETE FROM case_steps WHERE case_id = ANY ($1::bigint[]) AND field_id = ANY ($2::bigint[])
)
DELETE FROM case_field_values WHERE case_id = ANY ($1::bigint[]) AND field_id = ANY ($2::bigint[]);

-- name: keep_fields
-- Cases $1 lose what template $2 has no field for; the labels of the fields that were lost. A field that is hidden or
-- disabled is still the template's: its values come back with it.
WITH kept AS (
    SELECT tf.field_id FROM template_fields tf WHERE tf.template_id = $2
), lost_values AS (
    DELETE FROM case_field_values
    WHERE case_id = ANY ($1::bigint[]) AND field_id NOT IN (SELECT field_id FROM kept)
    RETURNING field_id
), lost_steps AS (
    DELETE FROM case_steps
    WHERE case_id = ANY ($1::bigint[]) AND field_id NOT IN (SELECT field_id FROM kept)
    RETURNING field_id
)
SELECT f.label
FROM fields f
WHERE f.id IN (SELECT field_id FROM lost_values UNION SELECT field_id FROM lost_steps)
ORDER BY lower(f.label);

-- name: add_values
-- Cases $1 get the values $2, a JSON array of {field_id, type, value}, where they have none yet.
INSERT INTO case_field_values (case_id, field_id, type, value)
SELECT wanted.case_id, v.field_id, v.type, v.value
FROM unnest($1::bigint[]) AS wanted (case_id)
CROSS JOIN jsonb_to_recordset($2::jsonb) AS v (field_id bigint, type text, value jsonb)
ON CONFLICT DO NOTHING;

-- name: add_steps
-- Cases $1 get the steps $2, a JSON array, where they have none in that field yet.
INSERT INTO case_steps (case_id, field_id, position, step, expected_result, actual_result, notes)
SELECT wanted.case_id, s.field_id, s.position, coalesce(s.step, ''), coalesce(s."expectedResult", ''),
    coalesce(s."actualResult", ''), coalesce(s.notes, '')
FROM unnest($1::bigint[]) AS wanted (case_id)
CROSS JOIN jsonb_to_recordset($2::jsonb) AS s (
    field_id bigint, position smallint, step text, "expectedResult" text, "actualResult" text, notes text)
WHERE NOT EXISTS (SELECT FROM case_steps h WHERE h.case_id = wanted.case_id AND h.field_id = s.field_id);
