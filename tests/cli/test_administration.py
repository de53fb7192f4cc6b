"""The commands for users, groups, roles, projects and access: what they print, and what keys may do right after."""

from __future__ import annotations

import asyncio
import itertools
import json
import shlex
import signal
import sys

import pytest

from service.cli.main import main
from tenancy.connection import connect
from tenancy.roles import APP
from tests.conftest import Client, ToolFailed, make_tenant, new_database, serving

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
async def served(postgres):
    """A tenant `initech` of a service of its own, and the administrator's URL."""
    async with new_database(postgres) as (name, admin):
        with serving(postgres.dsn(user=APP, database=name)) as (host, port):
            yield await make_tenant(admin, "initech", host=host, port=port), postgres.dsn(database=name)


@pytest.fixture
def tenant(served):
    return served[0]


@pytest.fixture
def typed(served, monkeypatch, capsys):
    """Runs a command as it is typed, in initech, and returns its exit code, output and error output."""
    monkeypatch.setenv("DATABASE_URL", served[1])
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["testorchestrator", *shlex.split(command)])
        handler = signal.getsignal(signal.SIGTERM)
        code = 0
        try:
            main()
        except SystemExit as done:
            code = done.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def command(typed):
    """Runs a command in initech with --json and returns what it prints, or its one line on standard error."""

    def run(command: str):
        where = "" if command.startswith("key create") else "--workspace initech"
        code, out, error = typed(f"{command} {where} --json")
        if code:
            assert (code, out, error.count("\n")) == (1, "", 1), error
            return error
        assert error == ""
        return json.loads(out)

    return run


@pytest.fixture
def bo(command, tenant):
    """A new Tester, and a client that acts as them."""
    email = f"bo{next(NUMBERS)}@initech.example"
    command(f"user create {email} --name Bo")
    client = Client(tenant.host, tenant.port, command(f"key create initech --email {email}")["key"])
    yield email, client
    client.close()


def tools_of(client, project) -> set[str]:
    """Which of three calls, each needing another permission, the client may do now."""
    calls = {
        "read": ("list_test_cases", {}),
        "write": ("create_folder", {"name": "Folder", "dryRun": True}),
        "manage": ("create_cycle", {"name": "Cycle", "dryRun": True}),
    }
    allowed = set()
    for name, (tool, arguments) in calls.items():
        try:
            client.call(tool, project=project, **arguments)
            allowed.add(name)
        except ToolFailed as failed:
            assert failed.error == {"code": "NOT_FOUND_OR_DENIED", "message": "not found or access denied"}  # noqa: PT017
    return allowed


EVERYTHING = {"read", "write", "manage"}


