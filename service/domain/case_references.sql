-- name: case_references
-- What a case of project $1 may refer to: the folders among $2, the tags among ids $3, those of names $4 (as pairs of
-- the name given and the id), the environments among $5, and all lifecycle states.
SELECT
    (SELECT coalesce(array_agg(f.id), '{}') FROM folders f WHERE f.project_id = $1 AND f.id = ANY ($2::bigint[]))
        AS folders,
    (
        SELECT coalesce(array_agg(g.id), '{}') FROM tags g WHERE g.context = 'REPOSITORY' AND g.id = ANY ($3::bigint[])
    ) AS tags,
    (
        SELECT coalesce(json_agg(json_build_array(given.name, g.id)), '[]')
        FROM unnest($4::text[]) AS given (name)
        JOIN tags g ON g.context = 'REPOSITORY' AND lower(g.name) = lower(given.name)
    ) AS named_tags,
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
