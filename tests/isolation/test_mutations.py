"""Each measure of the isolation is taken away in turn: an attack that is refused otherwise must then get through.

A measure of the database is taken away in a copy of a database, on a server of its own since roles are the whole
cluster's; one of the code in a changed copy of `tenancy.session`. Without this, an attack could be refused for another
reason than the one that it is there to prove.
"""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import pytest

import tenancy.session
from migrations.workspace.tables import metadata
from service.domain.users import add_user
from tenancy import guard
from tenancy.connection import connect
from tenancy.migrate import migrate
from tenancy.pool import Pool
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import Gateway
from tests.conftest import new_database
from tests.isolation.attacks import (
    ATTACKS,
    QUERY_WORDS,
    Place,
    database_refuses,
    each_reads_its_own,
    facade_refuses,
    login_calls_nothing,
    login_reads_nothing,
    login_rests,
    no_lock_is_left_of_a_request,
    nothing_is_left_of_a_request,
    only_a_workspace_is_entered,
    read_only_transaction_refuses,
    recalled_key_is_confirmed,
    versions_hold_their_case,
    who_acts_is_whom_the_entry_names,
)
from tests.isolation.weaknesses import WEAKNESSES, versions_go_with_their_case

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Check = partial["Awaitable[Any]"]
#: How a check fails when the attack gets through: nothing was raised, or something was left behind.
GOT_THROUGH = (AssertionError, pytest.fail.Exception)


class Mutation(NamedTuple):
    """*make* takes the measure away, *undo* puts back what is the cluster's; {own} and {other} are two workspaces."""

    make: str
    checks: tuple[Check, ...]
    undo: str = "SELECT 1"


class CodeMutation(NamedTuple):
    """In the source of `tenancy.session`, *old* becomes *new*. *fails* is how a check that is not passed ends."""

    old: str
    new: str
    check: Check
    fails: tuple[type[BaseException], ...] = GOT_THROUGH


def check(made: Callable[..., Awaitable[Any]], *arguments: str) -> Check:
    return partial(_swapped, made, arguments)


async def _swapped(made: Callable[..., Awaitable[Any]], arguments: tuple[str, ...], place: Place) -> None:
    await made(place, *arguments)


def through_facade(*names: str) -> tuple[Check, ...]:
    return tuple(check(facade_refuses, name) for name in names)


def in_database(*names: str) -> tuple[Check, ...]:
    return tuple(check(database_refuses, name) for name in names)


async def _by_a_new_connection(made: Callable[..., Awaitable[Any]], _: tuple[str, ...], place: Place) -> None:
    """What a session begins with, the ones that are there have begun with already."""
    async with place.pool.lend():
        pass
    await made(place)


def check_anew(made: Callable[..., Awaitable[Any]]) -> tuple[Check, ...]:
    return (partial(_by_a_new_connection, made, ()),)


LOGIN_READS_NOTHING = (check(login_reads_nothing),)

