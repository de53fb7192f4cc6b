-- name: comments
-- The comments on case $2 of project $1, the oldest first, after id $4, as user $3 sees them; at most $5.
SELECT m.id, json_strip_nulls(json_build_object(
    'id', m.id,
    'author', json_build_object('id', u.id, 'name', u.name),
    'body', m.body,
    'createdAt', date_trunc('second', m.created_at),
    'editedAt', date_trunc('second', m.edited_at),
    'own', m.author_id = $3,
    'version', m.version
)) AS document
FROM comments m
JOIN users u ON u.id = m.author_id
WHERE m.project_id = $1 AND m.case_id = $2 AND m.deleted_at IS NULL AND ($4::bigint IS NULL OR m.id > $4)
ORDER BY m.id
LIMIT $5;

-- name: count_comments
-- How many comments case $2 of project $1 has.
SELECT count(*) FROM comments m WHERE m.project_id = $1 AND m.case_id = $2 AND m.deleted_at IS NULL;

-- name: case_of_comment
-- The case of project $1 by id $2 or number $3.
SELECT c.id FROM cases c
WHERE c.project_id = $1 AND c.deleted_at IS NULL AND (c.id = ANY ($2::bigint[]) OR c.number = ANY ($3::integer[]));

-- name: insert_comment
-- A new comment on case $2 of project $1, by the user who acts.
INSERT INTO comments (project_id, case_id, body) VALUES ($1, $2, $3) RETURNING id;

-- name: lock_comment
-- Comment $2 of project $1, locked against other changes, with whether user $3 may manage others' comments.
SELECT m.case_id, m.author_id, m.body, m.version, 'MANAGE_COMMENTS' = ANY (a.permissions) AS may_manage
FROM comments m
JOIN cases c ON c.id = m.case_id AND c.deleted_at IS NULL
JOIN project_access($3) a ON a.project_id = m.project_id AND a.allowed
WHERE m.project_id = $1 AND m.id = $2 AND m.deleted_at IS NULL
FOR UPDATE OF m;

-- name: comment
-- Comment $2 of project $1 as user $3 sees it.
SELECT json_strip_nulls(json_build_object(
    'id', m.id,
    'caseId', m.case_id,
    'author', json_build_object('id', u.id, 'name', u.name),
    'body', m.body,
    'createdAt', date_trunc('second', m.created_at),
    'editedAt', date_trunc('second', m.edited_at),
    'own', m.author_id = $3,
    'version', m.version
)) AS document
FROM comments m
JOIN users u ON u.id = m.author_id
WHERE m.project_id = $1 AND m.id = $2;

-- name: update_comment
UPDATE comments SET body = $2, edited_at = now(), version = version + 1 WHERE id = $1;

-- name: delete_comment
UPDATE comments SET deleted_at = now(), version = version + 1 WHERE id = $1;