class TestUsers:
    def test_create_list_show_and_change(self, command):
        made = command("user create ann@initech.example --name 'Ann Lee' --level 'project admin' --role lead")
        assert (made["accessLevel"], made["role"], made["groups"], made["active"]) == (
            "PROJECT_ADMIN",
            "Lead",
            [],
            True,
        )
        assert made in command("user list")
        assert command("user list --search 'ann l'") == command("user list --level PROJECT_ADMIN") == [made]
        changed = command("user change ann@initech.example --email Ann.Lee@initech.example --name 'Ann Ray'")
        assert changed == made | {"email": "Ann.Lee@initech.example", "name": "Ann Ray", "version": 2}
        shown = command("user show ann.lee@initech.example")
        assert [(one["project"]["name"], one["allowed"], one.get("role")) for one in shown.pop("projects")] == [
            ("main", True, "Lead"), ("secret", False, None),
        ]  # fmt: skip
        assert shown == changed

    def test_what_cannot_be_is_told_in_one_line(self, command):
        create = "user create x@initech.example --name X"
        for given, told in {
            "user create lead@INITECH.example --name X": "There is a user with this e-mail address already.",
            "user create nobody --name X": "This is no e-mail address",
            "user create x@initech.example --name ' '": "no name of a user",
            f"{create} --role Testr": "Did you mean Tester?",
            f"{create} --level ADMIN": "There is no access level 'ADMIN'. There are REGULAR_USER, PROJECT_ADMIN",
            f"{create} --group nobody": "There is no group 'nobody'",
            "user show testr@initech.example": "Did you mean tester@initech.example",
            "user change 999999999 --name X": "There is no user with the id 999999999",
            "user deactivate lead@initech.example": "This is the only active Tenant Admin",
            "user change lead@initech.example --level REGULAR_USER": "This is the only active Tenant Admin",
        }.items():
            assert told in command(given), given
        # Refused as a whole, with its group.
        assert "no user" in command("user show x@initech.example")

    def test_a_change_of_role_holds_for_the_next_request(self, command, bo, tenant):
        email, client = bo
        assert tools_of(client, tenant.project) == EVERYTHING
        command(f"user change {email} --role Viewer")
        assert tools_of(client, tenant.project) == {"read"}
        # The level opens no project.
        command(f"user change {email} --level TENANT_ADMIN")
        assert tools_of(client, tenant.project) == {"read"}
        command(f"user change {email} --level REGULAR_USER --role Tester")
        assert tools_of(client, tenant.project) == EVERYTHING

    def test_lists_for_people_are_tables(self, typed, command):
        command("user create mark@initech.example --name '[red]Mark[/]'")
        code, out, error = typed("user list --workspace initech")
        assert (code, error) == (0, "")
        assert "[red]Mark[/]" in out
        assert "access level" in out
        assert "default access NO_ACCESS" in typed("user show mark@initech.example --workspace initech")[1]

    def test_long_lists_are_lines_with_tabs(self, typed, served):
        async def fill():
            connection = await connect(served[1], name="the test server")
            await connection.execute(
                f"INSERT INTO {served[0].workspace.schema_name}.users (email, name, role_id) "
                "SELECT 'many' || n || '@many.example', 'Many ' || n, r.id "
                f"FROM generate_series(1, 10000) n, {served[0].workspace.schema_name}.roles r WHERE r.is_default"
            )
            await connection.close()

        asyncio.run(fill())
        code, out, error = typed("user list --workspace initech --search @many.example")
        assert (code, error) == (0, "")
        title, *lines = out.splitlines()
        assert title == "id\temail\tname\taccess level\trole\tactive\tgroups"
        assert len(lines) == 10_000
        assert min(line.split("\t", 1)[1] for line in lines) == (
            "many10000@many.example\tMany 10000\tREGULAR_USER\tTester\tyes\t-"
        )


class TestGroups:
    def test_create_change_and_show(self, command):
        made = command("group create QA --description 'All testers' --member tester@initech.example")
        assert (made["enabled"], made["members"], made["projects"]) == (True, 1, 0)
        assert command("group add qa viewer@initech.example tester@initech.example")["members"] == 2
        shown = command("group show QA")
        assert [one["email"] for one in shown["members"]] == ["tester@initech.example", "viewer@initech.example"]
        assert command("group remove QA tester@initech.example viewer@initech.example")["members"] == 0
        assert command("group change QA --name Q-A --description ''")["description"] == ""
        assert "Q-A" in [one["name"] for one in command("group list")]
        assert "There is a group of this name already" in command("group create q-a")
        assert "Did you mean Q-A" in command("group show Q-B")

    def test_a_disabled_group_gives_and_takes_nothing(self, command, bo, tenant):
        email, client = bo
        command(f"group create Contractors --member {email}")
        command("project set-rule main --group contractors --mode NO_ACCESS")
        assert tools_of(client, tenant.project) == set()
        command("group disable Contractors")
        assert tools_of(client, tenant.project) == EVERYTHING
        command("group enable Contractors")
        assert tools_of(client, tenant.project) == set()
        command(f"group remove Contractors {email}")
        assert tools_of(client, tenant.project) == EVERYTHING