MUTATIONS = {
    # What everybody loses
    "REVOKE set_config": Mutation(
        "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO PUBLIC",
        through_facade(
            "set_config role", "set_config path", "set_config in WITH", "set_config who acts", "pg_settings"
        ),
    ),
    "REVOKE pg_notify": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC", through_facade("pg_notify")
    ),
    "REVOKE lo_creat": Mutation(
        "GRANT EXECUTE ON FUNCTION lo_creat(integer) TO PUBLIC", through_facade("large object of old")
    ),
    "REVOKE lo_create": Mutation("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC", through_facade("large object")),
    "REVOKE lo_from_bytea": Mutation(
        "GRANT EXECUTE ON FUNCTION lo_from_bytea(oid, bytea) TO PUBLIC", through_facade("large object with content")
    ),
    "REVOKE lo_unlink": Mutation(
        "GRANT EXECUTE ON FUNCTION lo_unlink(oid) TO PUBLIC", through_facade("large object, removed")
    ),
    "REVOKE pg_advisory_lock": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC",
        (
            *through_facade("advisory lock", "advisory lock in a read-only call", "many advisory locks"),
            check(no_lock_is_left_of_a_request),
        ),
    ),
    "REVOKE pg_advisory_lock_shared": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock_shared(integer, integer) TO PUBLIC",
        through_facade("shared advisory lock"),
    ),
    "REVOKE pg_advisory_xact_lock": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO PUBLIC",
        through_facade("advisory lock of the transaction"),
    ),
    "REVOKE pg_try_advisory_lock": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO PUBLIC", through_facade("try advisory lock")
    ),
    "REVOKE pg_try_advisory_xact_lock": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_try_advisory_xact_lock(integer, integer) TO PUBLIC",
        through_facade("try advisory lock of the transaction"),
    ),
    "REVOKE pg_advisory_unlock_all": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_advisory_unlock_all() TO PUBLIC", through_facade("unlock what another took")
    ),
    "REVOKE pg_get_object_address": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_get_object_address(text, text[], text[]) TO PUBLIC",
        through_facade("lock of another's schema", "locks of all roles"),
    ),
    "REVOKE pg_get_functiondef": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_get_functiondef(oid) TO PUBLIC", through_facade("locks of another's tables")
    ),
    "REVOKE pg_sequence_last_value": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_sequence_last_value(regclass) TO PUBLIC", through_facade("locks of all sequences")
    ),
    "REVOKE setseed": Mutation("GRANT EXECUTE ON FUNCTION setseed(float8) TO PUBLIC", through_facade("setseed")),
    "REVOKE currval": Mutation(
        "GRANT EXECUTE ON FUNCTION currval(regclass) TO PUBLIC", through_facade("last number drawn from a sequence")
    ),
    "REVOKE pg_prepared_statement": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_prepared_statement() TO PUBLIC", through_facade("texts of prepared queries")
    ),
    "REVOKE pg_cursor": Mutation("GRANT EXECUTE ON FUNCTION pg_cursor() TO PUBLIC", through_facade("texts of cursors")),
    "REVOKE pg_stat_force_next_flush": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_stat_force_next_flush() TO PUBLIC", through_facade("statistics at once")
    ),
    "REVOKE ts_stat": Mutation(
        "GRANT EXECUTE ON FUNCTION ts_stat(text), ts_stat(text, text) TO PUBLIC",
        through_facade("ts_stat of its own", "ts_stat of its own by weight"),
    ),
    "REVOKE ts_rewrite": Mutation(
        "GRANT EXECUTE ON FUNCTION ts_rewrite(tsquery, text) TO PUBLIC", through_facade("ts_rewrite runs a query")
    ),
    "REVOKE pg_logical_emit_message": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean), "
        "pg_logical_emit_message(boolean, text, bytea, boolean) TO PUBLIC",
        through_facade("logical message", "logical message of the transaction"),
    ),
    "REVOKE pg_current_xact_id": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_current_xact_id(), txid_current() TO PUBLIC",
        through_facade("transaction number", "transaction number of old"),
    ),
    "REVOKE pg_export_snapshot": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_export_snapshot() TO PUBLIC", through_facade("snapshot for others")
    ),
    "REVOKE pg_sleep": Mutation(
        "GRANT EXECUTE ON FUNCTION pg_sleep(float8), pg_sleep_for(interval), pg_sleep_until(timestamptz) TO PUBLIC",
        through_facade("sleep", "sleep for a while", "sleep until"),
    ),
    "REVOKE plpgsql": Mutation("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", in_database("DO")),
    "REVOKE TEMPORARY": Mutation(
        "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC",
        (*in_database("temporary table"), *through_facade("temporary table by SELECT INTO")),
    ),
    "REVOKE CREATE on the database": Mutation(
        "GRANT CREATE ON DATABASE {database} TO PUBLIC", in_database("CREATE SCHEMA")
    ),
    "REVOKE schema public": Mutation(
        "GRANT ALL ON SCHEMA public TO PUBLIC", through_facade("table in public by SELECT INTO")
    ),
    # The login
    "login is no superuser": Mutation(
        f"ALTER ROLE {APP} SUPERUSER",
        (*LOGIN_READS_NOTHING, *in_database("SET SESSION AUTHORIZATION")),
        undo=f"ALTER ROLE {APP} NOSUPERUSER",
    ),
    "membership WITH INHERIT FALSE": Mutation(
        f"GRANT {{own}} TO {APP} WITH INHERIT TRUE",
        LOGIN_READS_NOTHING,
        undo=f"GRANT {{own}} TO {APP} WITH INHERIT FALSE",
    ),
    "NOINHERIT, where a membership does not say": Mutation(
        f"ALTER ROLE {APP} INHERIT; REVOKE {{own}} FROM {APP}; GRANT {{own}} TO {APP}",
        LOGIN_READS_NOTHING,
        undo=f"ALTER ROLE {APP} NOINHERIT; GRANT {{own}} TO {APP} WITH INHERIT FALSE",
    ),
    "login has no rights in a workspace": Mutation(
        f"GRANT USAGE ON SCHEMA {{own}} TO {APP}; GRANT SELECT ON {{own}}.users TO {APP}", LOGIN_READS_NOTHING
    ),
    "login has no rights on control's tables": Mutation(
        f"GRANT SELECT ON control.api_keys TO {APP}", LOGIN_READS_NOTHING
    ),
    "login calls none of control's functions": Mutation(
        f"GRANT EXECUTE ON FUNCTION control.prove_password(bigint, bigint, text) TO {APP}",
        (check(login_calls_nothing),),
    ),
    "login calls no set_config": Mutation(
        f"GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO {APP}", (check(login_calls_nothing),)
    ),
    "login is read-only at rest": Mutation(
        f"ALTER ROLE {APP} SET default_transaction_read_only = off",
        check_anew(login_rests),
        undo=f"ALTER ROLE {APP} SET default_transaction_read_only = on",
    ),
    "login has no path at rest": Mutation(
        f"ALTER ROLE {APP} SET search_path = pg_catalog",
        check_anew(login_rests),
        undo=f"ALTER ROLE {APP} SET search_path = ''",
    ),
    "login is no member of the owner": Mutation(
        f"GRANT testorchestrator_owner TO {APP} WITH INHERIT FALSE",
        in_database("SET ROLE to the owner"),
        undo=f"REVOKE testorchestrator_owner FROM {APP}",
    ),
    "login is no member of control": Mutation(
        f"GRANT testorchestrator_control TO {APP} WITH INHERIT FALSE",
        in_database("SET ROLE to control"),
        undo=f"REVOKE testorchestrator_control FROM {APP}",
    ),
    # A workspace's role
    "no membership among workspaces": Mutation(
        "GRANT {other} TO {own}",
        through_facade("qualified name", "qualified write"),
        undo="REVOKE {other} FROM {own}",
    ),
    "no role that reads all": Mutation(
        "GRANT pg_read_all_data TO {own}",
        through_facade("qualified name", "control's table of keys"),
        undo="REVOKE pg_read_all_data FROM {own}",
    ),
    "no role that runs programs": Mutation(
        "GRANT pg_execute_server_program TO {own}",
        in_database("COPY PROGRAM"),
        undo="REVOKE pg_execute_server_program FROM {own}",
    ),
    "no CREATEROLE": Mutation(
        "ALTER ROLE {own} CREATEROLE", in_database("CREATE ROLE"), undo="ALTER ROLE {own} NOCREATEROLE"
    ),
    "one schema": Mutation(
        "GRANT USAGE ON SCHEMA {other} TO {own}; GRANT SELECT ON {other}.users TO {own}; "
        "GRANT USAGE ON SEQUENCE {other}.ids TO {own}",
        through_facade("qualified name", "by regclass", "qualified sequence"),
    ),
    "not control's functions": Mutation(
        "GRANT USAGE ON SCHEMA control TO {own}; GRANT EXECUTE ON FUNCTION control.authenticate_key(bytea) TO {own}; "
        "GRANT EXECUTE ON FUNCTION control.touch_key(bigint), "
        "control.prove_password(bigint, bigint, text) TO {own}",
        through_facade("control's function", "control's other function", "control's function for a stamp"),
    ),
    "not control's tables": Mutation(
        "GRANT USAGE ON SCHEMA control TO {own}; "
        "GRANT SELECT ON control.api_keys, control.workspaces, control.passwords TO {own}",
        through_facade("control's table of keys", "control's table of workspaces", "control's hashes of passwords"),
    ),
    "no CREATE in its schema": Mutation(
        "GRANT CREATE ON SCHEMA {own} TO {own}",
        (*through_facade("table by SELECT INTO"), *in_database("CREATE FUNCTION")),
    ),
    "owner of the tables is another": Mutation("ALTER TABLE {own}.cases OWNER TO {own}", in_database("ALTER TABLE")),
    "no UPDATE on the sequence": Mutation(
        "GRANT UPDATE ON SEQUENCE {own}.ids TO {own}", through_facade("reset the sequence")
    ),
    "no TRUNCATE": Mutation("GRANT TRUNCATE ON {own}.audit_log TO {own}", in_database("TRUNCATE")),
}
# Tables that only grow
for _table, _attacks in {
    "audit_log": ("rewrite the audit log", "delete from the audit log"),
    "case_versions": ("rewrite a version", "delete a version"),
    "results": ("rewrite a result", "delete a result"),
    "result_steps": ("rewrite a result's step",),
    "result_field_values": ("rewrite a result's value",),
}.items():
    MUTATIONS[f"{_table} only grows"] = Mutation(
        f"GRANT UPDATE, DELETE ON {{own}}.{_table} TO {{own}}", through_facade(*_attacks)
    )

