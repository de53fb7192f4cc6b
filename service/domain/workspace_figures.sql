-- name: count_what_is_there
-- How many of each there are, for who looks at a workspace from outside.
SELECT
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM users u WHERE u.active) AS active_users,
    (SELECT count(*) FROM projects) AS projects,
    (SELECT count(*) FROM cases c WHERE c.deleted_at IS NULL) AS cases,
    (SELECT count(*) FROM runs) AS runs,
    (SELECT count(*) FROM results) AS results;