class TestRoles:
    def test_create_change_and_delete(self, command):
        made = command("role create Recorder --permission VIEW_TEST_RUNS --permission execute-tests")
        assert made["permissions"] == ["EXECUTE_TESTS", "VIEW_TEST_RUNS"]
        assert command("role change Recorder --grant VIEW_CYCLES --revoke VIEW_TEST_RUNS")["permissions"] == [
            "EXECUTE_TESTS", "VIEW_CYCLES",
        ]  # fmt: skip
        assert command("role change Recorder --permission VIEW_CYCLES")["permissions"] == ["VIEW_CYCLES"]
        assert command("role show recorder") in command("role list")
        assert "no permission 'VIEW_CYCLE'. Did you mean VIEW_CYCLES" in command(
            "role create X --permission VIEW_CYCLE"
        )
        assert "There is a role of this name already" in command("role create RECORDER")
        assert "Nobody is there to ask: pass --yes" in command("role delete Recorder")
        assert command("role delete Recorder --yes")["name"] == "Recorder"
        assert "There is no role 'Recorder'" in command("role delete Recorder --yes")
        assert "Lead is in use" in command("role delete Lead --yes")

    def test_the_default_role_is_that_of_new_users(self, command):
        command("role create Newcomer --default")
        try:
            assert command("user create newcomer@initech.example --name New")["role"] == "Newcomer"
            assert "one must be" in command("role delete Newcomer --yes")
        finally:
            command("role change Tester --default")
        assert [one["name"] for one in command("role list") if one["default"]] == ["Tester"]

    def test_a_permission_taken_from_a_role_is_gone_at_the_next_request(self, command, bo, tenant):
        email, client = bo
        command("role create Planner --permission VIEW_TEST_CASES --permission MANAGE_CYCLES")
        command(f"user change {email} --role Planner")
        assert tools_of(client, tenant.project) == {"read", "manage"}
        command("role change Planner --revoke MANAGE_CYCLES")
        assert tools_of(client, tenant.project) == {"read"}


class TestProjects:
    def test_create_change_complete_and_reopen(self, command):
        made = command("project create 'Web Shop' --summary 'All of it' --default-access role --default-role viewer")
        assert (made["defaultAccess"], made["defaultRole"], made["completed"]) == ("ROLE", "Viewer", False)
        changed = command("project change 'web shop' --name Shop --default-access GLOBAL_ROLE --icon 🛒")
        assert (changed["name"], changed["icon"], changed["version"]) == ("Shop", "🛒", 2)
        assert "defaultRole" not in changed
        done = command("project complete Shop")
        assert (done["completed"], done["completedAt"][:2]) == (True, "20")
        assert command("project complete Shop") == done
        assert command("project list --completed") == [done]
        assert done["id"] not in [one["id"] for one in command("project list --active")]
        assert not command("project reopen Shop")["completed"]
        assert command(f"project show {made['id']}") in command("project list --search 'all of'")

    def test_what_cannot_be_is_told_in_one_line(self, command):
        for given, told in {
            "project create MAIN": "There is a project of this name already",
            "project create X --default-access ROLE": "Default access ROLE needs a default role",
            "project create X --default-role Viewer": "goes with default access ROLE",
            "project create X --default-access everybody": "There are NO_ACCESS, GLOBAL_ROLE, ROLE.",
            "project show mian": "There is no project 'mian'. Did you mean main?",
            "project set-rule main --mode INHERIT": "Say whose rule it is",
            "project set-rule main --user tester@initech.example --mode FORCE_ROLE": "needs the role that it forces",
            "project set-rule main --user tester@initech.example --role Lead": "A role goes with mode FORCE_ROLE",
            "project set-rule main --user tester@initech.example --mode DENY": "There is no access mode 'DENY'.",
            "project set-rule main --user tester@initech.example --override Lead --no-override": "contradict",
            "project set-rule main --user x@initech.example": "There is no user with the e-mail",
        }.items():
            assert told in command(given), given
        assert "tester@initech.example" not in json.dumps(command("project rules main"))

    def test_rules_hold_for_the_next_request(self, command, bo, tenant):
        email, client = bo
        rule = f"project set-rule main --user {email}"
        for options, allowed in {
            "--mode NO_ACCESS": set(),
            "--mode FORCE_ROLE --role Viewer": {"read"},
            "--role Lead": EVERYTHING,
            "--mode INHERIT --override Viewer": {"read"},
            "--mode FORCE_GLOBAL_ROLE": EVERYTHING,
            "--mode INHERIT": {"read"},
            "--no-override": EVERYTHING,
        }.items():
            command(f"{rule} {options}")
            assert tools_of(client, tenant.project) == allowed, options
        command(f"{rule} --mode NO_ACCESS")
        left = command(f"project remove-rule main --user {email}")
        assert email not in json.dumps(left)
        assert tools_of(client, tenant.project) == EVERYTHING
        command("project change main --default-access NO_ACCESS")
        try:
            assert tools_of(client, tenant.project) == set()
        finally:
            command("project change main --default-access GLOBAL_ROLE")

    def test_rules_of_users_and_groups_are_set_together(self, command, bo):
        email, _ = bo
        command("group create Partners")
        found = command(f"project set-rule secret --user {email} --group Partners --mode FORCE_ROLE --role Viewer")
        assert [one["user"]["email"] for one in found["users"]] == [email]
        assert [one["group"]["name"] for one in found["groups"]] == ["Partners"]
        assert all((one["mode"], one["role"]) == ("FORCE_ROLE", "Viewer") for kind in found.values() for one in kind)
        assert "A role override is a user's" in command("project set-rule secret --group Partners --override Lead")
        assert command(f"project remove-rule secret --user {email} --group Partners") == {"users": [], "groups": []}


