"""The explanation of access says what the gate does, rule by rule, in random worlds; and the rules of projects."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.access import AccessMode, DefaultAccess, Permission, access_gate, is_denial
from service.domain.effective_access import explain_access
from service.domain.groups import GroupPatch, change_group, create_group
from service.domain.project_rules import (
    RulePatch,
    list_group_rules,
    list_user_rules,
    remove_user_rules,
    set_group_rules,
    set_user_rules,
)
from service.domain.project_settings import ProjectPatch, change_project, create_project, list_all_projects
from service.domain.roles import create_role
from service.domain.users import UserPatch, change_user, create_user
from service.errors import Refused
from tests.service.conftest import undone

ROLES = ("first", "second", "third")
USERS = ("ann@x.example", "bo@x.example")
GROUPS = ("left", "middle", "right")
PROJECTS = ("shop", "bank")
roles = st.sampled_from(ROLES)


@st.composite
def rules(draw, *, override=True):
    mode = draw(st.sampled_from(AccessMode))
    return RulePatch(
        mode=mode,
        role=draw(roles) if mode == AccessMode.FORCE_ROLE else None,
        override=draw(st.none() | roles) if override else None,
    )


@st.composite
def defaults(draw):
    access = draw(st.sampled_from(DefaultAccess))
    return {"default_access": access, "default_role": draw(roles) if access == DefaultAccess.ROLE else None}


WORLDS = st.fixed_dictionaries(
    {
        "permissions": st.fixed_dictionaries(
            {name: st.sets(st.sampled_from(Permission), max_size=6) for name in ROLES}
        ),
        "users": st.fixed_dictionaries(
            {name: st.tuples(roles, st.sampled_from((True, True, False))) for name in USERS}
        ),
        "groups": st.fixed_dictionaries(
            {name: st.tuples(st.booleans(), st.sets(st.sampled_from(USERS))) for name in GROUPS}
        ),
        "projects": st.fixed_dictionaries({name: defaults() for name in PROJECTS}),
        "members": st.dictionaries(st.tuples(st.sampled_from(PROJECTS), st.sampled_from(USERS)), rules(), max_size=2),
        "group rules": st.dictionaries(
            st.tuples(st.sampled_from(PROJECTS), st.sampled_from(GROUPS)), rules(override=False), max_size=6
        ),
    }
)


async def make(work, world):
    for name, permissions in world["permissions"].items():
        await create_role(work, name=name, permissions=permissions)
    for email, (role, active) in world["users"].items():
        made = await create_user(work, email=email, name=email, role=role)
        await change_user(work, made["id"], UserPatch(active=active))
    for name, (enabled, members) in world["groups"].items():
        await create_group(work, name=name, members=sorted(members))
        await change_group(work, name, GroupPatch(enabled=enabled))
    for name, default in world["projects"].items():
        await create_project(work, name=name, **default)
    for (project, user), rule in world["members"].items():
        await set_user_rules(work, project, [user], rule)
    for (project, group), rule in world["group rules"].items():
        await set_group_rules(work, project, [group], rule)


def roles_given(rules, *, global_role):
    """Return the roles that the rules which decide give, or None for no access."""
    found = set()
    for rule in rules:
        match rule:
            case {"kind": "user"} | {"mode": "NO_ACCESS"}:
                return None
            case {"role": role}:
                found.add(role)
            case {"mode": "INHERIT", "override": override}:
                found.add(override)
            case _:
                found.add(global_role)
    return found


async def passes(work, user, project, permissions):
    try:
        async with work.connection.savepoint():
            await work.connection.execute(access_gate(user_id=user, project_id=project, permissions=permissions))
    except asyncpg.PostgresError as error:
        if not is_denial(error):
            raise
        return False
    return True


@given(world=WORLDS, data=st.data())
@settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_the_explanation_is_what_the_gate_does(work, world, data):
    async with undone(work) as work:  # noqa: PLR1704 - nothing is done with the other
        await make(work, world)
        for email, (role, _) in world["users"].items():
            explained = await explain_access(work, email)
            user = explained["user"]["id"]
            assert {one["project"]["name"] for one in explained["projects"]} >= set(PROJECTS)
            for one in explained["projects"]:
                project, permissions = one["project"]["id"], one["permissions"]
                assert await passes(work, user, project, permissions) == one["allowed"]
                lacking = data.draw(st.sampled_from([p for p in Permission if p not in permissions]))
                assert not await passes(work, user, project, [*permissions, lacking])
                if one["project"]["name"] not in PROJECTS:
                    continue
                deciding = [rule for rule in one["rules"] if rule["decides"]]
                given_roles = roles_given(deciding, global_role=role)
                assert deciding
                assert len({rule.get("mode") == "NO_ACCESS" for rule in deciding}) == 1
                assert (given_roles is not None) == one["allowed"]
                assert ", ".join(sorted(given_roles or ())) == one.get("role", "")
                assert all(rule["whyNot"] for rule in one["rules"] if not rule["decides"])
                assert await explain_access(work, user, project=project) == {
                    "user": explained["user"],
                    "projects": [one],
                }


async def test_an_inactive_user_has_their_state_for_a_reason(work, alone):
    await change_user(work, "tester@acme.example", UserPatch(active=False))
    [one] = (await explain_access(work, "tester@acme.example", project="main"))["projects"]
    assert (one["allowed"], one["permissions"], one["reason"]) == (False, [], "the user is deactivated")
    assert [(rule["kind"], rule["decides"]) for rule in one["rules"]] == [("user", True), ("default", False)]
    assert one["project"]["id"] == alone[1].project


class TestRules:
    async def test_what_is_not_given_stays(self, work):
        async def changed(**patch):
            [rule] = (await set_user_rules(work, "secret", ["tester@acme.example"], RulePatch(**patch)))["items"]
            return {name: rule[name] for name in ("mode", "role", "override") if name in rule}

        assert await changed() == {"mode": "INHERIT"}
        assert await changed(override="viewer") == {"mode": "INHERIT", "override": "Viewer"}
        forced = {"mode": "FORCE_ROLE", "role": "Lead", "override": "Viewer"}
        assert await changed(mode="force-role", role="Lead") == forced
        assert await changed() == forced
        assert await changed(role="Tester") == forced | {"role": "Tester"}
        # The role goes with its mode, the override waits until it is inherited again.
        assert await changed(mode="NO_ACCESS") == {"mode": "NO_ACCESS", "override": "Viewer"}
        assert await changed(mode="INHERIT", override="") == {"mode": "INHERIT"}
        assert [change.action for change in work.changes] == ["create"] + 5 * ["update"]
        assert {(change.object_type, change.project_id is None) for change in work.changes} == {
            ("project_member", False)
        }

    async def test_one_change_for_many_is_all_or_nothing(self, work):
        users = ["tester@acme.example", "viewer@acme.example"]
        await set_user_rules(work, "secret", [users[0]], RulePatch(mode="FORCE_ROLE", role="Lead"))
        work.changes.clear()
        with pytest.raises(Refused, match="A role goes with mode FORCE_ROLE"):
            # It would do for the first, but not for the second, whose rule is new.
            await set_user_rules(work, "secret", users, RulePatch(role="Viewer"))
        with pytest.raises(Refused, match="no user"):
            await set_user_rules(work, "secret", [*users, "nobody@acme.example"], RulePatch())
        assert work.changes == []
        assert (await list_user_rules(work, "secret"))["total"] == 1
        await remove_user_rules(work, "secret", users)
        assert [change.action for change in work.changes] == ["delete"]
        assert await list_user_rules(work, "secret") == {"items": [], "total": 0}

    async def test_lists_have_pages(self, work):
        emails = [f"u{number}@x.example" for number in range(5)]
        for email in emails:
            await create_user(work, email=email, name=email)
        await set_user_rules(work, "secret", emails, RulePatch())
        first = await list_user_rules(work, "secret", limit=3)
        rest = await list_user_rules(work, "secret", limit=3, cursor=first["nextCursor"])
        assert [rule["user"]["email"] for rule in first["items"] + rest["items"]] == emails
        assert (first["total"], "nextCursor" in rest) == (5, False)
        two = await list_all_projects(work, limit=1)
        assert [two["items"][0]["name"], two["total"]] == ["main", 2]
        assert (await list_all_projects(work, limit=1, cursor=two["nextCursor"]))["items"][0]["name"] == "secret"

    async def test_rules_of_groups_have_no_override(self, work):
        await create_group(work, name="QA")
        with pytest.raises(Refused, match="a user's"):
            await set_group_rules(work, "secret", ["QA"], RulePatch(override="Lead"))
        await set_group_rules(work, "secret", ["QA"], RulePatch(mode="FORCE_ROLE", role="Lead"))
        assert (await list_group_rules(work, "secret"))["items"][0]["role"] == "Lead"


class TestProjects:
    async def test_the_default_role_goes_with_its_default_access(self, work):
        made = await create_project(work, name="New", default_access="ROLE", default_role="Viewer")
        assert made["defaultRole"] == "Viewer"
        changed = await change_project(work, "new", ProjectPatch(default_role="Lead"))
        assert (changed["defaultAccess"], changed["defaultRole"]) == ("ROLE", "Lead")
        assert "defaultRole" not in await change_project(work, "new", ProjectPatch(default_access="NO_ACCESS"))
        with pytest.raises(Refused, match="goes with default access ROLE"):
            await change_project(work, "new", ProjectPatch(default_role="Lead"))

    async def test_a_name_of_digits_comes_before_an_id(self, work, alone):
        made = await create_project(work, name=str(alone[1].project))
        changed = await change_project(work, str(alone[1].project), ProjectPatch(summary="By name"))
        assert changed["id"] == made["id"]
        assert (await change_project(work, alone[1].project, ProjectPatch(summary="By id")))["id"] == alone[1].project

    @pytest.mark.parametrize(
        ("given_values", "told"),
        [
            ({"name": "x" * 101}, "no name of a project"),
            ({"summary": "x" * 2001}, "at most 2000 characters"),
            ({"summary": "\x00"}, "without control characters"),
            ({"icon": "x" * 51}, "no icon"),
            ({"default_access": "ROLE", "default_role": "Leda"}, "Did you mean Lead"),
        ],
    )
    async def test_what_no_project_can_have_is_told(self, work, given_values, told):
        with pytest.raises(Refused) as refused:
            await create_project(work, **{"name": "New"} | given_values)
        assert told in str(refused.value)
