-- name: insert_user
-- A new user with e-mail $1, name $2, access level $3 and the global role of name $4.
INSERT INTO users (email, name, access_level, role_id)
SELECT $1, $2, $3, r.id FROM roles r WHERE r.name = $4
RETURNING id;

-- name: user_by_email
-- The user of e-mail $1.
SELECT u.id FROM users u WHERE lower(u.email) = lower($1);