# What is deleted by a date, or never
for _table in ("cases", "comments", "runs", "projects", "users"):
    MUTATIONS[f"no DELETE on {_table}"] = Mutation(
        f"GRANT DELETE ON {{own}}.{_table} TO {{own}}", through_facade(f"delete the {_table}")
    )
MUTATIONS["no cascade to the versions"] = Mutation(
    f"GRANT DELETE ON {{own}}.cases TO {{own}}; {versions_go_with_their_case('{own}')}",
    (check(versions_hold_their_case),),
)
# Columns that have their value from the database alone
for _columns, _attacks in {
    "INSERT (user_id) ON audit_log": ("audit row of another user", "audit row of another user by MERGE"),
    "INSERT (api_key_id) ON audit_log": ("audit row of another key",),
    "INSERT (tool) ON audit_log": ("audit row of another tool",),
    "INSERT (created_at) ON audit_log": ("audit row of the past",),
    "INSERT (id) ON audit_log": ("audit row with an id",),
    "INSERT (created_by) ON results": ("result of another user",),
    "INSERT (api_key_id) ON results": ("result of another key",),
    "INSERT (created_at) ON results": ("result of the past",),
    "INSERT (created_by) ON case_versions": ("version of another user",),
    "INSERT (api_key_id) ON case_versions": ("version of another key",),
    "INSERT (created_at) ON case_versions": ("version of the past",),
    "INSERT (author_id) ON comments": ("comment of another user",),
    "UPDATE (id) ON cases": ("give cases other ids",),
    "UPDATE (number) ON cases": ("give cases other numbers",),
    "UPDATE (project_id) ON cases": ("give cases to another project",),
    "UPDATE (created_by) ON cases": ("give cases another author",),
    "UPDATE (created_at) ON cases": ("give cases another age",),
    "UPDATE (id) ON projects": ("give projects other ids",),
    "UPDATE (created_at) ON runs": ("give runs another age",),
    "UPDATE (author_id) ON comments": ("give comments another author",),
    "UPDATE (case_version) ON run_cases": ("execute another version",),
}.items():
    MUTATIONS[f"no {_columns}"] = Mutation(
        f"GRANT {_columns.replace(' ON ', ' ON {own}.')} TO {{own}}", through_facade(*_attacks)
    )

