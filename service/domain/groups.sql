-- name: groups
-- Group $1, or all if that is null, by name; with how many members it has, and how many projects have a rule for it.
SELECT json_build_object(
    'id', g.id,
    'name', g.name,
    'description', g.description,
    'enabled', g.enabled,
    'members', (SELECT count(*) FROM group_members gm WHERE gm.group_id = g.id),
    'projects', (SELECT count(*) FROM project_groups pg WHERE pg.group_id = g.id)
) AS document
FROM groups g
WHERE $1::bigint IS NULL OR g.id = $1
ORDER BY lower(g.name);

-- name: insert_group
-- A new group with name $1 and description $2.
INSERT INTO groups (name, description) VALUES ($1, $2) RETURNING id;

-- name: lock_group
-- What of group $1 can change, which no other call does until this one ends.
SELECT g.name, g.description, g.enabled FROM groups g WHERE g.id = $1 FOR NO KEY UPDATE;

-- name: update_group
-- Group $1 with name $2 and description $3, enabled if $4, from now on.
UPDATE groups SET name = $2, description = $3, enabled = $4 WHERE id = $1;

-- name: insert_members
-- The users $2 are in group $1; those who were not before.
INSERT INTO group_members (group_id, user_id)
SELECT $1, user_id FROM unnest($2::bigint[]) AS user_id ORDER BY user_id
ON CONFLICT DO NOTHING
RETURNING user_id;

-- name: delete_members
-- The users $2 are not in group $1; those who were before.
DELETE FROM group_members WHERE group_id = $1 AND user_id = ANY ($2::bigint[]) RETURNING user_id;
