-- name: append_to_audit_log
-- One row for each change: user $1 with key $2 by tool $3.
INSERT INTO audit_log (
    user_id, api_key_id, tool, action, object_type, object_id, project_id, version_before, version_after, details
)
SELECT $1, $2, $3, change.*
FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::jsonb[]) AS change;