CODE_MUTATIONS = {
    "the gate": CodeMutation("if not _QUERY.match(query):", "if False:", check(facade_refuses, "SET ROLE")),
    "the gate looks at the beginning": CodeMutation(
        "_QUERY.match(query)", "_QUERY.search(query)", check(facade_refuses, "commented SET")
    ),
    "one statement at a time": CodeMutation(
        "statement = await connection.prepare(_checked(query) + self._mark)\n"
        "            await statement.fetch()\n"
        "            status = statement.get_statusmsg()",
        "status = await connection.execute(_checked(query) + self._mark)",
        check(facade_refuses, "stacked COMMIT", "execute"),
    ),
    "SET LOCAL ROLE": CodeMutation("SET LOCAL ROLE", "SET ROLE", check(nothing_is_left_of_a_request)),
    "SET LOCAL search_path": CodeMutation(
        "SET LOCAL search_path", "SET search_path", check(nothing_is_left_of_a_request)
    ),
    "SET LOCAL time limits": CodeMutation(
        "SET LOCAL idle_in_transaction", "SET idle_in_transaction", check(nothing_is_left_of_a_request)
    ),
    "SET LOCAL who acts": CodeMutation(
        "SET LOCAL testorchestrator", "SET testorchestrator", check(nothing_is_left_of_a_request)
    ),
    "who acts is said": CodeMutation(
        "{_acting(actor)}; {role}",
        "{role}",
        check(who_acts_is_whom_the_entry_names),
        (*GOT_THROUGH, asyncpg.NotNullViolationError),
    ),
    # These two fail closed: the query finds nothing rather than another workspace's rows.
    "the role is entered": CodeMutation(
        "SET LOCAL ROLE {schema_name}; ",
        "",
        check(each_reads_its_own),
        (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError),
    ),
    "the path is the own schema": CodeMutation(
        "SET LOCAL search_path = {schema_name}, pg_temp",
        "SET LOCAL search_path = pg_temp",
        check(each_reads_its_own),
        (asyncpg.UndefinedTableError,),
    ),
    "READ ONLY": CodeMutation(
        '"READ ONLY" if read_only else "READ WRITE"',
        '"READ WRITE"',
        check(read_only_transaction_refuses, "UPDATE users SET name = name"),
    ),
    "the name is a workspace's": CodeMutation(
        "_SCHEMA_NAME.fullmatch(schema_name)",
        "_SCHEMA_NAME.match(schema_name)",
        check(only_a_workspace_is_entered, "w_abcd; RESET ROLE"),
        (asyncpg.PostgresError,),
    ),
    "who was recalled is confirmed": CodeMutation("{confirmation}", "", check(recalled_key_is_confirmed)),
    "the facade is left": CodeMutation(
        '"""Let no query through any more."""\n        self._connection = None',
        '"""Let no query through any more."""',
        check(nothing_is_left_of_a_request),
    ),
}

