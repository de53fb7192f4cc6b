-- The same SQL as one get_test_case, in one round trip more: pgbench prepares all of a pipeline before it begins, when
-- the workspace's function is not in the path yet. One script for each
-- workspace, chosen at random, so that its plans are kept as the service keeps them.
\set number random(1, :cases)
SELECT workspace_id, schema_name, schema_version, compatible_from, user_id, api_key_id, touch_due FROM control.authenticate_key(decode(:hash, 'hex'));
\startpipeline
BEGIN READ ONLY;
SET LOCAL ROLE :role;
SET LOCAL search_path = :role, pg_temp;
SET LOCAL statement_timeout = 10000;
SET LOCAL lock_timeout = 3000;
SET LOCAL timezone = 'UTC';
SET LOCAL idle_in_transaction_session_timeout = 20000;
SET LOCAL plan_cache_mode = force_generic_plan;
\endpipeline
SELECT require_access(:user_id, :project, '{VIEW_TEST_CASES}');
--case_documents--
COMMIT;
