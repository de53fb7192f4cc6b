-- name: names
-- The names of $2 of the tags of context $1; for an error's message.
SELECT g.name FROM tags g WHERE g.context = $1 ORDER BY lower(g.name) LIMIT $2;
