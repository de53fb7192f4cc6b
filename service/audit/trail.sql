-- name: append_to_audit_log
-- One row for each change.
INSERT INTO audit_log (action, object_type, object_id, project_id, version_before, version_after, details)
SELECT change.*
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[], $7::jsonb[]) AS change;
