-- What a new workspace starts with; run once, as the owner, in the transaction that creates the workspace.

INSERT INTO roles (name, description, permissions, is_default) VALUES
    ('Lead', 'Everything.', ARRAY[
        'VIEW_TEST_CASES', 'CREATE_TEST_CASES', 'EDIT_TEST_CASES', 'DELETE_TEST_CASES', 'BULK_EDIT_TEST_CASES',
        'VIEW_TEST_RUNS', 'CREATE_TEST_RUNS', 'DELETE_TEST_RUNS', 'EXECUTE_TESTS', 'REVIEW_RESULTS',
        'VIEW_FOLDERS', 'MANAGE_FOLDERS', 'VIEW_EXTERNAL_REFERENCES', 'MANAGE_EXTERNAL_REFERENCES',
        'VIEW_CYCLES', 'MANAGE_CYCLES', 'ADD_COMMENTS', 'MANAGE_COMMENTS', 'VIEW_DASHBOARD', 'VIEW_ADVANCED_REPORTS'
    ], false),
    ('Tester', 'Everything but deleting, bulk edits and managing others'' comments.', ARRAY[
        'VIEW_TEST_CASES', 'CREATE_TEST_CASES', 'EDIT_TEST_CASES',
        'VIEW_TEST_RUNS', 'CREATE_TEST_RUNS', 'EXECUTE_TESTS', 'REVIEW_RESULTS',
        'VIEW_FOLDERS', 'MANAGE_FOLDERS', 'VIEW_EXTERNAL_REFERENCES', 'MANAGE_EXTERNAL_REFERENCES',
        'VIEW_CYCLES', 'MANAGE_CYCLES', 'ADD_COMMENTS', 'VIEW_DASHBOARD', 'VIEW_ADVANCED_REPORTS'
    ], true),
    ('Viewer', 'Reads, and changes nothing.', ARRAY[
        'VIEW_TEST_CASES', 'VIEW_TEST_RUNS', 'VIEW_FOLDERS', 'VIEW_EXTERNAL_REFERENCES', 'VIEW_CYCLES',
        'VIEW_DASHBOARD', 'VIEW_ADVANCED_REPORTS'
    ], false);

INSERT INTO statuses (system_name, name, color, is_initial, success, failure, completed, position) VALUES
    ('untested', 'Untested', '#6b7280', true, false, false, false, 0),
    ('passed', 'Passed', '#1a7f37', false, true, false, true, 1),
    ('failed', 'Failed', '#cf222e', false, false, true, true, 2),
    ('blocked', 'Blocked', '#9a6700', false, false, false, false, 3),
    ('skipped', 'Skipped', '#57606a', false, false, false, true, 4),
    ('retest', 'Retest', '#0969da', false, false, false, false, 5);

INSERT INTO lifecycle_states (context, name, color, is_default, include_in_runs, automation, position) VALUES
    ('REPOSITORY', 'Draft', '#6b7280', false, false, NULL, 0),
    ('REPOSITORY', 'Ready', '#1a7f37', true, true, NULL, 1),
    ('REPOSITORY', 'Deprecated', '#9a6700', false, false, NULL, 2),
    ('RUNS', 'Planned', '#6b7280', true, false, NULL, 0),
    ('RUNS', 'In Progress', '#0969da', false, false, 'FIRST_RESULT', 1),
    ('RUNS', 'Closed', '#1a7f37', false, false, 'RUN_CLOSED', 2);

INSERT INTO fields (system_name, label, type) VALUES
    ('priority', 'Priority', 'DROPDOWN'),
    ('preconditions', 'Preconditions', 'STRING'),
    ('steps', 'Steps', 'STEPS');

INSERT INTO field_options (field_id, type, value, label, position)
SELECT f.id, f.type, choice.value, choice.value, choice.position
FROM fields f, (VALUES ('Critical', 0), ('High', 1), ('Medium', 2), ('Low', 3)) AS choice (value, position)
WHERE f.system_name = 'priority';

INSERT INTO field_slots (field_id, slot, label, position)
SELECT f.id, slot.name, slot.label, slot.position
FROM fields f,
    (VALUES ('step', 'Step', 0), ('expectedResult', 'Expected result', 1), ('actualResult', 'Actual result', 2),
        ('notes', 'Notes', 3)) AS slot (name, label, position)
WHERE f.system_name = 'steps';

INSERT INTO templates (name, is_default) VALUES ('Test Case', true);

INSERT INTO template_fields (template_id, field_id, default_value)
SELECT t.id, f.id, CASE f.system_name WHEN 'priority' THEN '"Medium"'::jsonb END
FROM templates t, fields f;

INSERT INTO cycle_types (name, icon, color, is_default) VALUES
    ('Sprint', 'repeat', '#0969da', true),
    ('Release', 'rocket', '#8250df', false);

INSERT INTO relations (name, semantic, is_system, is_default) VALUES
    ('Covers', 'GENERAL', true, true),
    ('Relates to', 'GENERAL', true, false),
    ('Defect', 'DEFECT', true, true);
