-- name: case_references
-- What a case of project $1 may refer to: the folders among $2, the tags among ids $3 and lower-case names $4, the
-- environments among $5, and all lifecycle states.
SELECT
    (SELECT coalesce(array_agg(f.id), '{}') FROM folders f WHERE f.project_id = $1 AND f.id = ANY ($2::bigint[]))
        AS folders,
    (
        SELECT coalesce(json_agg(json_build_array(g.id, lower(g.name))), '[]')
        FROM tags g
        WHERE g.context = 'REPOSITORY' AND (g.id = ANY ($3::bigint[]) OR lower(g.name) = ANY ($4::text[]))
    ) AS tags,
    (
        SELECT coalesce(array_agg(e.id), '{}')
        FROM environments e
        WHERE e.id = ANY ($5::bigint[]) AND e.enabled AND e.for_cases
            AND (e.all_projects
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.environment_id = e.id))
    ) AS environments,
    (
        SELECT coalesce(json_agg(json_build_array(s.id, s.is_default) ORDER BY s.position, s.id), '[]')
        FROM lifecycle_states s
        WHERE s.context = 'REPOSITORY' AND s.enabled
            AND (s.all_projects OR s.is_default
                OR EXISTS (SELECT FROM project_availability a WHERE a.project_id = $1 AND a.lifecycle_state_id = s.id))
    ) AS lifecycle_states;

-- name: tag_names
-- The names of the tags that cases can carry; for an error's message.
SELECT g.name FROM tags g WHERE g.context = 'REPOSITORY' ORDER BY lower(g.name) LIMIT 100;
