-- name: last_change
-- Who made the present version of object $1, and when; for a conflict's message.
SELECT u.name, date_trunc('second', a.created_at) AS created_at
FROM audit_log a
LEFT JOIN users u ON u.id = a.user_id
WHERE a.object_id = $1
ORDER BY a.id DESC
LIMIT 1;
