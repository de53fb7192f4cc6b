"""Random calls by random keys of three workspaces while access changes, against a model of who may do what.

Every text that is written holds a token of its own. Whatever comes back, to whomever, holds no token of what the model
says is out of reach; what the model allows succeeds, and lists hold exactly what the model holds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tenancy.catalog import set_state
from tenancy.connection import connect
from tenancy.keys import set_owner_active
from tenancy.session import as_owner
from tests.conftest import Client, make_tenant

TOKEN = re.compile(r"tok[0-9]+x")
ROLES = {
    "Lead": {"VIEW_TEST_CASES", "CREATE_TEST_CASES", "EDIT_TEST_CASES", "MANAGE_FOLDERS"},
    "Tester": {"VIEW_TEST_CASES", "CREATE_TEST_CASES", "EDIT_TEST_CASES", "MANAGE_FOLDERS"},
    "Viewer": {"VIEW_TEST_CASES"},
}
PEOPLE = ("lead", "tester", "viewer", "outsider")
WORKSPACES = 3
PROJECTS = 2
_TOKENS = itertools.count(1)


@dataclass
class Project:
    """A project as the model knows it: its rule for everybody, the rules for single users, and its cases."""

    id: int
    is_open: bool
    members: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    cases: dict[int, str] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)


@dataclass
class Workspace:
    tenant: Any
    clients: dict[str, Client]
    roles: dict[str, str] = field(default_factory=dict)
    active: dict[str, bool] = field(default_factory=dict)
    is_suspended: bool = False
    projects: list[Project] = field(default_factory=list)

    def permissions(self, person: str, project: Project) -> set[str] | None:
        """Return what the person may do in the project, None if not even enter it."""
        mode, forced = project.members.get(person, (None, None))
        if not self.active[person] or mode == "NO_ACCESS" or (mode is None and not project.is_open):
            return None
        return ROLES[forced or self.roles[person]]

    def works(self, person: str) -> bool:
        return self.active[person] and not self.is_suspended

    def visible(self, person: str) -> set[str]:
        """Return the tokens that the person may see."""
        seen: set[str] = set()
        for project in self.projects:
            permissions = self.permissions(person, project)
            if permissions is not None:
                seen |= set(project.folders.values())
                seen |= set(project.cases.values()) if "VIEW_TEST_CASES" in permissions else set()
        return seen


@dataclass
class Universe:
    """The three workspaces, and the administrator's connection on a loop of its own."""

    loop: asyncio.AbstractEventLoop
    admin: Any
    workspaces: list[Workspace]

    def run(self, work):
        return self.loop.run_until_complete(work)

    def sql(self, workspace: Workspace, query: str, *arguments: Any) -> Any:
        async def work():
            schema = workspace.tenant.workspace.schema_name
            async with self.admin.transaction(), as_owner(self.admin, schema) as connection:
                return await connection.fetch(query, *arguments)

        return self.run(work())


@pytest.fixture(scope="module")
def universe(world):
    loop = asyncio.new_event_loop()
    admin = loop.run_until_complete(connect(world.admin_url, name="model"))
    workspaces = []
    for number in range(WORKSPACES):
        making = make_tenant(admin, f"model-{number}", host=world.host, port=world.port)
        tenant = loop.run_until_complete(making)
        workspaces.append(Workspace(tenant, {name: tenant.client(name) for name in PEOPLE}))
    yield Universe(loop, admin, workspaces)
    for workspace in workspaces:
        for client in workspace.clients.values():
            client.close()
    loop.run_until_complete(admin.close())
    loop.close()


def token() -> str:
    return f"tok{next(_TOKENS)}x"


WHICH = st.integers(0, WORKSPACES - 1)
WHO = st.sampled_from(PEOPLE)
PROJECT = st.integers(0, PROJECTS - 1)


