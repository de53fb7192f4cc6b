"""Who may administer what, by access level; and what must hold although several administrators work at once."""

from __future__ import annotations

import asyncio
import copy
from contextlib import nullcontext

import pytest

from migrations.workspace.tables.access import ACCESS_LEVELS, ACCESS_MODES
from service.access import AccessLevel, AccessMode
from service.domain.administration import DUTIES, Duty, duties, require
from service.domain.effective_access import explain_access
from service.domain.groups import GroupPatch, add_members, change_group, create_group, list_groups, remove_members
from service.domain.project_rules import (
    RulePatch,
    list_group_rules,
    list_user_rules,
    remove_group_rules,
    remove_user_rules,
    set_group_rules,
    set_user_rules,
)
from service.domain.project_settings import (
    ProjectPatch,
    change_project,
    create_project,
    get_project,
    list_all_projects,
)
from service.domain.roles import RolePatch, change_role, create_role, delete_role, get_role, list_roles
from service.domain.users import UserPatch, add_user, change_user, create_user, get_user, list_users
from service.domain.work import Work, recorded
from service.errors import NotPermitted, Refused
from tenancy.connection import connect
from tenancy.provision import create_workspace
from tenancy.session import Actor, as_workspace
from tests.conftest import new_database
from tests.service.conftest import undone

TEST = Actor(tool="test")
REGULAR, PROJECT, TENANT = AccessLevel
ADMINS, TENANT_ONLY = {PROJECT, TENANT}, {TENANT}

# Each function, called in acme by a user of each level, and the levels that may call it.
TABLE = {
    "list users": (list_users, ADMINS),
    "get user": (lambda w: get_user(w, "tester@acme.example"), ADMINS),
    "explain access": (lambda w: explain_access(w, "tester@acme.example"), ADMINS),
    "create user": (lambda w: create_user(w, email="new@acme.example", name="New"), ADMINS),
    "create Project Admin": (
        lambda w: create_user(w, email="new@acme.example", name="New", access_level="PROJECT_ADMIN"),
        TENANT_ONLY,
    ),
    "create Tenant Admin": (
        lambda w: create_user(w, email="new@acme.example", name="New", access_level="TENANT_ADMIN"),
        TENANT_ONLY,
    ),
    "change name": (lambda w: change_user(w, "tester@acme.example", UserPatch(name="New")), TENANT_ONLY),
    "change level": (lambda w: change_user(w, "tester@acme.example", UserPatch(access_level=PROJECT)), TENANT_ONLY),
    "change role": (lambda w: change_user(w, "tester@acme.example", UserPatch(role="Lead")), TENANT_ONLY),
    "deactivate": (lambda w: change_user(w, "tester@acme.example", UserPatch(active=False)), TENANT_ONLY),
    "list roles": (list_roles, ADMINS),
    "get role": (lambda w: get_role(w, "Lead"), ADMINS),
    "create role": (lambda w: create_role(w, name="New"), TENANT_ONLY),
    "change role's permissions": (lambda w: change_role(w, "Lead", RolePatch(permissions=[])), TENANT_ONLY),
    "delete role": (lambda w: delete_role(w, "Spare"), TENANT_ONLY),
    "list groups": (list_groups, ADMINS),
    "create group": (lambda w: create_group(w, name="New"), TENANT_ONLY),
    "change group": (lambda w: change_group(w, "Group", GroupPatch(enabled=False)), TENANT_ONLY),
    "add member": (lambda w: add_members(w, "Group", ["tester@acme.example"]), TENANT_ONLY),
    "remove member": (lambda w: remove_members(w, "Group", ["tester@acme.example"]), TENANT_ONLY),
    "list projects": (list_all_projects, ADMINS),
    "get project": (lambda w: get_project(w, "secret"), ADMINS),
    "create project": (lambda w: create_project(w, name="New"), ADMINS),
    "complete project": (lambda w: change_project(w, "main", ProjectPatch(completed=True)), ADMINS),
    "list user rules": (lambda w: list_user_rules(w, "main"), ADMINS),
    "list group rules": (lambda w: list_group_rules(w, "main"), ADMINS),
    "set user rule": (lambda w: set_user_rules(w, "main", ["tester@acme.example"], RulePatch()), ADMINS),
    "set group rule": (lambda w: set_group_rules(w, "main", ["Group"], RulePatch()), ADMINS),
    "remove user rule": (lambda w: remove_user_rules(w, "main", ["tester@acme.example"]), ADMINS),
    "remove group rule": (lambda w: remove_group_rules(w, "main", ["Group"]), ADMINS),
}


async def acting(work, level, *, active=True):
    """Return the same work as a new user of that level does it."""
    made = await create_user(work, email="acting@acme.example", name="Acting", access_level=level)
    if not active:
        await change_user(work, made["id"], UserPatch(active=False))
    connection = copy.copy(work.connection)
    connection.actor = Actor(user_id=made["id"], tool="test")
    return Work(connection=connection)


