-- The same SQL in the same five round trips as one get_test_case. Variables: hash, role, user_id, project.
\set number random(1, :cases)
SELECT workspace_id, schema_name, schema_version, user_id, api_key_id, touch_due FROM control.authenticate(decode(:hash, 'hex'));
\startpipeline
BEGIN READ ONLY;
SET LOCAL ROLE :role;
SET LOCAL search_path = :role, pg_temp;
SET LOCAL statement_timeout = 10000;
SET LOCAL lock_timeout = 3000;
SET LOCAL timezone = 'UTC';
SET LOCAL idle_in_transaction_session_timeout = 20000;
\endpipeline
SELECT role, permissions, reason FROM project_access(:user_id) WHERE project_id = :project AND allowed;
--case_documents--
COMMIT;
