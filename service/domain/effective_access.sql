-- name: user
-- User $1, whose access is asked for.
SELECT json_build_object('id', u.id, 'email', u.email, 'name', u.name, 'role', r.name, 'active', u.active)
FROM users u
JOIN roles r ON r.id = u.role_id
WHERE u.id = $1;

-- name: access
-- What user $1 may do in project $2, or in each if that is null, by name, $3 of them; and the rules that there are for them, in the
-- order in which they are considered.
SELECT json_strip_nulls(json_build_object(
        'project', json_build_object('id', p.id, 'name', p.name),
        'allowed', a.allowed,
        'role', a.role,
        'permissions', a.permissions,
        'reason', a.reason
    )) AS document,
    (
        SELECT json_agg(json_strip_nulls(rule.document) ORDER BY rule.place, rule.name)
        FROM (
            SELECT 1 AS place, '' AS name, json_build_object('kind', 'user', 'active', u.active) AS document
            FROM users u WHERE u.id = $1 AND NOT u.active
            UNION ALL
            SELECT 2, '', json_build_object(
                'kind', 'member', 'mode', m.mode, 'role', forced.name, 'override', override.name)
            FROM project_members m
            LEFT JOIN roles forced ON forced.id = m.forced_role_id
            LEFT JOIN roles override ON override.id = m.override_role_id
            WHERE m.project_id = p.id AND m.user_id = $1
            UNION ALL
            SELECT 3, lower(g.name), json_build_object(
                'kind', 'group', 'group', g.name, 'enabled', g.enabled, 'mode', pg.mode, 'role', forced.name)
            FROM group_members gm
            JOIN project_groups pg ON pg.group_id = gm.group_id AND pg.project_id = p.id
            JOIN groups g ON g.id = gm.group_id
            LEFT JOIN roles forced ON forced.id = pg.forced_role_id
            WHERE gm.user_id = $1
            UNION ALL
            SELECT 4, '', json_build_object(
                'kind', 'default', 'mode', p.default_access,
                'role', (SELECT r.name FROM roles r WHERE r.id = p.default_role_id))
        ) rule
    ) AS rules
FROM project_access($1) a
JOIN projects p ON p.id = a.project_id
WHERE $2::bigint IS NULL OR p.id = $2
ORDER BY lower(p.name)
LIMIT $3::bigint;
