-- name: statuses
-- The statuses that results in project $1 may have, in order of display.
SELECT s.id, json_build_object(
    'id', s.id,
    'name', s.name,
    'systemName', s.system_name,
    'success', s.success,
    'failure', s.failure,
    'completed', s.completed,
    'default', s.is_initial
) AS document
FROM statuses s
WHERE s.enabled AND s.for_runs
    AND (s.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.status_id = s.id))
ORDER BY s.position, s.id;

-- name: status_looks
-- Every status that there is, also those that results have no more: what it says and how it is shown.
SELECT json_build_object(
    'id', s.id,
    'name', s.name,
    'color', s.color,
    'initial', s.is_initial,
    'success', s.success,
    'failure', s.failure,
    'completed', s.completed
) AS document
FROM statuses s
ORDER BY s.position, s.id;

-- name: lifecycle_states
-- The lifecycle states of project $1, of context $2 if that is given, in order of display.
SELECT json_build_object(
    'id', s.id,
    'name', s.name,
    'context', s.context,
    'default', s.is_default,
    'includeInRuns', s.include_in_runs
) AS document
FROM lifecycle_states s
WHERE s.enabled AND ($2::text IS NULL OR s.context = $2)
    AND (s.all_projects OR s.is_default
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.lifecycle_state_id = s.id))
ORDER BY s.context, s.position, s.id;

-- name: environments
-- The environments of project $1, for cases or for runs if context $2 is given, with their platforms.
SELECT json_build_object(
    'id', e.id,
    'name', e.name,
    'platforms', coalesce((
        SELECT json_agg(p.name ORDER BY g.position, g.id)
        FROM environment_platforms ep
        JOIN platforms p ON p.id = ep.platform_id
        JOIN platform_groups g ON g.id = ep.group_id
        WHERE ep.environment_id = e.id
    ), '[]')
) AS document
FROM environments e
WHERE e.enabled
    AND CASE $2::text WHEN 'REPOSITORY' THEN e.for_cases WHEN 'RUNS' THEN e.for_runs ELSE true END
    AND (e.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.environment_id = e.id))
ORDER BY lower(e.name), e.id;

-- name: tags
-- All tags, of context $2 if that is given, with how many cases or runs of project $1 carry them.
SELECT json_build_object('id', t.id, 'name', t.name, 'context', t.context, 'usage', coalesce(n.uses, 0)) AS document
FROM tags t
LEFT JOIN (
    SELECT ct.tag_id, count(*) AS uses
    FROM cases c JOIN case_tags ct ON ct.case_id = c.id
    WHERE c.project_id = $1 AND c.deleted_at IS NULL AND $2::text IS DISTINCT FROM 'RUNS'
    GROUP BY ct.tag_id
    UNION ALL
    SELECT rt.tag_id, count(*)
    FROM runs r JOIN run_tags rt ON rt.run_id = r.id
    WHERE r.project_id = $1
    GROUP BY rt.tag_id
) n ON n.tag_id = t.id
WHERE $2::text IS NULL OR t.context = $2
ORDER BY t.context, lower(t.name), t.id;

-- name: tags_of_cases
-- The tags that cases of project $1 carry.
SELECT json_build_object('id', t.id, 'name', t.name) AS document
FROM tags t
WHERE t.context = 'REPOSITORY' AND EXISTS (
    SELECT FROM case_tags ct JOIN cases c ON c.id = ct.case_id
    WHERE ct.tag_id = t.id AND c.project_id = $1 AND c.deleted_at IS NULL)
ORDER BY lower(t.name), t.id;

-- name: sources
-- The issue trackers of project $1.
SELECT json_strip_nulls(json_build_object(
    'id', s.id,
    'name', s.name,
    'system', s.system,
    'keyPattern', s.key_pattern,
    'example', nullif(s.example, '')
)) AS document
FROM sources s
WHERE s.enabled
    AND (s.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.source_id = s.id))
ORDER BY lower(s.name), s.id;

-- name: relations
-- What a link may mean in project $1.
SELECT json_build_object('id', r.id, 'name', r.name, 'semantic', r.semantic) AS document
FROM relations r
WHERE r.enabled
    AND (r.all_projects
        OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.relation_id = r.id))
ORDER BY r.semantic DESC, r.id;
