-- name: set_user_state
-- Make the user of e-mail $1 active ($2) or not, with the audit row of an operator's command $3. The user's id, and
-- whether this changed anything; no row where there is no such user. The user's row stays locked until the end.
WITH found AS (
    SELECT u.id, u.active FROM users u WHERE lower(u.email) = lower($1) FOR UPDATE
),
changed AS (
    UPDATE users u SET active = $2, version = u.version + 1
    FROM found
    WHERE u.id = found.id AND found.active <> $2
    RETURNING u.id, u.version
),
noted AS (
    INSERT INTO audit_log (tool, action, object_type, object_id, version_before, version_after, details)
    SELECT $3, 'update', 'user', changed.id, changed.version - 1, changed.version, jsonb_build_object('active', $2)
    FROM changed
)
SELECT found.id, EXISTS (SELECT FROM changed) AS has_changed FROM found;

-- name: keep_user_state
-- The user of e-mail $1 and whether they are active, which nobody changes until the end.
SELECT u.id, u.active FROM users u WHERE lower(u.email) = lower($1) FOR SHARE;

-- name: emails_of_users
-- The e-mail of each user in $1.
SELECT u.id, u.email FROM users u WHERE u.id = ANY ($1::bigint[]);
