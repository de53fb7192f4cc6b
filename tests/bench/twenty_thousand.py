"""A project of 20,000 cases as years of work leave it: 5,000 folders, 60 runs, 100,000 results, 2,000 issues."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenancy.session import WorkspaceConnection

CASES = 20_000
_QUERIES = (
    # 10 folders at the top, 10 in each, 50 in each of those.
    """
    INSERT INTO folders (project_id, name, position) SELECT $1, 'Area ' || n, n FROM generate_series(1, 10) n
    """,
    """
    INSERT INTO folders (project_id, parent_id, depth, name, position)
    SELECT $1, f.id, 2, f.name || ' feature ' || n, n FROM folders f, generate_series(1, 10) n WHERE f.project_id = $1
    """,
    """
    INSERT INTO folders (project_id, parent_id, depth, name, position)
    SELECT $1, f.id, 3, 'Story ' || n, n FROM folders f, generate_series(1, 50) n
    WHERE f.project_id = $1 AND f.depth = 2
    """,
    """
    WITH leaf AS (
        SELECT f.id, row_number() OVER (ORDER BY f.id) AS place FROM folders f WHERE f.project_id = $1 AND f.depth = 3
    )
    INSERT INTO cases (project_id, number, title, folder_id, template_id, lifecycle_state_id, created_by, updated_by)
    SELECT $1, n, 'Customer can do thing ' || n || ' with the usual settings', l.id, t.id, s.id, $2, $2
    FROM generate_series(1, 20000) n
    JOIN leaf l ON l.place = 1 + n % 5000
    CROSS JOIN templates t CROSS JOIN lifecycle_states s
    WHERE t.is_default AND s.is_default AND s.context = 'REPOSITORY'
    """,
    "UPDATE projects SET last_case_number = 20000 WHERE id = $1",
    """
    INSERT INTO case_versions (case_id, version, snapshot, created_by)
    SELECT c.id, 1, jsonb_build_object('title', c.title, 'fields', jsonb_build_object('priority', 'High')), $2
    FROM cases c WHERE c.project_id = $1
    """,
    """
    INSERT INTO case_field_values (case_id, field_id, type, value)
    SELECT c.id, f.id, f.type, '"High"' FROM cases c, fields f WHERE c.project_id = $1 AND f.system_name = 'priority'
    """,
    """
    INSERT INTO case_steps (case_id, field_id, position, type, step, expected_result)
    SELECT c.id, f.id, n, f.type, 'Do step ' || n, 'It is **done**'
    FROM cases c, fields f, generate_series(1, 5) n WHERE c.project_id = $1 AND f.type = 'STEPS'
    """,
    """
    INSERT INTO case_tags (case_id, tag_id)
    SELECT c.id, t.id FROM cases c, tags t WHERE c.project_id = $1 AND t.context = 'REPOSITORY' AND c.number % 7 = 0
    """,
    """
    INSERT INTO cycles (project_id, type_id, name, state, start_date)
    SELECT $1, t.id, 'Sprint ' || n, 'ACTIVE', current_date - 14 * n
    FROM generate_series(1, 30) n, cycle_types t WHERE t.is_default
    """,
    # One run of all cases, the others of 1,500; 50 of them closed.
    """
    INSERT INTO runs (project_id, cycle_id, lifecycle_state_id, title, created_by, created_at, closed_at, closed_by)
    SELECT $1, (SELECT min(y.id) + n % 30 FROM cycles y WHERE y.project_id = $1), l.id, 'Regression ' || n, $2::bigint,
        now() - interval '1 day' * (60 - n),
        CASE WHEN n <= 50 THEN now() - interval '1 day' * (59 - n) END, CASE WHEN n <= 50 THEN $2::bigint END
    FROM generate_series(1, 60) n, lifecycle_states l WHERE l.is_default AND l.context = 'RUNS'
    """,
    """
    WITH run AS (
        SELECT r.id, row_number() OVER (ORDER BY r.id) AS place FROM runs r WHERE r.project_id = $1
    )
    INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id, assignee_id)
    SELECT r.id, c.id, $1, 1, s.id, CASE WHEN c.number % 3 = 0 THEN $2::bigint END
    FROM run r JOIN cases c ON c.project_id = $1 AND (r.place = 60 OR (c.number + 331 * r.place) % 20000 < 1500)
    CROSS JOIN statuses s WHERE s.is_initial
    """,
    """
    WITH status AS (
        SELECT s.id, row_number() OVER (ORDER BY s.position) AS place FROM statuses s WHERE NOT s.is_initial
    ), made AS (
        INSERT INTO results (run_id, case_id, case_version, status_id, comment, elapsed_seconds, created_by, created_at)
        SELECT rc.run_id, rc.case_id, 1, s.id, 'Seen', 30, $2,
            r.created_at + interval '1 second' * (hashint8(rc.case_id) & 65535)
        FROM run_cases rc
        JOIN runs r ON r.id = rc.run_id
        JOIN cases c ON c.id = rc.case_id
        JOIN status s ON s.place = CASE c.number % 20 WHEN 0 THEN 2 WHEN 1 THEN 3 WHEN 2 THEN 4 ELSE 1 END
        WHERE rc.project_id = $1 AND (c.number + rc.run_id) % 10 > 0
        RETURNING id, run_id, case_id, status_id
    )
    UPDATE run_cases rc SET latest_result_id = m.id, status_id = m.status_id
    FROM made m WHERE rc.run_id = m.run_id AND rc.case_id = m.case_id
    """,
    """
    INSERT INTO sources (name, system, key_pattern, base_url)
    VALUES ('Large tracker ' || $1::bigint, 'JIRA', '[A-Z]+-[0-9]+', 'https://tracker.example')
    """,
    """
    INSERT INTO issues (project_id, source_id, key, url, title, status)
    SELECT $1, s.id, 'SHOP-' || n, 'https://tracker.example/browse/SHOP-' || n,
        'Customer wants thing ' || n, 'In progress'
    FROM generate_series(1, 2000) n, sources s WHERE s.name = 'Large tracker ' || $1::bigint
    """,
    """
    INSERT INTO links (project_id, issue_id, relation_id, case_id, created_by)
    SELECT $1, i.id, r.id, c.id, $2
    FROM cases c
    JOIN issues i ON i.project_id = $1 AND i.key = 'SHOP-' || 1 + c.number % 1800
    JOIN relations r ON r.is_default AND r.semantic = 'GENERAL'
    WHERE c.project_id = $1 AND c.number % 2 = 0
    """,
    """
    INSERT INTO links (project_id, issue_id, relation_id, result_id, created_by)
    SELECT $1, i.id, r.id, rc.latest_result_id, $2
    FROM run_cases rc
    JOIN statuses s ON s.id = rc.status_id AND s.failure
    JOIN cases c ON c.id = rc.case_id
    JOIN issues i ON i.project_id = $1 AND i.key = 'SHOP-' || 1801 + c.number % 100
    JOIN relations r ON r.is_default AND r.semantic = 'DEFECT'
    WHERE rc.project_id = $1 AND c.number % 40 = 0
    """,
    """
    INSERT INTO audit_log (user_id, tool, action, object_type, object_id, project_id, version_after)
    SELECT $2, 'record_test_results', 'create', 'result', e.id, $1, 1
    FROM results e JOIN runs r ON r.id = e.run_id WHERE r.project_id = $1
    """,
)


async def fill(workspace: WorkspaceConnection, project: int, user: int) -> None:
    """Fill an empty project; *user* is who made everything."""
    for query in _QUERIES:
        await workspace.execute(query, *((project, user) if "$2" in query else (project,)))
