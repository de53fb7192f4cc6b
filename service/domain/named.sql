-- name: users_named
-- For each place in the e-mails $1 and the ids $2, the user that is meant, or null; a name comes before an id.
SELECT coalesce(named.id, numbered.id) AS id
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS given (name, id, position)
LEFT JOIN users named ON lower(named.email) = lower(given.name)
LEFT JOIN users numbered ON numbered.id = given.id AND named.id IS NULL
ORDER BY given.position;

-- name: user_names
-- The e-mails of all users; for an error's message.
SELECT u.email AS name FROM users u ORDER BY lower(u.email);

-- name: roles_named
-- For each place in the names $1 and the ids $2, the role that is meant, or null; a name comes before an id.
SELECT coalesce(named.id, numbered.id) AS id
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS given (name, id, position)
LEFT JOIN roles named ON lower(named.name) = lower(given.name)
LEFT JOIN roles numbered ON numbered.id = given.id AND named.id IS NULL
ORDER BY given.position;

-- name: role_names
-- The names of all roles; for an error's message.
SELECT r.name AS name FROM roles r ORDER BY lower(r.name);

-- name: groups_named
-- For each place in the names $1 and the ids $2, the group that is meant, or null; a name comes before an id.
SELECT coalesce(named.id, numbered.id) AS id
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS given (name, id, position)
LEFT JOIN groups named ON lower(named.name) = lower(given.name)
LEFT JOIN groups numbered ON numbered.id = given.id AND named.id IS NULL
ORDER BY given.position;

-- name: group_names
-- The names of all groups; for an error's message.
SELECT g.name AS name FROM groups g ORDER BY lower(g.name);

-- name: projects_named
-- For each place in the names $1 and the ids $2, the project that is meant, or null; a name comes before an id.
SELECT coalesce(named.id, numbered.id) AS id
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS given (name, id, position)
LEFT JOIN projects named ON lower(named.name) = lower(given.name)
LEFT JOIN projects numbered ON numbered.id = given.id AND named.id IS NULL
ORDER BY given.position;

-- name: project_names
-- The names of all projects; for an error's message.
SELECT p.name AS name FROM projects p ORDER BY lower(p.name);
