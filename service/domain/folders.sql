-- name: folders
-- All folders of project $1, siblings in order, with the number of cases directly in each.
SELECT f.id, f.parent_id, f.name, coalesce(n.cases, 0) AS case_count
FROM folders f
LEFT JOIN (
    SELECT c.folder_id, count(*) AS cases FROM cases c
    WHERE c.project_id = $1 AND c.deleted_at IS NULL
    GROUP BY c.folder_id
) n ON n.folder_id = f.id
WHERE f.project_id = $1
ORDER BY f.position, lower(f.name), f.id;

-- name: folder
-- Folder $2 of project $1 as the tools return it.
WITH RECURSIVE upward AS (
    SELECT f.parent_id, f.name::text AS path FROM folders f WHERE f.project_id = $1 AND f.id = $2
    UNION ALL
    SELECT f.parent_id, f.name || ' / ' || u.path FROM upward u JOIN folders f ON f.id = u.parent_id
)
SELECT json_strip_nulls(json_build_object(
    'id', f.id,
    'name', f.name,
    'parentId', f.parent_id,
    'path', u.path,
    'description', nullif(f.description, ''),
    'position', f.position,
    'caseCount', (
        SELECT count(*) FROM cases c WHERE c.project_id = $1 AND c.folder_id = f.id AND c.deleted_at IS NULL),
    'createdAt', date_trunc('second', f.created_at),
    'updatedAt', date_trunc('second', f.updated_at),
    'version', f.version
)) AS document
FROM folders f
JOIN upward u ON u.parent_id IS NULL
WHERE f.project_id = $1 AND f.id = $2;

-- name: lock_tree
-- The folders of project $1 change one call at a time. New cases wait as well, since they raise the project's number.
SELECT p.id FROM projects p WHERE p.id = $1 FOR NO KEY UPDATE;

-- name: lock_folder
-- Folder $2 of project $1, locked against other changes.
SELECT f.parent_id, f.depth, f.name, f.description, f.position, f.version
FROM folders f
WHERE f.project_id = $1 AND f.id = $2
FOR UPDATE;

-- name: folder_depth
-- How deep folder $2 of project $1 is.
SELECT f.depth FROM folders f WHERE f.project_id = $1 AND f.id = $2;

-- name: is_in_subtree
-- Whether folder $2 of project $1 is folder $3 or below it.
WITH RECURSIVE upward AS (
    SELECT f.id, f.parent_id FROM folders f WHERE f.project_id = $1 AND f.id = $2
    UNION ALL
    SELECT f.id, f.parent_id FROM upward u JOIN folders f ON f.id = u.parent_id
)
SELECT EXISTS (SELECT FROM upward WHERE id = $3);

-- name: insert_folder
-- A new folder in project $1, the last among its siblings.
INSERT INTO folders (project_id, parent_id, depth, name, description, position)
SELECT $1, $2::bigint, $3::smallint, $4, $5, coalesce(max(f.position) + 1, 0)
FROM folders f
WHERE f.project_id = $1 AND f.parent_id IS NOT DISTINCT FROM $2::bigint
RETURNING id;

-- name: update_folder
-- Name and description of folder $2 of project $1, and its next version.
UPDATE folders SET name = $3, description = $4, version = version + 1, updated_at = now()
WHERE project_id = $1 AND id = $2;

-- name: move_folder
-- Folder $2 of project $1 goes under $3 (null: the root), its subtree with it by $4 levels.
WITH RECURSIVE subtree AS (
    SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.id = $2
    UNION ALL
    SELECT f.id FROM subtree s JOIN folders f ON f.project_id = $1 AND f.parent_id = s.id
)
UPDATE folders SET
    depth = depth + $4::smallint,
    parent_id = CASE WHEN folders.id = $2 THEN $3::bigint ELSE folders.parent_id END
FROM subtree
WHERE folders.id = subtree.id;

-- name: siblings
-- The folders under $2 (null: the root) of project $1, in order.
SELECT f.id FROM folders f
WHERE f.project_id = $1 AND f.parent_id IS NOT DISTINCT FROM $2::bigint
ORDER BY f.position, lower(f.name), f.id;

-- name: order_folders
-- Folders $2 of project $1 are in this order from now on.
UPDATE folders SET position = o.position
FROM (SELECT id, (ordinality - 1)::integer AS position FROM unnest($2::bigint[]) WITH ORDINALITY AS u (id, ordinality)) o
WHERE folders.project_id = $1 AND folders.id = o.id AND folders.position <> o.position;

-- name: folder_contents
-- How many cases and sub-folders are in folder $2 of project $1.
SELECT
    (SELECT count(*) FROM cases c WHERE c.project_id = $1 AND c.folder_id = $2 AND c.deleted_at IS NULL) AS cases,
    (SELECT count(*) FROM folders f WHERE f.project_id = $1 AND f.parent_id = $2) AS folders;

-- name: release_deleted_cases
-- Deleted cases keep no folder from being deleted: they move to the root.
UPDATE cases SET folder_id = NULL WHERE project_id = $1 AND folder_id = $2 AND deleted_at IS NOT NULL;

-- name: delete_folder
DELETE FROM folders WHERE project_id = $1 AND id = $2;
