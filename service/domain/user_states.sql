-- name: keep_user_state
-- The user of e-mail $1 and whether they are active, which nobody changes until the end.
SELECT u.id, u.active FROM users u WHERE lower(u.email) = lower($1) FOR SHARE;

-- name: emails_of_users
-- The e-mail of each user in $1.
SELECT u.id, u.email FROM users u WHERE u.id = ANY ($1::bigint[]);
