"""Users, roles and groups: the functions behind the commands and pages, in a workspace of which nothing stays."""

from __future__ import annotations

import pytest

from service.domain.groups import GroupPatch, add_members, change_group, create_group, list_groups, remove_members
from service.domain.roles import RolePatch, change_role, create_role, delete_role, list_roles
from service.domain.users import UserPatch, change_user, create_user, get_user, list_users
from service.errors import Code, Refused


def emails(document):
    return [user["email"] for user in document["items"]]


class TestUsers:
    async def test_a_new_user_is_regular_and_has_the_default_role(self, work):
        made = await create_user(work, email="ann@acme.example", name="  Ann Lee ")
        assert made == {
            "id": made["id"],
            "email": "ann@acme.example",
            "name": "Ann Lee",
            "accessLevel": "REGULAR_USER",
            "role": "Tester",
            "active": True,
            "groups": [],
            "createdAt": made["createdAt"],
            "version": 1,
        }
        assert await get_user(work, "ANN@acme.example") == await get_user(work, made["id"]) == made

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"email": "no address"}, "no e-mail address: write it as"),
            ({"email": "a@b@c"}, "no e-mail address: write it as"),
            ({"email": " "}, "use 1 to 254 characters"),
            ({"email": f"{'a' * 250}@x.example"}, "use 1 to 254 characters"),
            ({"email": "LEAD@acme.example"}, "There is a user with this e-mail address already"),
            ({"email": "a\x00@acme.example"}, "on one line"),
            ({"name": "  "}, "no name of a user"),
            ({"name": "two\nlines"}, "on one line"),
            ({"name": "x" * 101}, "use 1 to 100 characters"),
            ({"name": "\udcff"}, "on one line"),
            ({"access_level": "Tenant Admins"}, "Did you mean TENANT_ADMIN"),
            ({"access_level": "king"}, "There are REGULAR_USER, PROJECT_ADMIN, TENANT_ADMIN."),
            ({"role": "Testr"}, "There is no role 'Testr'. Did you mean Tester?"),
            ({"role": "boss"}, "There are Lead, Tester, Viewer."),
            ({"role": 1}, "There is no role with the id 1."),
        ],
    )
    async def test_what_no_user_can_have_is_told(self, work, given, told):
        with pytest.raises(Refused) as refused:
            await create_user(work, **{"email": "new@acme.example", "name": "New"} | given)
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)

    async def test_a_change_touches_what_is_given_and_is_recorded(self, work):
        made = await create_user(work, email="ann@acme.example", name="Ann")
        work.changes.clear()
        after = await change_user(work, made["id"], UserPatch(role="viewer", access_level="project admin"))
        assert after == made | {"role": "Viewer", "accessLevel": "PROJECT_ADMIN", "version": 2}
        [change] = work.changes
        assert (change.action, change.object_type, change.object_id) == ("update", "user", made["id"])
        assert (change.version_before, change.version_after) == (1, 2)
        assert change.details.keys() == {"role_id", "access_level"}
        assert change.details["access_level"] == {"from": "REGULAR_USER", "to": "PROJECT_ADMIN"}
        assert await change_user(work, made["id"], UserPatch(role="Viewer")) == after
        assert len(work.changes) == 1

    async def test_a_change_of_what_another_changed_meanwhile_is_refused(self, work):
        made = await create_user(work, email="ann@acme.example", name="Ann")
        await change_user(work, made["id"], UserPatch(name="Anna"), expected_version=1)
        with pytest.raises(Refused) as refused:
            await change_user(work, made["id"], UserPatch(name="Anne"), expected_version=1)
        assert refused.value.code is Code.VERSION_CONFLICT

    async def test_an_address_can_be_written_anew_but_not_be_anothers(self, work):
        await change_user(work, "tester@acme.example", UserPatch(email="Tester@Acme.example"))
        with pytest.raises(Refused, match="already"):
            await change_user(work, "tester@acme.example", UserPatch(email="VIEWER@acme.example"))

    @pytest.mark.parametrize("patch", [UserPatch(active=False), UserPatch(access_level="PROJECT_ADMIN")])
    async def test_the_last_active_tenant_admin_stays(self, work, patch):
        with pytest.raises(Refused, match="the only active Tenant Admin"):
            await change_user(work, "lead@acme.example", patch)
        await change_user(work, "tester@acme.example", UserPatch(access_level="TENANT_ADMIN"))
        await change_user(work, "lead@acme.example", patch)
        with pytest.raises(Refused, match="the only active Tenant Admin"):
            await change_user(work, "tester@acme.example", patch)
        # Their name is nothing to guard.
        await change_user(work, "tester@acme.example", UserPatch(name="Still here", active=True))

    async def test_lists_are_filtered(self, work):
        await change_user(work, "viewer@acme.example", UserPatch(active=False))
        await create_group(work, name="QA", members=["tester@acme.example"])
        everybody = ["lead@acme.example", "outsider@acme.example", "tester@acme.example", "viewer@acme.example"]
        assert emails(await list_users(work)) == everybody
        assert emails(await list_users(work, active=False)) == ["viewer@acme.example"]
        assert emails(await list_users(work, access_level="TENANT_ADMIN")) == ["lead@acme.example"]
        assert emails(await list_users(work, role="lead")) == ["lead@acme.example", "outsider@acme.example"]
        assert emails(await list_users(work, group="qa")) == ["tester@acme.example"]
        assert emails(await list_users(work, search="TESTER@")) == ["tester@acme.example"]

    async def test_pages_hold_everybody_once(self, work):
        for number in range(7):
            # The same name, so that the id decides.
            await create_user(work, email=f"same{number}@acme.example", name="Same")
        found, cursor = [], None
        while True:
            page = await list_users(work, search="same", limit=3, cursor=cursor)
            assert page["total"] == 7
            found += emails(page)
            if (cursor := page.get("nextCursor")) is None:
                break
        assert found == [f"same{number}@acme.example" for number in range(7)]
        first = await list_users(work, limit=3)
        with pytest.raises(Refused) as refused:
            await list_users(work, limit=3, search="other", cursor=first["nextCursor"])
        assert refused.value.code is Code.INVALID_CURSOR