class Access(RuleBasedStateMachine):
    """Each run has new projects, and everybody as at first."""

    universe: ClassVar[Universe]

    @initialize()
    def begin(self) -> None:
        for workspace in self.universe.workspaces:
            self._reset(workspace)

    def _reset(self, workspace: Workspace) -> None:
        for name in PEOPLE:
            self.change_active(self.universe.workspaces.index(workspace), name, active=True)
            role = {"tester": "Tester", "viewer": "Viewer"}.get(name, "Lead")
            self.change_role(self.universe.workspaces.index(workspace), name, role)
        self.suspend(self.universe.workspaces.index(workspace), suspended=False)
        self.universe.sql(workspace, "UPDATE projects SET default_access = 'NO_ACCESS'")
        self.universe.sql(workspace, "DELETE FROM project_members")
        workspace.projects = []
        for number in range(PROJECTS):
            access = "GLOBAL_ROLE" if number == 0 else "NO_ACCESS"
            rows = self.universe.sql(
                workspace,
                "INSERT INTO projects (name, default_access) VALUES ('p' || nextval('ids'), $1) RETURNING id",
                access,
            )
            workspace.projects.append(Project(rows[0]["id"], is_open=number == 0))

    # What an administrator does

    @rule(w=WHICH, name=WHO, active=st.booleans())
    def change_active(self, w: int, name: str, active: bool) -> None:  # noqa: FBT001
        workspace = self.universe.workspaces[w]
        user = workspace.tenant.people[name].id
        self.universe.sql(workspace, "UPDATE users SET active = $2 WHERE id = $1", user, active)
        workspace_id = workspace.tenant.workspace.id
        self.universe.run(set_owner_active(self.universe.admin, workspace_id=workspace_id, user_id=user, active=active))
        workspace.active[name] = active

    @rule(w=WHICH, name=WHO, role=st.sampled_from(list(ROLES)))
    def change_role(self, w: int, name: str, role: str) -> None:
        workspace = self.universe.workspaces[w]
        self.universe.sql(
            workspace,
            "UPDATE users SET role_id = (SELECT r.id FROM roles r WHERE r.name = $2) WHERE id = $1",
            workspace.tenant.people[name].id,
            role,
        )
        workspace.roles[name] = role

    @rule(
        w=WHICH,
        p=PROJECT,
        name=WHO,
        mode=st.sampled_from(["NO_ACCESS", "FORCE_GLOBAL_ROLE", "INHERIT", "FORCE_ROLE", None]),
        forced=st.sampled_from(list(ROLES)),
    )
    def change_member(self, w: int, p: int, name: str, mode: str | None, forced: str) -> None:
        workspace = self.universe.workspaces[w]
        project, user = workspace.projects[p], workspace.tenant.people[name].id
        self.universe.sql(
            workspace, "DELETE FROM project_members WHERE project_id = $1 AND user_id = $2", project.id, user
        )
        project.members.pop(name, None)
        if mode is None:
            return
        self.universe.sql(
            workspace,
            "INSERT INTO project_members (project_id, user_id, mode, forced_role_id) "
            "SELECT $1, $2, $3::text, CASE WHEN $3::text = 'FORCE_ROLE' THEN r.id END FROM roles r WHERE r.name = $4",
            project.id,
            user,
            mode,
            forced,
        )
        project.members[name] = mode, forced if mode == "FORCE_ROLE" else None

    @rule(w=WHICH, suspended=st.booleans())
    def suspend(self, w: int, suspended: bool) -> None:  # noqa: FBT001
        workspace = self.universe.workspaces[w]
        state = "suspended" if suspended else "active"
        self.universe.run(set_state(self.universe.admin, workspace.tenant.workspace.slug, state))
        workspace.is_suspended = suspended

    # What agents do

    def _call(self, w: int, name: str, tool: str, /, **arguments: Any) -> tuple[str, dict[str, Any] | None]:
        """Return "ok", "refused" or "no key", with the document; nothing out of reach may be in it."""
        workspace = self.universe.workspaces[w]
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": tool, "arguments": arguments}
        status, _, body = workspace.clients[name].post(json.dumps(message).encode())
        sent = set(TOKEN.findall(json.dumps(arguments)))
        assert set(TOKEN.findall(body.decode())) <= workspace.visible(name) | sent
        if not workspace.works(name):
            assert status == 401
            return "no key", None
        assert status == 200
        result = json.loads(body)["result"]
        if result.get("isError"):
            assert result["structuredContent"]["error"]["code"] == "NOT_FOUND_OR_DENIED", result
            return "refused", None
        return "ok", result["structuredContent"]

    def _may(self, w: int, name: str, project: Project, permission: str) -> bool:
        return permission in (self.universe.workspaces[w].permissions(name, project) or set())

    @rule(w=WHICH, name=WHO, p=PROJECT)
    def create_case(self, w: int, name: str, p: int) -> None:
        project, title = self.universe.workspaces[w].projects[p], token()
        outcome, made = self._call(w, name, "create_test_case", project=project.id, title=title)
        allowed = self._may(w, name, project, "CREATE_TEST_CASES")
        if outcome != "no key":
            assert (outcome == "ok") is allowed
        if made is not None:
            project.cases[made["id"]] = title

    @rule(w=WHICH, name=WHO, p=PROJECT)
    def create_folder(self, w: int, name: str, p: int) -> None:
        project, title = self.universe.workspaces[w].projects[p], token()
        outcome, made = self._call(w, name, "create_folder", project=project.id, name=title)
        if outcome != "no key":
            assert (outcome == "ok") is self._may(w, name, project, "MANAGE_FOLDERS")
        if made is not None:
            project.folders[made["id"]] = title

    def _any_case(self, data: st.DataObject) -> int:
        """Return the id of any case of any project of any workspace."""
        every = sorted({case for one in self.universe.workspaces for project in one.projects for case in project.cases})
        # What is drawn does not depend on the ids, which are others in every run.
        place = data.draw(st.integers(0, 1_000))
        return every[place % len(every)] if every else 1

    @rule(w=WHICH, name=WHO, p=PROJECT, data=st.data())
    def get_case(self, w: int, name: str, p: int, data: st.DataObject) -> None:
        project, case = self.universe.workspaces[w].projects[p], self._any_case(data)
        outcome, found = self._call(w, name, "get_test_case", project=project.id, caseId=case)
        if outcome != "no key":
            allowed = case in project.cases and self._may(w, name, project, "VIEW_TEST_CASES")
            assert (outcome == "ok") is allowed
        if found is not None:
            assert found["title"] == project.cases[case]

    @rule(w=WHICH, name=WHO, p=PROJECT, data=st.data())
    def update_case(self, w: int, name: str, p: int, data: st.DataObject) -> None:
        project, case, title = self.universe.workspaces[w].projects[p], self._any_case(data), token()
        outcome, _ = self._call(w, name, "update_test_case", project=project.id, caseId=case, title=title)
        if outcome != "no key":
            allowed = case in project.cases and self._may(w, name, project, "EDIT_TEST_CASES")
            assert (outcome == "ok") is allowed
        if outcome == "ok":
            project.cases[case] = title

    @rule(w=WHICH, name=WHO, p=PROJECT, other=WHICH)
    def use_the_id_of_a_project_elsewhere(self, w: int, name: str, p: int, other: int) -> None:
        project = self.universe.workspaces[other].projects[p]
        mine = next((one for one in self.universe.workspaces[w].projects if one.id == project.id), None)
        outcome, found = self._call(w, name, "list_test_cases", project=project.id, limit=200)
        if outcome == "ok":
            assert mine is not None
            assert self._may(w, name, mine, "VIEW_TEST_CASES")
            assert {item["id"]: item["title"] for item in found["items"]} == mine.cases

    @rule(w=WHICH, name=WHO)
    def get_projects(self, w: int, name: str) -> None:
        workspace = self.universe.workspaces[w]
        outcome, found = self._call(w, name, "get_projects")
        if outcome == "ok":
            mine = {one.id for one in workspace.projects if workspace.permissions(name, one) is not None}
            assert {item["id"] for item in found["items"]} == mine

    @rule(p=PROJECT)
    def list_at_once(self, p: int) -> None:
        """Everybody of every workspace at the same time, so that connections go from one to another."""
        calls = [(number, name) for number in range(WORKSPACES) for name in PEOPLE]
        with ThreadPoolExecutor(len(calls)) as threads:
            answers = list(
                threads.map(
                    lambda call: self._call(
                        *call, "list_test_cases", project=self.universe.workspaces[call[0]].projects[p].id, limit=200
                    ),
                    calls,
                )
            )
        for (number, name), (outcome, found) in zip(calls, answers, strict=True):
            project = self.universe.workspaces[number].projects[p]
            if outcome != "no key":
                assert (outcome == "ok") is self._may(number, name, project, "VIEW_TEST_CASES")
            if found is not None:
                assert {item["id"]: item["title"] for item in found["items"]} == project.cases


def test_nobody_sees_or_changes_what_the_model_forbids(universe):
    Access.universe = universe
    run_state_machine_as_test(
        Access,
        settings=settings(
            max_examples=20,
            phases=[Phase.generate],
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
