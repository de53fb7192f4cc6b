"""A project that is large in every way: three hundred of most, long texts, and a workspace full of configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.tools.conftest import Sql

# In JSON the worst are six characters for one; people write all but the last.
NAMES = "(ARRAY[repeat('W', {0}), repeat('😀', {0}), repeat('\"', {0}), repeat(E'\\x01', {0})])[1 + n % 4]"
MANY = 300
_QUERIES = (
    "UPDATE projects SET summary = repeat('s', 2000) WHERE id = $1",
    # Configuration, which is the workspace's.
    """
    INSERT INTO tags (context, name)
    SELECT c, rpad('tag-' || n || '-', 50, 'x') FROM generate_series(1, 300) n, unnest(ARRAY['REPOSITORY', 'RUNS']) c
    """,
    f"""
    INSERT INTO environments (name) SELECT n || {NAMES.format(150)} FROM generate_series(1, 300) n
    """,
    f"""
    WITH made AS (
        INSERT INTO platform_groups (name) SELECT n || {NAMES.format(90)} FROM generate_series(1, 10) n RETURNING id
    ), platform AS (
        INSERT INTO platforms (group_id, name) SELECT id, repeat('p', 100) FROM made RETURNING group_id, id
    )
    INSERT INTO environment_platforms (environment_id, group_id, platform_id)
    SELECT e.id, p.group_id, p.id FROM environments e, platform p
    """,
    f"""
    INSERT INTO lifecycle_states (name, context)
    SELECT n || {NAMES.format(90)}, c FROM generate_series(1, 300) n, unnest(ARRAY['REPOSITORY', 'RUNS']) c
    """,
    f"""
    INSERT INTO statuses (system_name, name, failure, completed)
    SELECT 'status-' || n, n || {NAMES.format(90)}, true, true FROM generate_series(1, 30) n
    """,
    f"""
    INSERT INTO cycle_types (name) SELECT n || {NAMES.format(90)} FROM generate_series(1, 30) n
    """,
    f"""
    INSERT INTO sources (name, system, key_pattern, example, base_url)
    SELECT n || {NAMES.format(90)}, 'JIRA', '[A-Z]+-[0-9]+', repeat('e', 100), 'https://tracker.example/' || n
    FROM generate_series(1, 100) n
    """,
    f"""
    INSERT INTO relations (name, semantic)
    SELECT n || {NAMES.format(90)}, s FROM generate_series(1, 100) n, unnest(ARRAY['GENERAL', 'DEFECT']) s
    WHERE (n % 2 = 0) = (s = 'DEFECT')
    """,
    f"""
    INSERT INTO users (email, name, role_id)
    SELECT 'user-' || n || '@' || repeat('e', 50) || '.example', n || {NAMES.format(90)}, r.id
    FROM generate_series(1, 300) n, roles r WHERE r.is_default
    """,
    f"""
    WITH field AS (
        INSERT INTO fields (system_name, label, type)
        SELECT 'field_' || n, {NAMES.format(100)}, 'DROPDOWN' FROM generate_series(1, 30) n RETURNING id, type
    ), options AS (
        INSERT INTO field_options (field_id, type, value, label, position)
        SELECT id, type, n || repeat('v', 90), {NAMES.format(100)}, n FROM field, generate_series(0, 49) n
    ), template AS (
        INSERT INTO templates (name) SELECT n || {NAMES.format(90)} FROM generate_series(1, 30) n RETURNING id
    )
    INSERT INTO template_fields (template_id, field_id)
    SELECT t.id, f.id FROM template t, field f
    """,
    # Folders: 15 chains of 20.
    f"""
    WITH RECURSIVE place AS (
        SELECT nextval('ids') AS id, n, NULL::bigint AS parent_id, 1 AS depth FROM generate_series(1, 15) n
        UNION ALL
        SELECT nextval('ids'), n, id, depth + 1 FROM place WHERE depth < 20
    )
    INSERT INTO folders (id, project_id, parent_id, depth, name, description)
    SELECT id, $1, parent_id, depth, {NAMES.format(255)}, repeat('d', 2000) FROM place
    """,
    f"""
    INSERT INTO cases (project_id, number, title, folder_id, template_id, lifecycle_state_id, created_by, updated_by)
    SELECT $1, n, 'Case ' || n || {NAMES.format(245)},
        (SELECT f.id FROM folders f WHERE f.project_id = $1 AND f.depth = 20 ORDER BY f.id LIMIT 1),
        t.id, l.id, $2, $2
    FROM generate_series(1, 300) n, templates t, lifecycle_states l
    WHERE t.is_default AND l.is_default AND l.context = 'REPOSITORY'
    """,
    "UPDATE projects SET last_case_number = 300 WHERE id = $1",
    """
    INSERT INTO case_versions (case_id, version, snapshot, created_by)
    SELECT id, 1, jsonb_build_object('title', title), $2 FROM cases WHERE project_id = $1
    """,
    """
    INSERT INTO case_tags (case_id, tag_id)
    SELECT c.id, t.id FROM cases c,
        (SELECT id FROM tags WHERE context = 'REPOSITORY' AND name LIKE 'tag-%' ORDER BY id LIMIT 50) t
    WHERE c.project_id = $1
    """,
    """
    INSERT INTO case_environments (case_id, environment_id)
    SELECT c.id, e.id FROM cases c, (SELECT id FROM environments ORDER BY id LIMIT 30) e
    WHERE c.project_id = $1
    """,
    """
    INSERT INTO case_steps (case_id, field_id, position, step, expected_result)
    SELECT c.id, f.id, n, repeat('s', 100), repeat('e', 100) FROM cases c, fields f, generate_series(1, 200) n
    WHERE c.project_id = $1 AND c.number = 1 AND f.type = 'STEPS' AND f.system_name = 'steps'
    """,
    """
    INSERT INTO comments (project_id, case_id, author_id, body)
    SELECT $1, c.id, $2, repeat('b', CASE n % 10 WHEN 0 THEN 10000 ELSE 500 END)
    FROM cases c, generate_series(1, 300) n WHERE c.project_id = $1 AND c.number = 1
    """,
    # Cycles: 100 chains of 3.
    f"""
    WITH RECURSIVE place AS (
        SELECT nextval('ids') AS id, n, NULL::bigint AS parent_id, 1 AS depth FROM generate_series(1, 100) n
        UNION ALL
        SELECT nextval('ids'), n, id, depth + 1 FROM place WHERE depth < 3
    )
    INSERT INTO cycles (id, project_id, type_id, parent_id, depth, name, description)
    SELECT p.id, $1, (SELECT y.id FROM cycle_types y WHERE y.is_default), p.parent_id, p.depth, {NAMES.format(255)},
        repeat('d', 2000)
    FROM place p
    """,
    # Runs in one branch of cycles; the first one has every case.
    f"""
    INSERT INTO runs (project_id, cycle_id, environment_id, lifecycle_state_id, title, notes, created_by)
    SELECT $1, (SELECT min(c.id) FROM cycles c WHERE c.project_id = $1 AND c.depth = 1 + n % 3),
        (SELECT min(e.id) FROM environments e), l.id, {NAMES.format(255)}, repeat('n', 5000), $2
    FROM generate_series(1, 300) n, lifecycle_states l WHERE l.is_default AND l.context = 'RUNS'
    """,
    """
    INSERT INTO run_tags (run_id, tag_id)
    SELECT r.id, t.id FROM runs r,
        (SELECT id FROM tags WHERE context = 'RUNS' AND name LIKE 'tag-%' ORDER BY id LIMIT 50) t
    WHERE r.project_id = $1
    """,
    """
    WITH failing AS (
        SELECT s.id, row_number() OVER (ORDER BY s.id) AS place FROM statuses s WHERE s.system_name LIKE 'status-%'
    ), assignee AS (
        SELECT u.id, row_number() OVER (ORDER BY u.id) AS place FROM users u WHERE u.email LIKE 'user-%'
    )
    INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id, assignee_id)
    SELECT r.id, c.id, $1, 1, f.id, a.id
    FROM runs r
    JOIN cases c ON c.project_id = $1 AND (c.number = 1 OR r.id = (SELECT min(i.id) FROM runs i))
    JOIN failing f ON f.place = 1 + c.number % 30
    JOIN assignee a ON a.place = c.number
    WHERE r.project_id = $1
    """,
    """
    WITH made AS (
        INSERT INTO results (run_id, case_id, case_version, status_id, comment, created_by)
        SELECT rc.run_id, rc.case_id, 1, rc.status_id, repeat('c', 10000), $2
        FROM run_cases rc JOIN cases c ON c.id = rc.case_id
        CROSS JOIN LATERAL generate_series(
            1, CASE WHEN c.number = 1 AND rc.run_id = (SELECT min(i.id) FROM runs i) THEN 300 ELSE 1 END
        ) n
        WHERE rc.project_id = $1
        RETURNING id, run_id, case_id
    ), latest AS (
        SELECT max(id) AS id, run_id, case_id FROM made GROUP BY run_id, case_id
    )
    UPDATE run_cases rc SET latest_result_id = l.id FROM latest l
    WHERE rc.run_id = l.run_id AND rc.case_id = l.case_id
    """,
    # With its own, the comments on a result are then as long as they may be.
    """
    INSERT INTO result_steps (result_id, position, outcome, comment)
    SELECT rc.latest_result_id, n, 'fail', repeat('c', 50)
    FROM run_cases rc JOIN cases c ON c.id = rc.case_id, generate_series(1, 200) n
    WHERE rc.project_id = $1 AND c.number = 1 AND rc.run_id = (SELECT min(i.id) FROM runs i)
    """,
    # Issues: the first is on every case and on every result; the others on the first case and its result.
    """
    INSERT INTO issues (project_id, source_id, key, url, title, status, synced_at)
    SELECT $1, (SELECT min(s.id) FROM sources s), 'LARGE-' || n, 'https://tracker.example/' || repeat('u', 900),
        repeat('t', 500), repeat('s', 100), now()
    FROM generate_series(1, 300) n
    """,
    """
    WITH first AS (SELECT min(i.id) AS id FROM issues i WHERE i.project_id = $1)
    INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by)
    SELECT $1, i.id, r.id, c.id, $2
    FROM issues i JOIN cases c ON c.project_id = i.project_id
    JOIN relations r ON r.is_default AND r.semantic = 'GENERAL'
    WHERE i.project_id = $1 AND (c.number = 1 OR i.id = (SELECT f.id FROM first f) AND c.number <= 299)
    """,
    """
    WITH first AS (SELECT min(i.id) AS id FROM issues i WHERE i.project_id = $1)
    INSERT INTO links (project_id, issue_id, relation_id, result_id, created_by)
    SELECT $1, i.id, r.id, rc.latest_result_id, $2
    FROM issues i JOIN run_cases rc ON rc.project_id = i.project_id JOIN cases c ON c.id = rc.case_id
    JOIN relations r ON r.is_default AND r.semantic = 'DEFECT'
    WHERE i.project_id = $1 AND c.number % 2 = 1
        AND (c.number = 1 AND rc.run_id = (SELECT min(m.id) FROM runs m) AND i.id < (SELECT f.id + 100 FROM first f)
            OR i.id = (SELECT f.id FROM first f))
    """,
)


async def fill(sql: Sql, project: int, user: int) -> None:
    """Fill an empty project and its workspace; *user* is who made everything."""
    for query in _QUERIES:
        given = (project, user) if "$2" in query else (project,) if "$1" in query else ()
        await sql.rows(query, *given)