class TestRoles:
    async def test_create_change_delete(self, work):
        made = await create_role(work, name="Automation", permissions=["view-test-cases", "VIEW_TEST_CASES"])
        assert made["permissions"] == ["VIEW_TEST_CASES"]
        assert (made["default"], made["users"], made["projects"]) == (False, 0, 0)
        patch = RolePatch(description="For agents.", grant=["EXECUTE_TESTS"], revoke=["view test cases"])
        changed = await change_role(work, "AUTOMATION", patch)
        assert changed == made | {"description": "For agents.", "permissions": ["EXECUTE_TESTS"]}
        assert await delete_role(work, made["id"]) == changed
        assert [(change.action, change.object_id) for change in work.changes] == [
            ("create", made["id"]),
            ("update", made["id"]),
            ("delete", made["id"]),
        ]
        assert made["id"] not in {role["id"] for role in (await list_roles(work))["items"]}

    async def test_there_is_one_default_role_at_all_times(self, work):
        await create_role(work, name="Newcomer", default=True)
        assert (await create_user(work, email="ann@acme.example", name="Ann"))["role"] == "Newcomer"
        await change_role(work, "Viewer", RolePatch(default=True))
        assert [role["name"] for role in (await list_roles(work))["items"] if role["default"]] == ["Viewer"]
        with pytest.raises(Refused, match="one must be"):
            await change_role(work, "Viewer", RolePatch(default=False))
        with pytest.raises(Refused, match="one must be"):
            await delete_role(work, "Viewer")

    async def test_a_role_in_use_is_not_deleted(self, work):
        with pytest.raises(Refused, match="Lead is in use: 2 users have it"):
            await delete_role(work, "Lead")

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"name": "TESTER"}, "There is a role of this name already"),
            ({"name": ""}, "no name of a role"),
            ({"permissions": ["EDIT_TEST_CASE"]}, "no permission 'EDIT_TEST_CASE'. Did you mean EDIT_TEST_CASES"),
            ({"permissions": ["fly"]}, "There is no permission 'fly'."),
            ({"description": "x" * 501}, "at most 500 characters"),
        ],
    )
    async def test_what_no_role_can_have_is_told(self, work, given, told):
        with pytest.raises(Refused) as refused:
            await create_role(work, **{"name": "New"} | given)
        assert told in str(refused.value)


class TestGroups:
    async def test_create_change_disable(self, work):
        made = await create_group(work, name="QA", members=["tester@acme.example", "LEAD@acme.example"])
        assert made == {
            "id": made["id"],
            "name": "QA",
            "description": "",
            "enabled": True,
            "members": 2,
            "projects": 0,
        }
        assert await change_group(work, "qa", GroupPatch(enabled=False, name="Q-A")) == made | {
            "enabled": False,
            "name": "Q-A",
        }
        assert [group["name"] for group in (await list_groups(work))["items"]] == ["Q-A"]

    async def test_members_come_and_go_and_only_changes_are_recorded(self, work):
        await create_group(work, name="QA")
        work.changes.clear()
        two = ["tester@acme.example", "viewer@acme.example"]
        assert (await add_members(work, "QA", [*two, two[0]]))["members"] == 2
        assert (await add_members(work, "QA", two))["members"] == 2
        assert (await remove_members(work, "QA", [two[0], "lead@acme.example"]))["members"] == 1
        assert [list(change.details) for change in work.changes] == [["added"], ["removed"]]
        assert (await get_user(work, two[1]))["groups"] == ["QA"]

    async def test_an_unknown_member_is_told_and_nobody_is_put_in(self, work):
        await create_group(work, name="QA")
        with pytest.raises(Refused, match=r"no user with the e-mail 'testr@acme.example'. Did you mean tester@"):
            await add_members(work, "QA", ["viewer@acme.example", "testr@acme.example"])
        assert (await list_groups(work))["items"][0]["members"] == 0

    async def test_names_that_differ_in_capitals_clash(self, work):
        await create_group(work, name="QA")
        with pytest.raises(Refused, match="already"):
            await create_group(work, name="qa")
