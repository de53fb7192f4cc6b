-- name: access_to_project
-- What user $1 may do in project $2; no row when that is nothing. The rules are in the function, see the migrations.
SELECT role, permissions, reason
FROM project_access($1)
WHERE project_id = $2 AND allowed;

-- name: explain_access
-- Whether and why user $1 may enter project $2.
SELECT allowed, role, permissions, reason
FROM project_access($1)
WHERE project_id = $2;