# What opens nothing by being taken away alone, since another measure covers it; the start-up guard or doctor tells it.
COVERED = {
    "NOINHERIT, where each membership says it": (f"ALTER ROLE {APP} INHERIT", f"ALTER ROLE {APP} NOINHERIT"),
    "EXECUTE on control's functions, in a schema that is shut": (
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA control TO PUBLIC",
        "SELECT 1",
    ),
    "USAGE on control's schema, with nothing to use": ("GRANT USAGE ON SCHEMA control TO PUBLIC", "SELECT 1"),
    "SELECT on a table in a schema that is shut": ("GRANT SELECT ON {other}.users TO PUBLIC", "SELECT 1"),
    "versions hold their case, which nobody may delete": (versions_go_with_their_case("{own}"), "SELECT 1"),
    "CONNECT, with no role that may log in": ("GRANT CONNECT ON DATABASE {database} TO PUBLIC", "SELECT 1"),
}


@pytest.fixture(scope="module")
async def template(watched_server):
    """The name of a database with two workspaces of one user each, their schemas, and the e-mails in each."""
    root = await connect(watched_server.dsn(), name="root")
    name = f"template_{secrets.token_hex(4)}"
    await root.execute(f"CREATE DATABASE {name}")
    admin = await connect(watched_server.dsn(database=name), name="root")
    await migrate(admin)
    emails: dict[str, set[str]] = {}
    for slug in ("attacker", "victim"):
        email = f"lead@{slug}.example"
        fill = partial(add_user, email=email, name="Lead", access_level="TENANT_ADMIN", role="Lead")
        made = await create_workspace(admin, slug=slug, name=slug, populate=fill)
        emails[made.schema_name] = {email}
    await admin.close()
    yield name, emails
    await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for role in emails:
        await root.execute(f"DROP ROLE {role}")
    await root.close()


@pytest.fixture
async def copy(watched_server, template):
    """A copy of the template, and a superuser's connection to it."""
    name, emails = template
    root = await connect(watched_server.dsn(), name="root")
    mutant = f"mutant_{secrets.token_hex(4)}"
    await root.execute(f"CREATE DATABASE {mutant} TEMPLATE {name} STRATEGY file_copy")
    admin = await connect(watched_server.dsn(database=mutant), name="root")
    # A copy has the contents, and the rights on everything in it; those on itself are made anew.
    await migrate(admin)
    pool = Pool(watched_server.dsn(user=APP, database=mutant), size=1)
    yield Place(*emails, emails, pool, Gateway(pool)), mutant, admin
    await pool.close()
    await admin.close()
    await root.execute(f"DROP DATABASE {mutant} WITH (FORCE)")
    await root.close()


