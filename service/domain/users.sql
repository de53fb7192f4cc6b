-- name: users
-- The users: active ones if $1, of access level $2, with global role $3, in group $4, with $5 in name or e-mail, where
-- null or '' is any; by name, after the one of name $6 and id $7, $8 of them.
SELECT lower(u.name) AS sort_name, u.id, json_build_object(
    'id', u.id,
    'email', u.email,
    'name', u.name,
    'accessLevel', u.access_level,
    'role', r.name,
    'active', u.active,
    'groups', ARRAY(
        SELECT g.name FROM group_members gm JOIN groups g ON g.id = gm.group_id
        WHERE gm.user_id = u.id ORDER BY lower(g.name)
    ),
    'createdAt', date_trunc('second', u.created_at),
    'version', u.version
) AS document
FROM users u
JOIN roles r ON r.id = u.role_id
WHERE ($1::boolean IS NULL OR u.active = $1)
    AND ($2::text IS NULL OR u.access_level = $2)
    AND ($3::bigint IS NULL OR u.role_id = $3)
    AND ($4::bigint IS NULL OR EXISTS (
        SELECT FROM group_members gm WHERE gm.group_id = $4 AND gm.user_id = u.id))
    AND ($5 = '' OR strpos(lower(u.name), lower($5)) > 0 OR strpos(lower(u.email), lower($5)) > 0)
    AND ($6::text IS NULL OR (lower(u.name), u.id) > ($6, $7::bigint))
ORDER BY lower(u.name), u.id
LIMIT $8::bigint;

-- name: count_users
-- How many users there are: active ones if $1, of access level $2, with global role $3, in group $4, with $5 in name or
-- e-mail, where null or '' is any.
SELECT count(*)
FROM users u
WHERE ($1::boolean IS NULL OR u.active = $1)
    AND ($2::text IS NULL OR u.access_level = $2)
    AND ($3::bigint IS NULL OR u.role_id = $3)
    AND ($4::bigint IS NULL OR EXISTS (
        SELECT FROM group_members gm WHERE gm.group_id = $4 AND gm.user_id = u.id))
    AND ($5 = '' OR strpos(lower(u.name), lower($5)) > 0 OR strpos(lower(u.email), lower($5)) > 0);

-- name: user
-- User $1 with their groups.
SELECT json_build_object(
    'id', u.id,
    'email', u.email,
    'name', u.name,
    'accessLevel', u.access_level,
    'role', r.name,
    'active', u.active,
    'groups', ARRAY(
        SELECT g.name FROM group_members gm JOIN groups g ON g.id = gm.group_id
        WHERE gm.user_id = u.id ORDER BY lower(g.name)
    ),
    'createdAt', date_trunc('second', u.created_at),
    'version', u.version
)
FROM users u
JOIN roles r ON r.id = u.role_id
WHERE u.id = $1;

-- name: default_role
-- The role of users who are given none.
SELECT r.id FROM roles r WHERE r.is_default;

-- name: insert_user
-- A new user with e-mail $1, name $2, access level $3 and global role $4.
INSERT INTO users (email, name, access_level, role_id) VALUES ($1, $2, $3, $4) RETURNING id;

-- name: lock_admins
-- All active Tenant Admins, none of whom is demoted or deactivated by another call until this one ends.
SELECT u.id FROM users u WHERE u.active AND u.access_level = 'TENANT_ADMIN' ORDER BY u.id FOR NO KEY UPDATE;

-- name: lock_user
-- User $1, whom no other call changes until this one ends.
SELECT u.email, u.name, u.access_level, u.role_id, u.active, u.version FROM users u WHERE u.id = $1
FOR NO KEY UPDATE;

-- name: update_user
-- User $1 as they are from now on, in the next version.
UPDATE users SET email = $2, name = $3, access_level = $4, role_id = $5, active = $6, version = version + 1
WHERE id = $1;

-- name: user_by_email
-- The user of e-mail $1.
SELECT u.id FROM users u WHERE lower(u.email) = lower($1);
