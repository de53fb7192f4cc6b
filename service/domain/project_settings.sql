-- name: projects
-- Project $1, or all if that is null: completed ones if $2, or any if that is null, with $3 in name or summary; by
-- name, after the name $4, $5 of them. Members and groups are the numbers of rules.
SELECT lower(p.name) AS sort_name, json_strip_nulls(json_build_object(
    'id', p.id,
    'name', p.name,
    'summary', p.summary,
    'icon', p.icon,
    'defaultAccess', p.default_access,
    'defaultRole', r.name,
    'completed', p.completed_at IS NOT NULL,
    'completedAt', date_trunc('second', p.completed_at),
    'members', (SELECT count(*) FROM project_members m WHERE m.project_id = p.id),
    'groups', (SELECT count(*) FROM project_groups pg WHERE pg.project_id = p.id),
    'createdAt', date_trunc('second', p.created_at),
    'version', p.version
)) AS document
FROM projects p
LEFT JOIN roles r ON r.id = p.default_role_id
WHERE ($1::bigint IS NULL OR p.id = $1)
    AND ($2::boolean IS NULL OR (p.completed_at IS NOT NULL) = $2)
    AND ($3 = '' OR strpos(lower(p.name), lower($3)) > 0 OR strpos(lower(p.summary), lower($3)) > 0)
    AND ($4::text IS NULL OR lower(p.name) > $4)
ORDER BY lower(p.name)
LIMIT $5::bigint;

-- name: count_projects
-- How many projects there are: completed ones if $1, or any if that is null, with $2 in name or summary.
SELECT count(*)
FROM projects p
WHERE ($1::boolean IS NULL OR (p.completed_at IS NOT NULL) = $1)
    AND ($2 = '' OR strpos(lower(p.name), lower($2)) > 0 OR strpos(lower(p.summary), lower($2)) > 0);

-- name: insert_project
-- A new project with name $1, summary $2, icon $3, default access $4 and default role $5.
INSERT INTO projects (name, summary, icon, default_access, default_role_id)
VALUES ($1, $2, $3, $4, $5)
RETURNING id;

-- name: lock_project
-- What of project $1 can change, and its version; no other call changes it until this one ends.
SELECT p.name, p.summary, p.icon, p.default_access, p.default_role_id, p.completed_at IS NOT NULL AS completed, p.version
FROM projects p WHERE p.id = $1
FOR NO KEY UPDATE;

-- name: update_project
-- Project $1 as it is from now on, completed if $7, in its next version.
UPDATE projects SET
    name = $2, summary = $3, icon = $4, default_access = $5, default_role_id = $6,
    completed_at = CASE WHEN $7 THEN coalesce(completed_at, now()) END, version = version + 1
WHERE id = $1;
