"""The pages of the administration: who sees which, and that what is stored comes out as text."""

from __future__ import annotations

import pytest

from service.access import AccessLevel
from service.domain.administration import DUTIES
from tests.conftest import MISSING
from tests.tools.conftest import Sql
from tests.web.conftest import place_of_its_own
from tests.web.offices import PAGES, POSTS, make_office
from tests.web.stages import HOSTILE
from tests.web.test_pages import looked_at

# Which pages have no name that is stored.
UNNAMED = {"admin/users/new", "admin/groups/new", "admin/projects/new", "admin/roles/new", "admin/access"}
NAVIGATION = ">Admin</a>"


@pytest.fixture(scope="module")
async def office(postgres):
    async with place_of_its_own(postgres) as (admin, tenant, _):
        yield await make_office(admin, Sql(admin, tenant.workspace.schema_name), tenant)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_stored_is_shown_as_text(office, page):
    answer = office.tenant_admin.get(office.path(page))
    assert answer.status == 200, answer.body
    seen = looked_at(answer.body)
    if page not in UNNAMED:
        assert HOSTILE[:40] in seen.text
    assert "<script>alert" not in answer.body
    assert "<img" not in answer.body


@pytest.mark.parametrize("level", list(AccessLevel))
@pytest.mark.parametrize("page", PAGES)
def test_page_is_for_the_levels_that_have_its_duty(office, page, level):
    visitor = office.visitor(level)
    answer = visitor.get(office.path(page))
    if PAGES[page] in DUTIES[level]:
        assert answer.status == 200
        assert NAVIGATION in answer.body
    else:
        assert answer.status == 404
        assert answer.body == visitor.get("admin/nosuch").body


@pytest.mark.parametrize("level", list(AccessLevel))
def test_navigation_leads_to_what_one_may_see(office, level):
    visitor = office.visitor(level)
    links = [link for link in looked_at(visitor.get("profile/keys").body).links() if "/admin" in link]
    assert bool(links) is bool(DUTIES[level])
    if links:
        seen = looked_at(visitor.get("admin/users").body)
        tabs = [link for link in seen.links() if link.count("/") == 4 and "/admin/" in link and "?" not in link]
        assert tabs
        assert all(visitor.get(link.removeprefix(f"{visitor.root}/")).status == 200 for link in tabs)
        assert ("Audit log" in seen.text) is (level == AccessLevel.TENANT_ADMIN)
    assert visitor.get("admin").status == (303 if links else 404)


@pytest.mark.parametrize("page", POSTS | {page: duty for page, duty in PAGES.items() if page.endswith("/new")})
def test_form_of_who_lacks_the_duty_changes_nothing(office, page):
    needed = (POSTS | PAGES)[page]
    for level in AccessLevel:
        visitor = office.visitor(level)
        visitor.get("profile/keys")
        if needed not in DUTIES[level]:
            assert visitor.post(office.path(page), name="x", email="x@y.example").status == 404
        assert visitor.post(office.path(page), csrf="made up", name="x").status == 400


@pytest.mark.parametrize("page", [page for page in {**PAGES, **POSTS} if "{" in page and "?" not in page])
@pytest.mark.parametrize("wrong", [MISSING, 2**63 - 1, 2**64, 0])
def test_what_is_not_there_has_no_page(office, page, wrong):
    visitor = office.tenant_admin
    visitor.get("admin/users")
    for name in office.ids:
        if f"{{{name}}}" in page:
            path = office.path(page, **{name: wrong})
            if page in PAGES:
                assert visitor.get(path).status == 404
            if page in POSTS:
                assert visitor.post(path, name="x").status == 404


def test_who_is_not_signed_in_is_asked_to(office, browser):
    place = office.tenant_admin
    browser.host, browser.port = place.tenant.host, place.tenant.port
    for page in PAGES:
        answer = browser.get(f"{place.root}/{office.path(page)}")
        assert answer.status == 303
        assert answer.location.startswith(f"{place.root}/sign-in?next=")