KILLED = f"protections removed and found missing, of {len(MUTATIONS) + len(CODE_MUTATIONS)}"


async def got_through(place: Place, checks: tuple[Check, ...]) -> list[str]:
    """Return the checks that are not passed."""
    found = []
    for one in checks:
        try:
            await one(place)
        except GOT_THROUGH:
            made, arguments = one.args
            found.append(" ".join((made.__name__, *arguments)))
    return found


@pytest.mark.parametrize("measure", MUTATIONS)
async def test_attack_gets_through_without(measure, copy, figure):
    place, database, admin = copy
    mutation = MUTATIONS[measure]
    make, undo = (text.format(own=place.own, other=place.other, database=database) for text in mutation[::2])
    assert await got_through(place, mutation.checks) == []
    await admin.execute(make)
    try:
        through = await got_through(place, mutation.checks)
        assert (await look(admin)).findings, "doctor does not see it"
    finally:
        await admin.execute(undo)
    print(f"without {measure}: {'; '.join(through)}")  # noqa: T201 - with -s, the table of what each measure is for
    assert len(through) == len(mutation.checks)
    figure(KILLED)


@pytest.fixture
def mutated_session(monkeypatch):
    """Makes a copy of `tenancy.session` with a change in its source."""

    def make(old: str, new: str) -> ModuleType:
        source = Path(tenancy.session.__file__).read_text()
        assert old in source
        module = ModuleType("tenancy.session_changed")
        # Where its dataclasses look for it.
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source.replace(old, new), module.__name__, "exec"), module.__dict__)  # noqa: S102 - our own source
        return module

    return make


@pytest.mark.parametrize("measure", CODE_MUTATIONS)
async def test_attack_gets_through_without_in_the_code(measure, copy, mutated_session, figure):
    place, *_ = copy
    mutation = CODE_MUTATIONS[measure]
    await mutation.check(place)
    gateway = mutated_session(mutation.old, mutation.new).Gateway(place.pool)
    changed = replace(place, gateway=gateway)
    with pytest.raises(mutation.fails):
        await mutation.check(changed)
    figure(KILLED)


@pytest.mark.parametrize("measure", COVERED)
async def test_measure_that_another_one_covers_is_told_all_the_same(measure, copy):
    place, database, admin = copy
    make, undo = (text.format(own=place.own, other=place.other, database=database) for text in COVERED[measure])
    checks = (
        *through_facade(*(name for name, attack in ATTACKS.items() if attack.query.startswith(QUERY_WORDS))),
        *in_database(*(name for name, attack in ATTACKS.items() if attack.by_database)),
        *LOGIN_READS_NOTHING,
        check(versions_hold_their_case),
    )
    await admin.execute(make)
    try:
        assert await got_through(place, checks) == []
        assert (await look(admin)).findings
    finally:
        await admin.execute(undo)


def test_every_table_that_only_grows_is_among_the_mutations():
    growing = {
        table.name
        for table in metadata.sorted_tables
        if not {"UPDATE", "DELETE"} & set(re.findall("[A-Z]+", table.info["privileges"]))
    }
    assert growing == {name.removesuffix(" only grows") for name in MUTATIONS if name.endswith(" only grows")}


async def test_every_check_of_the_guard_finds_something_that_no_other_finds(postgres, monkeypatch):
    """So that a check which is taken away makes a test of the guard fail."""
    found_by: dict[str, set[int]] = {}
    checks = guard._CHECKS
    async with new_database(postgres) as (name, admin):
        one, two = [(await create_workspace(admin, slug=slug, name=slug)).schema_name for slug in ("one", "two")]
        for weakness, (make, _) in WEAKNESSES.items():
            transaction = admin.transaction()
            await transaction.start()
            await admin.execute(make.format(w=one, v=two, d=name))
            await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
            for place, one_check in enumerate(checks):
                monkeypatch.setattr(guard, "_CHECKS", (one_check,))
                if await guard.weaknesses(admin):
                    found_by.setdefault(weakness, set()).add(place)
            await transaction.rollback()
    needed = {place for places in found_by.values() if len(places) == 1 for place in places}
    assert needed == set(range(len(checks)))