class TestAccess:
    def test_explain_tells_what_decided_and_what_did_not(self, command, bo, typed):
        email, _ = bo
        command(f"group create Guests --member {email}")
        command("project set-rule main --group Guests --mode NO_ACCESS")
        command(f"project set-rule main --user {email} --mode FORCE_ROLE --role Viewer")
        found = command(f"access explain --user {email} --project main")
        assert found["user"]["email"] == email
        [one] = found["projects"]
        assert (one["allowed"], one["role"], one["reason"]) == (True, "Viewer", "member rule FORCE_ROLE")
        assert one["rules"] == [
            {"kind": "member", "mode": "FORCE_ROLE", "role": "Viewer", "decides": True},
            {
                "kind": "group",
                "group": "Guests",
                "enabled": True,
                "mode": "NO_ACCESS",
                "decides": False,
                "whyNot": "the user's own rule decides",
            },
            {"kind": "default", "mode": "GLOBAL_ROLE", "decides": False, "whyNot": "the user's own rule decides"},
        ]
        assert [one["project"]["name"] for one in command(f"access explain --user {email}")["projects"]][:1] == ["main"]
        _, told, _ = typed(f"access explain --workspace initech --user {email} --project main")
        assert "→ member rule FORCE_ROLE Viewer: decides" in told
        assert "  rule of group Guests: NO_ACCESS: does not decide: the user's own rule decides" in told

    def test_whom_or_what_there_is_not_is_told(self, command):
        assert "Did you mean tester@" in command("access explain --user tester@initech.exmple")
        assert "There is no project 'x'" in command("access explain --user tester@initech.example --project x")


def test_every_change_is_recorded_as_the_operators_by_its_command(command, served):
    tenant, url = served
    command("role create Audited --permission VIEW_CYCLES")
    command("project set-rule secret --user tester@initech.example")

    async def recorded():
        connection = await connect(url, name="the test server")
        rows = await connection.fetch(
            f"SELECT user_id, api_key_id, tool, action, object_type, details "
            f"FROM {tenant.workspace.schema_name}.audit_log ORDER BY id DESC LIMIT 2"
        )
        await connection.close()
        return [tuple(row) for row in rows]

    assert asyncio.run(recorded()) == [
        (None, None, "project set-rule", "create", "project_member",
         {"mode": "INHERIT", "forced_role_id": None, "override_role_id": None}),
        (None, None, "role create", "create", "role", {}),
    ]  # fmt: skip
