"""The forms of the administration: what good, missing and hostile values do, and what holds at the next request."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.conftest import Client
from tests.tools.conftest import Sql
from tests.web.browsing import Browser
from tests.web.conftest import PASSWORD, link_in, place_of_its_own
from tests.web.offices import make_office
from tests.web.stages import HOSTILE
from tests.web.visiting import sign_in

PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
_LINK = re.compile(r'id="link"[^>]*><code>http://[^/]+([^<]+)</code>')


class Place:
    """A workspace of its own with an office in it."""

    def __init__(self, admin, tenant, office, browser) -> None:
        self.admin, self.tenant, self.office, self.browser = admin, tenant, office, browser
        self.sql = Sql(admin, tenant.workspace.schema_name)
        self.boss = office.tenant_admin
        self._made = 0

    def post(self, path: str, *, by=None, **form: str):
        visitor = by or self.boss
        visitor.get("profile/keys")
        return visitor.post(self.office.path(path), **form)

    async def new_user(self, level="REGULAR_USER", *, signed_in=False):
        self._made += 1
        email = f"user{self._made}@initech.example"
        user = await self.sql.value(
            "INSERT INTO users (email, name, access_level, role_id) SELECT $1, $2, $3, r.id FROM roles r "
            "WHERE r.name = 'Tester' RETURNING id",
            email,
            f"User {self._made}",
            level,
        )
        return user, email, await sign_in(self.admin, self.tenant, user) if signed_in else None

    async def user(self, user_id: int):
        [row] = await self.sql.rows(
            "SELECT name, email, access_level, active, version FROM users WHERE id = $1", user_id
        )
        return row

    async def role(self, name: str) -> str:
        return str(await self.sql.value("SELECT id FROM roles WHERE name = $1", name))

    async def audited(self, object_id: int) -> list[str]:
        rows = await self.sql.rows(
            "SELECT tool || ' ' || action || ' ' || object_type AS did FROM audit_log WHERE object_id = $1 ORDER BY id",
            object_id,
        )
        return [row["did"] for row in rows]


@pytest.fixture(scope="module")
async def place(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, [browser]):
        office = await make_office(admin, Sql(admin, tenant.workspace.schema_name), tenant)
        yield Place(admin, tenant, office, browser)


def fault(page, name: str) -> str:
    """What the page says beside the field."""
    found = re.search(rf'<p class="fault" id="{name}-fault">(.*?)</p>', page.body, re.DOTALL)
    return unescape(found[1]) if found else ""


def kept(page, name: str) -> str:
    """What the page keeps in the field."""
    found = re.search(rf'<input id="{name}" name="{name}" [^>]*?value="([^"]*)"', page.body)
    if found is None:
        found = re.search(rf'<textarea id="{name}"[^>]*>\n(.*?)</textarea>', page.body, re.DOTALL)
    return unescape(found[1])


async def test_invited_user_comes_in_by_the_link_that_is_shown_once(place):
    answer = place.post(
        "admin/users/new", name="Ida Invited", email="ida@initech.example", level="PROJECT_ADMIN",
        role=await place.role("Viewer"),
    )  # fmt: skip
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    link = unescape(_LINK.search(answer.body)[1])
    user = await place.sql.value("SELECT id FROM users WHERE email = 'ida@initech.example'")
    assert link not in place.boss.get(f"admin/users/{user}").body
    assert await place.audited(user) == ["web create user", "web update user"]
    guest = Browser(place.browser.host, place.browser.port)
    new = {"name": "Ida I.", "password": PASSWORD, "again": PASSWORD}
    assert guest.submit(link, new).status == 303
    assert guest.get(f"{place.boss.root}/admin/users").status == 200
    assert guest.get(link).status == 410
    again = Browser(place.browser.host, place.browser.port)
    assert again.sign_in(place.boss.root, "ida@initech.example", PASSWORD).status == 303


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"email": ""}, "email", "use 1 to 254 characters"),
        ({"email": "nobody"}, "email", "This is no e-mail address"),
        ({"email": HOSTILE}, "email", "This is no e-mail address"),
        ({"email": f"{'x' * 250}@y.example"}, "email", "use 1 to 254 characters"),
        ({"email": "LEAD@initech.example"}, "email", "There is a user with this e-mail address already"),
        ({"name": ""}, "name", "use 1 to 100 characters"),
        ({"name": "   "}, "name", "use 1 to 100 characters"),
        ({"name": f"{HOSTILE}{'x' * 100}"}, "name", "use 1 to 100 characters"),
        ({"name": "two\nlines"}, "name", "on one line"),
        ({"level": ""}, "level", "There is no access level"),
        ({"level": "<b>ROOT</b>"}, "level", "There is no access level"),
        ({"role": "987654321"}, "role", "There is no role with the id"),
        ({"role": "9" * 5000}, "role", "There is no role"),
        ({"role": "<b>"}, "role", "There is no role '<b>'"),
    ],
)
async def test_wrong_invitation_says_so_beside_the_field_and_keeps_what_was_typed(place, values, field, message):
    form = {"name": "Wrong", "email": "wrong@initech.example", "level": "REGULAR_USER", "role": "", **values}
    before = await place.sql.value("SELECT count(*) FROM users")
    answer = place.post("admin/users/new", **form)
    assert answer.status == 422
    assert message in fault(answer, field)
    assert 'aria-invalid="true"' in answer.body
    assert "<script>alert" not in answer.body
    for name in ("name", "email"):
        assert kept(answer, name).replace("\r", "") == form[name]
    assert await place.sql.value("SELECT count(*) FROM users") == before


def test_form_with_nothing_in_it_is_answered_as_a_form(place):
    for path in ("users/new", "users/{user}", "roles/new", "roles/{role}", "groups/new", "projects/new"):
        assert place.post(f"admin/{path}").status == 422, path
    for path in ("projects/{project}", "projects/{project}/users/new", "projects/{project}/users/{user}"):
        assert place.post(f"admin/{path}").status == 422, path
    for path in ("users/{user}/groups", "groups/{group}/members", "projects/{project}/groups/new"):
        assert place.post(f"admin/{path}").status == 422, path


async def test_project_admin_invites_regular_users_alone(place):
    by = place.office.project_admin
    form = {"name": "Made by PA", "role": "", "email": "by.pa@initech.example"}
    assert "Tenant Admin" not in by.get("admin/users/new").main()
    refused = place.post("admin/users/new", by=by, level="TENANT_ADMIN", **form)
    assert refused.status == 422
    assert "Only a Tenant Admin may change users." in refused.body
    made = place.post("admin/users/new", by=by, level="REGULAR_USER", **form)
    assert _LINK.search(made.body)
    user = await place.sql.value("SELECT id FROM users WHERE email = 'by.pa@initech.example'")
    assert place.post(f"admin/users/{user}/link", by=by, how="show").status == 404


async def test_user_is_changed_and_an_outdated_form_is_not_stored(place):
    user, email, _ = await place.new_user()
    path, role = f"admin/users/{user}", await place.role("Lead")
    form = {"name": HOSTILE[:90], "email": email, "level": "PROJECT_ADMIN", "role": role, "version": "1"}
    assert place.post(path, **form).location == f"{place.boss.root}/{path}"
    assert "The user is changed" in place.boss.get(path).body
    assert "The user is changed" not in place.boss.get(path).body
    found = await place.user(user)
    assert (found["name"], found["access_level"], found["version"]) == (HOSTILE[:90], "PROJECT_ADMIN", 2)
    late = place.post(path, **form | {"name": "Later"})
    assert late.status == 422
    assert "Lead has changed this since you opened the page" in late.body
    assert kept(late, "name") == "Later"
    assert (await place.user(user))["version"] == 2
    version = re.search(r'name="version" value="(\d+)"', late.body)[1]
    assert place.post(path, **form | {"name": "Later", "version": version}).status == 303
    for version in ("", "x", "-1", "9" * 30):
        assert place.post(path, **form | {"version": version}).status == 422
    wrong = place.post(path, **form | {"email": "LEAD@initech.example", "name": "Kept", "version": "3"})
    assert fault(wrong, "email")
    assert kept(wrong, "name") == "Kept"


async def test_change_of_level_and_of_role_hold_at_the_next_request(place):
    user, email, visitor = await place.new_user(signed_in=True)
    assert visitor.get("admin/users").status == 404
    form = {"name": "N", "email": email, "role": await place.role("Viewer")}
    place.post(f"admin/users/{user}", **form, level="TENANT_ADMIN", version="1")
    assert visitor.get("admin/audit").status == 200
    place.post(f"admin/users/{user}", **form, level="REGULAR_USER", version="2")
    assert visitor.get("admin/users").status == 404


async def test_nobody_changes_their_own_level_or_deactivates_themselves(place):
    me = place.tenant.people["lead"]
    found = await place.user(me.id)
    form = {"name": "Lead", "email": me.email, "role": await place.role("Lead"), "version": str(found["version"])}
    _, _, other = await place.new_user("TENANT_ADMIN", signed_in=True)
    refused = place.post(f"admin/users/{me.id}", **form, level="REGULAR_USER")
    assert refused.status == 422
    assert "Nobody can change their own access level" in refused.body
    refused = place.post(f"admin/users/{me.id}/deactivate")
    assert refused.status == 422
    assert "Nobody can deactivate themselves" in refused.body
    assert "/deactivate" not in place.boss.get(f"admin/users/{me.id}").body
    assert f"admin/users/{me.id}/deactivate" in other.get(f"admin/users/{me.id}").body
    assert (await place.user(me.id))["active"]


async def test_last_tenant_admin_stays(place):
    await place.sql.rows(
        "UPDATE users SET access_level = 'REGULAR_USER' WHERE access_level = 'TENANT_ADMIN' AND id <> $1",
        place.tenant.people["lead"].id,
    )
    me = place.tenant.people["lead"].id
    for path, form in ((f"admin/users/{me}/deactivate", {}), (f"admin/users/{me}", {"level": "PROJECT_ADMIN"})):
        found = await place.user(me)
        full = {"name": "Lead", "email": found["email"], "version": str(found["version"])} | form
        refused = place.post(path, **full)
        assert refused.status == 422
        assert "This is the only active Tenant Admin" in refused.body
    assert (await place.user(me))["active"]


async def test_deactivated_users_session_and_keys_end_at_the_next_request_and_come_back(place):
    user, email, visitor = await place.new_user(signed_in=True)
    visitor.get("profile/keys")
    made = visitor.post("profile/keys", label="Agent", expires="")
    client = Client(place.tenant.host, place.tenant.port, re.search(r"to_live_[\w-]{43}", made.body)[0])
    assert client.post(PING)[0] == 200
    path = f"admin/users/{user}/deactivate"
    assert "1 API key of theirs is refused" in place.boss.get(path).body
    assert place.post(path).status == 303
    assert client.post(PING)[0] == 401
    assert visitor.get("profile/keys").status == 303
    assert Browser(place.browser.host, place.browser.port).sign_in(place.boss.root, email, PASSWORD).status != 303
    page = place.boss.get(f"admin/users/{user}").body
    assert "Deactivated" in page
    assert "owner deactivated" in page
    assert place.post(f"admin/users/{user}/link", how="show").status == 404
    assert place.post(f"admin/users/{user}/activate").status == 303
    assert client.post(PING)[0] == 200
    assert visitor.get("profile/keys").status == 200
    client.close()
    operations = await place.admin.fetch(
        "SELECT operation FROM control.operations WHERE details ->> 'user_id' = $1 ORDER BY id", str(user)
    )
    assert [row["operation"] for row in operations] == ["key.create", "user.deactivate", "user.activate"]
    assert (await place.audited(user)) == ["web update user"] * 2


async def test_key_that_was_left_behind_is_put_right_by_doing_it_again(place):
    user, _, visitor = await place.new_user(signed_in=True)
    place.post(f"admin/users/{user}/deactivate")
    await place.admin.execute("UPDATE control.passwords SET owner_active = true WHERE user_id = $1", user)
    assert visitor.get("profile/keys").status == 303
    assert place.post(f"admin/users/{user}/deactivate").status == 303
    assert not await place.admin.fetchval("SELECT owner_active FROM control.passwords WHERE user_id = $1", user)


async def test_key_of_another_is_seen_and_revoked_by_tenant_admins_alone(place):
    user, _, visitor = await place.new_user(signed_in=True)
    visitor.get("profile/keys")
    made = visitor.post("profile/keys", label=HOSTILE[:90], expires="")
    key = re.search(r"to_live_[\w-]{43}", made.body)[0]
    client = Client(place.tenant.host, place.tenant.port, key)
    page = place.boss.get(f"admin/users/{user}").body
    assert key not in page
    assert f"{key[:12]}…" in page
    assert HOSTILE[:90] in unescape(page)
    assert key[:12] not in place.office.project_admin.get(f"admin/users/{user}").body
    path = re.search(rf"admin/users/{user}/keys/\d+/revoke", page)[0]
    other = place.office.path(path.replace(f"users/{user}", "users/{user}"))
    assert place.post(other).status == 404
    assert place.post(path, by=place.office.project_admin).status == 404
    assert client.post(PING)[0] == 200
    assert place.boss.get(path).status == 200
    assert place.post(path).status == 303
    assert client.post(PING)[0] == 401
    client.close()
    assert place.post(path).status == 404


async def test_tenant_admin_gives_another_password_by_a_link(place):
    user, _, visitor = await place.new_user(signed_in=True)
    answer = place.post(f"admin/users/{user}/link", how="show")
    link = unescape(_LINK.search(answer.body)[1])
    assert "/password/reset?" in link
    guest = Browser(place.browser.host, place.browser.port)
    assert guest.submit(link, {"password": PASSWORD, "again": PASSWORD}).status == 303
    assert visitor.get("profile/keys").status == 303
    assert guest.get(f"{place.boss.root}/profile/keys").status == 200
    # Without a mail server nothing is mailed, whatever is asked for.
    assert _LINK.search(place.post(f"admin/users/{user}/link", how="mail").body)


async def test_groups_of_a_user(place):
    user, _, _ = await place.new_user()
    group = place.office.ids["group"]
    members = "SELECT count(*) FROM group_members WHERE group_id = $1 AND user_id = $2"
    for value in ("", "987654321", "<b>no group</b>", "9" * 400):
        refused = place.post(f"admin/users/{user}/groups", add=value)
        assert refused.status == 422
        assert fault(refused, "add")
        assert "<b>no" not in refused.body
    assert place.post(f"admin/users/{user}/groups", add=str(group)).status == 303
    assert await place.sql.value(members, group, user) == 1
    assert place.post(f"admin/users/{user}/groups", remove=str(group)).status == 303
    assert await place.sql.value(members, group, user) == 0
    assert place.post(f"admin/users/{user}/groups", by=place.office.project_admin, add=str(group)).status == 404


async def test_role_is_made_changed_made_the_default_and_deleted(place):
    made = place.post("admin/roles/new", name=f" {HOSTILE[:60]}2 ", description=HOSTILE, VIEW_TEST_CASES="on", X="on")
    assert made.status == 303
    role = int(await place.role(f"{HOSTILE[:60]}2"))
    held = "SELECT permissions FROM roles WHERE id = $1"
    assert await place.sql.value(held, role) == ["VIEW_TEST_CASES"]
    form = {"name": "Second", "description": "", "ADD_COMMENTS": "on", "VIEW_CYCLES": "on"}
    assert place.post(f"admin/roles/{role}", **form).status == 303
    assert await place.sql.value(held, role) == ["ADD_COMMENTS", "VIEW_CYCLES"]
    assert place.post(f"admin/roles/{role}", **form, default="on").status == 303
    refused = place.post(f"admin/roles/{role}/delete")
    assert refused.status == 422
    assert "is the default role" in refused.body
    assert "Delete the role</button>" not in place.boss.get(f"admin/roles/{role}/delete").body
    tester = await place.role("Tester")
    permissions = dict.fromkeys(await place.sql.value(held, int(tester)), "on")
    assert place.post(f"admin/roles/{tester}", name="Tester", default="on", **permissions).status == 303
    assert place.post(f"admin/roles/{role}/delete").status == 303
    assert place.boss.get(f"admin/roles/{role}").status == 404
    assert await place.audited(role) == ["web create role", "web update role", "web update role", "web delete role"]
    in_use = place.post("admin/roles/{role}/delete")
    assert in_use.status == 422
    assert "is in use" in in_use.body


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "LEAD"}, "name"),
        ({"description": "x" * 501}, "description"),
    ],
)
def test_wrong_role_keeps_what_was_typed_and_ticked(place, values, field):
    form = {"name": "Third", "description": HOSTILE, "VIEW_CYCLES": "on", "default": "on", **values}
    answer = place.post("admin/roles/new", **form)
    assert answer.status == 422
    assert fault(answer, field)
    assert kept(answer, "name") == form["name"]
    assert kept(answer, "description") == form["description"]
    assert answer.body.count(" checked>") == 2
    assert 'name="VIEW_CYCLES" checked' in answer.body


async def test_group_is_made_changed_disabled_and_its_members_too(place):
    user, email, _ = await place.new_user()
    made = place.post(
        "admin/groups/new", name="Night shift", description=HOSTILE, members=f"{email}, LEAD@initech.example"
    )
    group = int(made.location.rpartition("/")[2])
    assert await place.sql.value("SELECT count(*) FROM group_members WHERE group_id = $1", group) == 2
    path = f"admin/groups/{group}"
    assert place.post(path, enabled="off").status == 303
    assert "Disabled" in place.boss.get(path).body
    assert place.post(path, enabled="on").status == 303
    assert place.post(path, name="Day shift", description="").status == 303
    assert place.post(f"{path}/members", remove=str(user)).status == 303
    assert email not in place.boss.get(path).body
    typed = f"{email} nobody@initech.example {HOSTILE}"
    refused = place.post(f"{path}/members", members=typed)
    assert refused.status == 422
    assert "There is no user with the e-mail" in fault(refused, "members")
    assert kept(refused, "members") == typed
    assert place.post(f"{path}/members", members=email).status == 303
    assert fault(place.post(path, name="day SHIFT", description="x" * 501), "description")
    assert fault(place.post("admin/groups/new", name="day SHIFT", members=""), "name")


async def test_project_is_made_changed_completed_and_reopened(place):
    by = place.office.project_admin
    role = await place.role("Viewer")
    form = {"name": f"{HOSTILE[:60]}3", "summary": HOSTILE, "icon": "", "access": "ROLE", "role": role}
    made = place.post("admin/projects/new", by=by, **form)
    path = made.location.removeprefix(f"{by.root}/")
    project = int(path.rpartition("/")[2])
    stored = "SELECT default_access, default_role_id, completed_at IS NOT NULL AS completed FROM projects WHERE id = $1"
    assert tuple((await place.sql.rows(stored, project))[0]) == ("ROLE", int(role), False)
    # The role that was chosen before is not in the way of another default access.
    assert place.post(path, by=by, **form | {"access": "NO_ACCESS"}, version="1").status == 303
    assert tuple((await place.sql.rows(stored, project))[0]) == ("NO_ACCESS", None, False)
    late = place.post(path, by=by, **form | {"name": "Late"}, version="1")
    assert late.status == 422
    assert "has changed this since" in late.body
    assert kept(late, "name") == "Late"
    assert place.post(f"{path}/complete", by=by).status == 303
    assert (await place.sql.rows(stored, project))[0]["completed"]
    assert place.post(f"{path}/reopen", by=by).status == 303
    assert not (await place.sql.rows(stored, project))[0]["completed"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "MAIN"}, "name"),
        ({"summary": "x" * 2001}, "summary"),
        ({"icon": "x" * 51}, "icon"),
        ({"access": "ANY"}, "access"),
        ({"access": "ROLE"}, "role"),
        ({"access": "ROLE", "role": "987654321"}, "role"),
    ],
)
def test_wrong_project_keeps_what_was_typed(place, values, field):
    form = {"name": HOSTILE[:70], "summary": f"two\nlines {HOSTILE}", "icon": "cart", "access": "NO_ACCESS", "role": ""}
    answer = place.post("admin/projects/new", **form | values)
    assert answer.status == 422
    assert fault(answer, field)
    for name in ("name", "summary", "icon"):
        assert kept(answer, name) == (form | values)[name]


async def test_rules_decide_at_the_next_request_and_are_explained(place):
    user, email, visitor = await place.new_user(signed_in=True)
    project, role = place.tenant.project, await place.role("Viewer")
    lead = await place.role("Lead")
    path = f"admin/projects/{project}/users"
    assert visitor.get(f"projects/{project}").status == 200
    assert place.post(f"{path}/new", holder=email, mode="NO_ACCESS", role=role).status == 303
    assert visitor.get(f"projects/{project}").status == 404
    explained = place.boss.get(f"admin/access?user={email}&project=main")
    assert "may not enter main" in explained.body
    assert "rule: No Access" in explained.body
    assert place.post(f"{path}/{user}", mode="FORCE_ROLE", role=role).status == 303
    assert visitor.get(f"projects/{project}").status == 200
    assert place.post(f"{path}/{user}", mode="INHERIT", role=role, override=lead).status == 303
    assert "as Lead" in place.boss.get(f"admin/access?user={user}&project={project}").body
    assert f'<option value="{lead}" selected>' in place.boss.get(f"{path}/{user}").body
    assert place.post(f"{path}/{user}", mode="INHERIT", override="").status == 303
    assert "as Tester" in place.boss.get(f"admin/access?user={user}&project={project}").body
    group = place.office.ids["group"]
    groups = f"admin/projects/{project}/groups"
    assert place.post(f"{groups}/new", holder=str(group), mode="NO_ACCESS").status == 303
    assert place.post(f"admin/users/{user}/groups", add=str(group)).status == 303
    assert visitor.get(f"projects/{project}").status == 200
    assert place.post(f"{path}/{user}/remove").status == 303
    assert visitor.get(f"projects/{project}").status == 404
    assert place.post(f"{groups}/{group}", mode="FORCE_ROLE", role=role).status == 303
    assert visitor.get(f"projects/{project}").status == 200
    assert place.post(f"{groups}/{group}/remove").status == 303


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("users", {"holder": ""}, "holder"),
        ("users", {"holder": HOSTILE}, "holder"),
        ("users", {"mode": ""}, "mode"),
        ("users", {"mode": "FORCE_ROLE", "role": ""}, "role"),
        ("users", {"mode": "FORCE_ROLE", "role": "987654321"}, "role"),
        ("users", {"override": "987654321"}, "role"),
        ("groups", {"holder": ""}, "holder"),
        ("groups", {"holder": "<b>x</b>"}, "holder"),
        ("groups", {"mode": "<b>x</b>"}, "mode"),
    ],
)
def test_wrong_rule_says_so_beside_the_field(place, kind, values, field):
    holder = "lead@initech.example" if kind == "users" else str(place.office.ids["group"])
    form = {"holder": holder, "mode": "INHERIT", "role": "", **values}
    answer = place.post(f"admin/projects/{place.tenant.project}/{kind}/new", **form)
    assert answer.status == 422
    assert fault(answer, field)
    assert "<b>x" not in answer.body
    if kind == "users":
        assert kept(answer, "holder") == form["holder"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("user=nobody@x.example", "user"),
        ("project=main", "user"),
        ("user=%3Cscript%3Ealert(1)%3C/script%3E", "user"),
        ("user=lead@initech.example&project=%3Cimg%3E", "project"),
    ],
)
def test_question_about_nobody_is_answered_beside_the_field(place, query, field):
    answer = place.boss.get(f"admin/access?{query}")
    assert answer.status == 422
    assert fault(answer, field)
    assert "<img" not in answer.body
    assert "<script>alert" not in answer.body


async def test_where_mail_is_sent_the_link_is_mailed_and_not_shown(postgres, mail_server):
    inbox, settings = mail_server
    async with place_of_its_own(postgres, **settings) as (admin, tenant, [browser]):
        place = Place(
            admin, tenant, await make_office(admin, Sql(admin, tenant.workspace.schema_name), tenant), browser
        )
        form = {"name": "Mia", "email": "mia@initech.example", "level": "REGULAR_USER", "role": ""}
        refused = place.post("admin/users/new", **form | {"name": ""})
        assert refused.status == 422
        made = place.post("admin/users/new", **form)
        assert made.status == 303
        [message] = await inbox.wait(1)
        assert (message["To"], message["Subject"]) == ("mia@initech.example", "Lead invites you to Initech")
        path = made.location.removeprefix(f"{place.boss.root}/")
        page = place.boss.get(path)
        assert "A link is on its way to mia@initech.example." in page.body
        new = {"name": "Mia", "password": PASSWORD, "again": PASSWORD}
        assert Browser(browser.host, browser.port).submit(link_in(message), new).status == 303
        assert place.post(f"{path}/link", how="mail").status == 303
        other = (await inbox.wait(2))[1]
        assert other["Subject"] == "Another password for Initech"
        assert "/password/reset?" in link_in(other)
        # What is refused sends nothing: these are all.
        shown = place.post(f"{path}/link", how="show")
        assert "https://qa.initech.example/w/initech/password/reset?token=" in shown.body
        assert len(inbox.messages) == 2
