-- name: user_rules
-- The rules of single users on project $1: of the users $2, or of all if that is null, by e-mail, after $3, $4 of them.
SELECT lower(u.email) AS sort_email, json_strip_nulls(json_build_object(
    'user', json_build_object('id', u.id, 'email', u.email, 'name', u.name),
    'mode', m.mode,
    'role', forced.name,
    'override', override.name
)) AS document
FROM project_members m
JOIN users u ON u.id = m.user_id
LEFT JOIN roles forced ON forced.id = m.forced_role_id
LEFT JOIN roles override ON override.id = m.override_role_id
WHERE m.project_id = $1
    AND ($2::bigint[] IS NULL OR m.user_id = ANY ($2))
    AND ($3::text IS NULL OR lower(u.email) > $3)
ORDER BY lower(u.email)
LIMIT $4::bigint;

-- name: count_user_rules
-- How many users have a rule of their own on project $1.
SELECT count(*) FROM project_members m WHERE m.project_id = $1;

-- name: group_rules
-- The rules of groups on project $1: of the groups $2, or of all if that is null, by name.
SELECT json_strip_nulls(json_build_object(
    'group', json_build_object('id', g.id, 'name', g.name, 'enabled', g.enabled),
    'mode', pg.mode,
    'role', forced.name
)) AS document
FROM project_groups pg
JOIN groups g ON g.id = pg.group_id
LEFT JOIN roles forced ON forced.id = pg.forced_role_id
WHERE pg.project_id = $1 AND ($2::bigint[] IS NULL OR pg.group_id = ANY ($2))
ORDER BY lower(g.name);

-- name: lock_rules
-- The rules of project $1 change one call at a time.
SELECT p.id FROM projects p WHERE p.id = $1 FOR NO KEY UPDATE;

-- name: user_rule_columns
-- The rules of the users $2 on project $1.
SELECT m.user_id AS holder_id, m.mode, m.forced_role_id, m.override_role_id
FROM project_members m
WHERE m.project_id = $1 AND m.user_id = ANY ($2::bigint[]);

-- name: group_rule_columns
-- The rules of the groups $2 on project $1.
SELECT pg.group_id AS holder_id, pg.mode, pg.forced_role_id, NULL::bigint AS override_role_id
FROM project_groups pg
WHERE pg.project_id = $1 AND pg.group_id = ANY ($2::bigint[]);

-- name: set_user_rules
-- On project $1, the users $2 have the modes $3, forced roles $4 and role overrides $5.
INSERT INTO project_members (project_id, user_id, mode, forced_role_id, override_role_id)
SELECT $1, rule.*
FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) AS rule
ON CONFLICT (project_id, user_id) DO UPDATE SET
    mode = excluded.mode, forced_role_id = excluded.forced_role_id, override_role_id = excluded.override_role_id;

-- name: set_group_rules
-- On project $1, the groups $2 have the modes $3 and forced roles $4.
INSERT INTO project_groups (project_id, group_id, mode, forced_role_id)
SELECT $1, rule.*
FROM unnest($2::bigint[], $3::text[], $4::bigint[]) AS rule
ON CONFLICT (project_id, group_id) DO UPDATE SET mode = excluded.mode, forced_role_id = excluded.forced_role_id;

-- name: delete_user_rules
-- The users $2 have no rule of their own on project $1.
DELETE FROM project_members WHERE project_id = $1 AND user_id = ANY ($2::bigint[]);

-- name: delete_group_rules
-- The groups $2 have no rule on project $1.
DELETE FROM project_groups WHERE project_id = $1 AND group_id = ANY ($2::bigint[]);
