"""The start-up guard: each weakness, made on a database of its own, is found and refuses the start."""

from __future__ import annotations

import pytest

from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.guard import require_isolation, weaknesses
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tests.conftest import new_database, serving

# What is done to the database, in a transaction that is rolled back, and what the guard says of it.
WEAKNESSES = {
    "superuser": (f"ALTER ROLE {APP} SUPERUSER", "a superuser"),
    "bypassrls": (f"ALTER ROLE {APP} BYPASSRLS", "row security"),
    "createrole": (f"ALTER ROLE {APP} CREATEROLE", "make roles"),
    "inherits": (f"ALTER ROLE {APP} INHERIT", "an inheriting role"),
    "owns": (f"CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO {APP}", "owns objects"),
    "table right": (f"GRANT SELECT ON control.api_keys TO {APP}", "rights on a table"),
    "inheriting membership": ("GRANT {w} TO " + APP + " WITH INHERIT TRUE", "inherits its rights"),
    "admin option": ("GRANT {w} TO " + APP + " WITH ADMIN TRUE", "may grant it"),
    "foreign membership": (f"GRANT testorchestrator_owner TO {APP} WITH INHERIT FALSE", "which is no workspace"),
    "set_config": ("GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO PUBLIC", "set_config"),
    "pg_notify": ("GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC", "pg_notify"),
    "plpgsql": ("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "plpgsql"),
    "temporary tables": ("GRANT TEMPORARY ON DATABASE {d} TO PUBLIC", "temporary tables"),
    "public schema": ("GRANT USAGE ON SCHEMA public TO PUBLIC", "schema public"),
    "control schema": ("GRANT USAGE ON SCHEMA control TO PUBLIC", "schema control"),
    "two schemas": ("GRANT USAGE ON SCHEMA {v} TO {w}", "reaches another schema"),
    "workspace role owns": ("CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO {w}", "owns objects"),
    "workspace role is a member": ("GRANT {v} TO {w}", "is a member of another role"),
    "workspace role may set": ("GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO {w}", "set_config"),
    "workspace open to all": ("GRANT USAGE ON SCHEMA {w} TO PUBLIC", "everybody may use the schema"),
}


@pytest.fixture(scope="module")
async def database(postgres):
    """A database with two workspaces: its name, an administrator's connection, and the two schemas."""
    async with new_database(postgres) as (name, admin):
        made = [await create_workspace(admin, slug=slug, name=slug) for slug in ("one", "two")]
        yield name, admin, *(workspace.schema_name for workspace in made)


async def test_database_as_it_is_made_has_no_weakness(database, postgres):
    name, *_ = database
    login = await connect(postgres.dsn(user=APP, database=name), name="the login")
    assert await weaknesses(login) == []
    await login.close()


@pytest.mark.parametrize("weakness", WEAKNESSES)
async def test_weakness_is_found(weakness, database):
    name, admin, one, two = database
    make, told = (text.format(w=one, v=two, d=name) for text in WEAKNESSES[weakness])
    transaction = admin.transaction()
    await transaction.start()
    try:
        for statement in make.split(";"):
            await admin.execute(statement)
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        found = await weaknesses(admin)
        assert any(told in one for one in found), found
        with pytest.raises(TenancyError, match="does not isolate"):
            await require_isolation(admin)
    finally:
        await transaction.rollback()


async def test_service_does_not_start_as_a_superuser(database, postgres):
    name, *_ = database
    with pytest.raises(TenancyError, match="a superuser"), serving(postgres.dsn(database=name)):
        pass
