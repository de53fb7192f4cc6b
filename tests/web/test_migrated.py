"""Pages while a migration changes what statements were prepared for."""

from __future__ import annotations


async def test_a_page_is_made_again_when_a_column_has_changed(browser, passwords, acme, world_admin):
    """Each connection knows statements of before."""
    assert browser.sign_in("/w/acme", acme.people["lead"].email, passwords).status == 303
    path = f"/w/acme/projects/{acme.project}/cases"
    table = f"{acme.workspace.schema_name}.users"
    try:
        for length in (100, 101, 102, 103):
            await world_admin.execute(f"ALTER TABLE {table} ALTER COLUMN name TYPE varchar({length})")
            assert [browser.get(path).status for _ in range(3)] == [200] * 3
    finally:
        await world_admin.execute(f"ALTER TABLE {table} ALTER COLUMN name TYPE varchar(100)")
