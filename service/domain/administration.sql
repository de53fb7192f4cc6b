-- name: acting_level
-- The access level of user $1, unless they are deactivated.
SELECT u.access_level FROM users u WHERE u.id = $1 AND u.active;
