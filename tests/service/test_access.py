"""Who may do what: the database's answer for every combination of rules, against an oracle written from the design."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import asyncpg
import pytest
import structlog

from migrations.workspace.tables import PERMISSIONS
from service.access import Permission, access_gate, is_denial
from tenancy.connection import connect
from tenancy.session import as_owner
from tests.conftest import MISSING, ToolFailed

MODES = ("INHERIT", "NO_ACCESS", "FORCE_GLOBAL_ROLE", "FORCE_ROLE")
LEVELS = ("REGULAR_USER", "PROJECT_ADMIN", "TENANT_ADMIN")
# Each role gives something of its own and something that another gives as well.
ROLES = {
    "global": {"VIEW_TEST_CASES", "VIEW_FOLDERS"},
    "override": {"EDIT_TEST_CASES", "VIEW_FOLDERS"},
    "forced": {"CREATE_TEST_CASES", "VIEW_FOLDERS"},
    "first group": {"VIEW_CYCLES", "VIEW_FOLDERS"},
    "second group": {"MANAGE_CYCLES", "VIEW_FOLDERS"},
    "default": {"ADD_COMMENTS", "VIEW_FOLDERS"},
    "empty": set(),
}
MEMBER_RULES = [None, *itertools.product(MODES, (False, True))]
GROUP_RULES = [None, *itertools.product(MODES, (True, False))]
DEFAULTS = ("NO_ACCESS", "GLOBAL_ROLE", "ROLE")
COMBINATIONS = list(itertools.product(MEMBER_RULES, GROUP_RULES, GROUP_RULES, DEFAULTS))
USERS = list(itertools.product((True, False), LEVELS))


def expected_roles(active, member, groups, default):
    """Return the names of the roles that hold by design.md §5, or None for no access."""
    if not active:
        return None
    if member is not None:
        mode, overridden = member
        return {
            "INHERIT": {"override" if overridden else "global"},
            "NO_ACCESS": None,
            "FORCE_GLOBAL_ROLE": {"global"},
            "FORCE_ROLE": {"forced"},
        }[mode]
    enabled = [(name, rule[0]) for name, rule in groups.items() if rule is not None and rule[1]]
    if any(mode == "NO_ACCESS" for _, mode in enabled):
        return None
    if enabled:
        return {name if mode == "FORCE_ROLE" else "global" for name, mode in enabled}
    return {"NO_ACCESS": None, "GLOBAL_ROLE": {"global"}, "ROLE": {"default"}}[default]


def test_the_oracle_says_what_the_design_says():
    nobody = {"first group": None, "second group": None}
    blocked = {"first group": ("NO_ACCESS", True), "second group": ("FORCE_ROLE", True)}
    assert expected_roles(True, None, nobody, "NO_ACCESS") is None
    assert expected_roles(True, ("FORCE_ROLE", True), blocked, "NO_ACCESS") == {"forced"}
    assert expected_roles(True, None, blocked, "GLOBAL_ROLE") is None
    assert expected_roles(True, None, {**blocked, "first group": ("INHERIT", True)}, "NO_ACCESS") == {
        "global",
        "second group",
    }
    assert expected_roles(True, None, {**blocked, "first group": ("NO_ACCESS", False)}, "ROLE") == {"second group"}


@dataclass(frozen=True)
class Table:
    """All rules laid out: a project for each combination, a user for each activity and level."""

    projects: dict[tuple, int]
    users: dict[tuple, int]


@pytest.fixture
async def workspace(world, acme):
    """Queries in acme, of which nothing stays."""
    connection = await connect(world.admin_url, name="the test server")
    transaction = connection.transaction()
    await transaction.start()
    async with as_owner(connection, acme.workspace.schema_name) as made:
        yield made
    await transaction.rollback()
    await connection.close()


async def make_roles(workspace):
    return {
        name: await workspace.fetchval(
            "INSERT INTO roles (name, permissions) VALUES ($1, $2) RETURNING id", name, sorted(permissions)
        )
        for name, permissions in ROLES.items()
    }


async def make_user(workspace, name, *, role, active=True, level="REGULAR_USER"):
    return await workspace.fetchval(
        "INSERT INTO users (email, name, role_id, active, access_level) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        f"{name}@table.example",
        name,
        role,
        active,
        level,
    )


@pytest.fixture
async def table(workspace):
    roles = await make_roles(workspace)
    users = {
        (active, level): await make_user(
            workspace, f"{level}-{active}".lower(), role=roles["global"], active=active, level=level
        )
        for active, level in USERS
    }
    groups = {}
    for name, enabled in [
        *itertools.product(("first group", "second group"), (True, False)),
        ("without members", True),
    ]:
        group = groups[name, enabled] = await workspace.fetchval(
            "INSERT INTO groups (name, enabled) VALUES ($1, $2) RETURNING id", f"{name} {enabled}", enabled
        )
        if name != "without members":
            await workspace.execute(
                "INSERT INTO group_members (group_id, user_id) SELECT $1, u FROM unnest($2::bigint[]) u",
                group,
                list(users.values()),
            )
    projects, members, rules = {}, [], []
    for number, combination in enumerate(COMBINATIONS):
        member, first, second, default = combination
        project = projects[combination] = await workspace.fetchval(
            "INSERT INTO projects (name, default_access, default_role_id) VALUES ($1, $2, $3) RETURNING id",
            f"Combination {number}",
            default,
            roles["default"] if default == "ROLE" else None,
        )
        if member is not None:
            mode, overridden = member
            forced = roles["forced"] if mode == "FORCE_ROLE" else None
            members.append((project, mode, forced, roles["override"] if overridden else None))
        for name, rule in (("first group", first), ("second group", second)):
            if rule is not None:
                mode, enabled = rule
                rules.append((project, groups[name, enabled], mode, roles[name] if mode == "FORCE_ROLE" else None))
        rules.append((project, groups["without members", True], "NO_ACCESS", None))
    await workspace.execute(
        "INSERT INTO project_members (project_id, user_id, mode, forced_role_id, override_role_id) "
        "SELECT m.project_id, u, m.mode, m.forced, m.override "
        "FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS m (project_id, mode, forced, override) "
        "CROSS JOIN unnest($5::bigint[]) AS u",
        *map(list, zip(*members, strict=True)),
        list(users.values()),
    )
    await workspace.execute(
        "INSERT INTO project_groups (project_id, group_id, mode, forced_role_id) "
        "SELECT r.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS r",
        *map(list, zip(*rules, strict=True)),
    )
    return Table(projects, users)


async def allows(workspace, user, project, permissions=()):
    """Return whether the gate lets the user pass."""
    refusal = None
    try:
        async with workspace.savepoint():
            await workspace.execute(access_gate(user_id=user, project_id=project, permissions=permissions))
    except asyncpg.PostgresError as error:
        refusal = error
    assert refusal is None or (is_denial(refusal) and str(refusal))
    return refusal is None


async def test_the_answer_is_right_for_every_combination_of_rules(workspace, table):
    tried, wrong, gates = 0, [], set()
    for (active, level), user in table.users.items():
        rows = await workspace.fetch(
            "SELECT project_id, allowed, role, permissions, reason FROM project_access($1)", user
        )
        found = {row["project_id"]: row for row in rows}
        for combination, project in table.projects.items():
            member, first, second, default = combination
            roles = expected_roles(active, member, {"first group": first, "second group": second}, default)
            permissions = sorted(set().union(*(ROLES[name] for name in roles))) if roles else []
            role = ", ".join(sorted(roles)) if roles else None
            row = found[project]
            tried += 1
            if (row["allowed"], row["role"], row["permissions"]) != (roles is not None, role, permissions):
                wrong.append((active, level, combination, dict(row)))
            if not row["reason"]:
                wrong.append((active, level, combination, "no reason"))
            # The gate for one combination of each outcome and reason.
            if (sample := (active, role, row["reason"])) not in gates:
                gates.add(sample)
                assert await allows(workspace, user, project) == (roles is not None), combination
                assert await allows(workspace, user, project, permissions) == (roles is not None), combination
                lacking = next(p for p in Permission if p not in permissions)
                assert not await allows(workspace, user, project, [*permissions, lacking]), combination
    assert wrong == []
    assert tried == len(COMBINATIONS) * len(USERS) == 2_187 * 6
    assert len(gates) == 20


async def test_the_reason_names_the_rule_that_decided(workspace, table):
    user = table.users[True, "REGULAR_USER"]
    reasons = {
        (None, None, None, "ROLE"): "default access ROLE",
        (None, None, None, "NO_ACCESS"): "default access NO_ACCESS",
        (("INHERIT", True), None, None, "ROLE"): "member rule INHERIT with a role override",
        (("INHERIT", False), None, None, "ROLE"): "member rule INHERIT",
        (("NO_ACCESS", True), None, None, "ROLE"): "member rule NO_ACCESS",
        (None, ("INHERIT", True), ("FORCE_ROLE", False), "ROLE"): "rules of groups first group True",
        (None, ("INHERIT", True), ("NO_ACCESS", True), "ROLE"): (
            "NO_ACCESS among the rules of groups first group True, second group True"
        ),
    }
    query = "SELECT reason FROM project_access($1) WHERE project_id = $2"
    for combination, reason in reasons.items():
        assert await workspace.fetchval(query, user, table.projects[combination]) == reason


async def test_without_user_or_project_there_is_no_access(workspace, acme):
    lead = acme.people["lead"].id
    for user, project in [(lead, MISSING), (MISSING, acme.project), (lead, -1), (-1, -1), (lead, 2**63 - 1)]:
        assert not await allows(workspace, user, project)


async def test_a_role_without_permissions_opens_the_project_and_nothing_in_it(workspace):
    roles = await make_roles(workspace)
    user = await make_user(workspace, "empty", role=roles["empty"])
    project = await workspace.fetchval("INSERT INTO projects (name) VALUES ('For the empty') RETURNING id")
    query = "SELECT allowed, role, permissions FROM project_access($1) WHERE project_id = $2"
    assert tuple(await workspace.fetchrow(query, user, project)) == (True, "empty", [])
    assert await allows(workspace, user, project)
    assert not await allows(workspace, user, project, [Permission.VIEW_TEST_CASES])


def test_the_permissions_are_those_that_roles_can_hold():
    assert tuple(Permission) == PERMISSIONS


async def test_a_change_holds_from_the_next_request_and_only_the_log_says_why(world, acme):
    connection = await connect(world.admin_url, name="the test server")
    schema = acme.workspace.schema_name
    client = acme.client("viewer")
    user = acme.people["viewer"].id
    try:
        assert client.call("list_test_cases", project=acme.project)
        await connection.execute(
            f"INSERT INTO {schema}.project_members (project_id, user_id, mode) VALUES ($1, $2, 'NO_ACCESS')",
            acme.project,
            user,
        )
        with structlog.testing.capture_logs() as logs, pytest.raises(ToolFailed) as raised:
            client.call("list_test_cases", project=acme.project)
        assert raised.value.error == {"code": "NOT_FOUND_OR_DENIED", "message": "not found or access denied"}
        [log] = [log for log in logs if log["event"] == "access_denied"]
        assert (log["user_id"], log["reason"]) == (user, "member rule NO_ACCESS")
        await connection.execute(f"DELETE FROM {schema}.project_members WHERE user_id = $1", user)
        assert client.call("list_test_cases", project=acme.project)
    finally:
        client.close()
        await connection.close()
