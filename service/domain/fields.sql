-- name: template_fields
-- The fields of the templates of project $1 (of template $2 only, if given; of templates $3 in any case), one row
-- each, as they hold there:
-- the project's override first, then the template's word. A template without fields is one row without a field.
SELECT
    t.id AS template_id,
    t.name AS template_name,
    t.is_default AS template_is_default,
    t.available AS template_available,
    f.id,
    f.system_name,
    f.label,
    f.type,
    coalesce(o.required, tf.required) AS required,
    coalesce(o.default_value, tf.default_value) AS default_value,
    (
        SELECT json_agg(json_build_object('value', x.value, 'label', x.label) ORDER BY x.position)
        FROM (
            SELECT l.value, l.label, l.position, l.enabled,
                -- The project's own list beats the template's, which beats the field's.
                rank() OVER (ORDER BY (l.project_id IS NULL)::integer, (l.template_id IS NULL)::integer) AS list
            FROM field_options l
            WHERE l.field_id = f.id AND (l.project_id = $1 OR l.project_id IS NULL)
                AND (l.template_id = t.id OR l.template_id IS NULL)
        ) x
        WHERE x.list = 1 AND x.enabled
    ) AS options,
    (
        SELECT json_agg(json_build_object('name', x.slot, 'label', x.label) ORDER BY x.position)
        FROM (
            SELECT DISTINCT ON (s.slot) s.slot, s.label, s.position, s.enabled
            FROM field_slots s
            WHERE s.field_id = f.id AND (s.project_id = $1 OR s.project_id IS NULL)
            ORDER BY s.slot, s.project_id NULLS LAST
        ) x
        WHERE x.enabled
    ) AS slots
FROM (
    SELECT t.id, t.name, t.is_default, t.enabled
        AND (t.all_projects OR t.is_default
            OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.template_id = t.id)) AS available
    FROM templates t
) t
LEFT JOIN (
    template_fields tf
    JOIN fields f ON f.id = tf.field_id AND f.enabled AND f.applies_to = 'CASE'
        AND (f.all_projects
            OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.field_id = f.id))
        AND NOT EXISTS (SELECT FROM field_overrides h WHERE h.project_id = $1 AND h.field_id = f.id AND h.hidden)
) ON tf.template_id = t.id
LEFT JOIN field_overrides o ON o.project_id = $1 AND o.field_id = f.id
WHERE ($2::bigint IS NULL OR t.id = $2) AND t.available OR t.id = ANY ($3::bigint[])
ORDER BY t.is_default DESC, lower(t.name), t.id, lower(f.label), f.id;
