-- name: case_documents
-- Cases of project $1, by ids $2 or numbers $3, whole, as get_test_case returns them.
SELECT c.id, c.number, c.template_id, c.version, json_strip_nulls(json_build_object(
    'id', c.id,
    'number', 'C-' || c.number,
    'title', c.title,
    'folder', (
        WITH RECURSIVE upward AS (
            SELECT f.parent_id, f.name::text AS path FROM folders f WHERE f.id = c.folder_id
            UNION ALL
            SELECT f.parent_id, f.name || ' / ' || u.path FROM upward u JOIN folders f ON f.id = u.parent_id
        )
        SELECT json_build_object('id', c.folder_id, 'path', u.path) FROM upward u WHERE u.parent_id IS NULL
    ),
    'template', json_build_object('id', t.id, 'name', t.name),
    'lifecycleState', json_build_object('id', l.id, 'name', l.name),
    'estimateSeconds', c.estimate_seconds,
    'fields', coalesce((
        SELECT json_object_agg(f.system_name, held.value ORDER BY lower(f.label))
        FROM (
            SELECT v.field_id, v.value::json AS value FROM case_field_values v WHERE v.case_id = c.id
            UNION ALL
            SELECT s.field_id, json_agg(json_build_object(
                'step', nullif(s.step, ''),
                'expectedResult', nullif(s.expected_result, ''),
                'actualResult', nullif(s.actual_result, ''),
                'notes', nullif(s.notes, '')
            ) ORDER BY s.position)
            FROM case_steps s WHERE s.case_id = c.id GROUP BY s.field_id
        ) held
        JOIN fields f ON f.id = held.field_id
    ), '{}'),
    'tags', coalesce((
        SELECT json_agg(json_build_object('id', g.id, 'name', g.name) ORDER BY lower(g.name))
        FROM case_tags ct JOIN tags g ON g.id = ct.tag_id WHERE ct.case_id = c.id
    ), '[]'),
    'environments', coalesce((
        SELECT json_agg(json_build_object('id', e.id, 'name', e.name) ORDER BY lower(e.name))
        FROM case_environments ce JOIN environments e ON e.id = ce.environment_id WHERE ce.case_id = c.id
    ), '[]'),
    'links', coalesce((
        SELECT json_agg(json_build_object(
            'id', k.id, 'issueKey', i.key, 'source', s.name, 'relation', r.name, 'url', nullif(i.url, '')) ORDER BY k.id)
        FROM links k
        JOIN issues i ON i.id = k.issue_id
        JOIN sources s ON s.id = i.source_id
        JOIN relations r ON r.id = k.relation_id
        WHERE k.case_id = c.id
    ), '[]'),
    'commentCount', (SELECT count(*) FROM comments m WHERE m.case_id = c.id AND m.deleted_at IS NULL),
    'latestResult', (
        SELECT json_build_object(
            'status', s.name, 'runId', r.id, 'run', r.title, 'at', date_trunc('second', e.created_at))
        FROM results e JOIN statuses s ON s.id = e.status_id JOIN runs r ON r.id = e.run_id
        WHERE e.case_id = c.id
        ORDER BY e.id DESC LIMIT 1
    ),
    'createdBy', json_build_object('id', author.id, 'name', author.name),
    'createdAt', date_trunc('second', c.created_at),
    'updatedBy', json_build_object('id', editor.id, 'name', editor.name),
    'updatedAt', date_trunc('second', c.updated_at),
    'version', c.version
)) AS document
FROM cases c
JOIN templates t ON t.id = c.template_id
JOIN lifecycle_states l ON l.id = c.lifecycle_state_id
JOIN users author ON author.id = c.created_by
JOIN users editor ON editor.id = c.updated_by
WHERE c.project_id = $1 AND c.deleted_at IS NULL AND (c.id = ANY ($2::bigint[]) OR c.number = ANY ($3::integer[]))
ORDER BY c.number;

-- name: cases_of_project
-- The cases of project $1, which lists and searches narrow down.
SELECT c.id, c.number, c.title, c.updated_at FROM cases c WHERE c.project_id = $1 AND c.deleted_at IS NULL;

-- name: subtree
-- Folder $2 of project $1 and all below it.
WITH RECURSIVE below AS (
    SELECT $2::bigint AS id
    UNION ALL
    SELECT f.id FROM below b JOIN folders f ON f.project_id = $1 AND f.parent_id = b.id
)
SELECT array_agg(b.id) FROM below b;

-- name: case_of_number
-- The case of project $1 with number $2.
SELECT c.id FROM cases c WHERE c.project_id = $1 AND c.number = $2 AND c.deleted_at IS NULL;

-- name: case_items
-- The cases $1 as lists show them, in the order given.
SELECT json_strip_nulls(json_build_object(
    'id', c.id,
    'number', 'C-' || c.number,
    'title', c.title,
    'folder', CASE WHEN f.id IS NOT NULL THEN json_build_object('id', f.id, 'name', f.name) END,
    'lifecycleState', l.name,
    'priority', (
        SELECT v.value #>> '{}' FROM case_field_values v JOIN fields p ON p.id = v.field_id
        WHERE v.case_id = c.id AND p.system_name = 'priority'
    ),
    'tags', coalesce((
        SELECT json_agg(g.name ORDER BY lower(g.name))
        FROM case_tags ct JOIN tags g ON g.id = ct.tag_id WHERE ct.case_id = c.id
    ), '[]'),
    'updatedAt', date_trunc('second', c.updated_at),
    'version', c.version
)) AS document
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
JOIN cases c ON c.id = wanted.id
JOIN lifecycle_states l ON l.id = c.lifecycle_state_id
LEFT JOIN folders f ON f.id = c.folder_id
ORDER BY wanted.place;