@pytest.mark.parametrize("name", TABLE)
async def test_each_function_is_open_to_the_levels_of_the_table(work, name):
    call, allowed = TABLE[name]
    await create_role(work, name="Spare")
    await create_group(work, name="Group")
    for level in AccessLevel:
        async with undone(work):
            actor = await acting(work, level)
            with nullcontext() if level in allowed else pytest.raises(NotPermitted, match=r"Only a .*Tenant Admin may"):
                await call(actor)
            assert level in allowed or not actor.changes
    async with undone(work):
        with pytest.raises(NotPermitted):
            await call(await acting(work, TENANT, active=False))
    # An operator is above levels.
    await call(work)


async def test_what_a_level_may_is_told_before_it_is_tried(work):
    assert await duties(work) == frozenset(Duty)
    for level in AccessLevel:
        async with undone(work):
            actor = await acting(work, level)
            assert await duties(actor) == DUTIES[level]
            for duty in Duty:
                with nullcontext() if duty in DUTIES[level] else pytest.raises(NotPermitted):
                    await require(actor, duty)


def test_levels_grow_and_are_those_of_the_tables():
    assert DUTIES[REGULAR] < DUTIES[PROJECT] < DUTIES[TENANT] == frozenset(Duty)
    assert tuple(AccessLevel) == ACCESS_LEVELS
    assert tuple(AccessMode) == ACCESS_MODES


async def test_nobody_changes_their_own_level_or_deactivates_themselves(work):
    actor = await acting(work, TENANT)
    me = actor.actor.user_id
    for patch in (UserPatch(access_level=PROJECT), UserPatch(active=False)):
        with pytest.raises(NotPermitted, match="ask another Tenant Admin"):
            await change_user(actor, me, patch)
    assert (await change_user(actor, me, UserPatch(name="Renamed", access_level=TENANT)))["name"] == "Renamed"
    assert not (await change_user(actor, "lead@acme.example", UserPatch(active=False)))["active"]


@pytest.fixture
async def two_admins(postgres):
    """A workspace whose Tenant Admins are ann and bo, and a connection to it for each of them."""
    async with new_database(postgres) as (name, first):

        async def populate(connection):
            for one in ("ann", "bo"):
                await add_user(
                    connection, email=f"{one}@two.example", name=one, access_level="TENANT_ADMIN", role="Lead"
                )

        made = await create_workspace(first, slug="two", name="Two", populate=populate)
        second = await connect(postgres.dsn(database=name), name="the test server")
        yield made.schema_name, first, second
        await second.close()


PATCHES = {"deactivated": UserPatch(active=False), "demoted": UserPatch(access_level=REGULAR)}


@pytest.mark.parametrize("one", PATCHES)
@pytest.mark.parametrize("other", PATCHES)
async def test_of_two_tenant_admins_who_go_at_once_one_stays(two_admins, one, other):
    schema, first, second = two_admins

    async def go(connection, email, patch):
        async with as_workspace(connection, schema, actor=TEST) as entered, recorded(entered) as work:
            await change_user(work, email, patch)

    async with first.transaction():
        await go(first, "ann@two.example", PATCHES[one])
        going = asyncio.create_task(go(second, "bo@two.example", PATCHES[other]))
        while not await first.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not going.done()
    with pytest.raises(Refused, match="the only active Tenant Admin"):
        await going
    left = await first.fetch(f"SELECT email FROM {schema}.users WHERE active AND access_level = 'TENANT_ADMIN'")
    assert [row["email"] for row in left] == ["bo@two.example"]


async def test_of_two_roles_made_the_default_at_once_the_later_is_it(two_admins):
    schema, first, second = two_admins

    async def go(connection, role):
        async with as_workspace(connection, schema, actor=TEST) as entered, recorded(entered) as work:
            await change_role(work, role, RolePatch(default=True))

    async with first.transaction():
        await go(first, "Viewer")
        going = asyncio.create_task(go(second, "Lead"))
        while not await first.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not going.done()
    await going
    assert await first.fetchval(f"SELECT string_agg(name, ' ') FROM {schema}.roles WHERE is_default") == "Lead"


async def test_a_role_that_is_deleted_while_somebody_gets_it_stays_or_is_not_got(two_admins):
    schema, first, second = two_admins

    async def get():
        async with as_workspace(second, schema, actor=TEST) as entered, recorded(entered) as work:
            await create_user(work, email="new@two.example", name="New", role="Viewer")

    async with first.transaction():
        async with as_workspace(first, schema, actor=TEST) as entered, recorded(entered) as work:
            await delete_role(work, "Viewer")
        getting = asyncio.create_task(get())
        while not await first.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not getting.done()
    with pytest.raises(Refused, match="try again"):
        await getting
