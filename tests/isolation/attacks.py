"""The attacks on the isolation, each as a function that raises where the attack gets through.

The tests make them on the database as it is; the mutations take a measure away first, and want one of them to get
through.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest

from tenancy.errors import NotConfirmed, StatementRefused
from tenancy.roles import APP
from tenancy.session import Actor, Identity
from tests.conftest import borrowed

if TYPE_CHECKING:
    from tenancy.pool import Pool
    from tenancy.session import Gateway

DENIED = asyncpg.InsufficientPrivilegeError
STACKED = asyncpg.PostgresSyntaxError  # "cannot insert multiple commands into a prepared statement"
UNKNOWN = asyncpg.UndefinedFunctionError
READS = ("fetch", "fetch_planned", "fetchrow", "fetchval", "execute")


class Attack(NamedTuple):
    """*by_database* is what the database alone answers, None where only the facade's gate stands in the way.

    It is made in a call that writes, or in one that only reads.
    """

    query: str
    by_database: type[Exception] | None = DENIED
    read_only: bool = False


_AUDIT = "INSERT INTO audit_log (action, object_type, object_id,"
_RESULT = "INSERT INTO results (id, run_id, case_id, case_version, status_id,"
_RECORDED = "1, rc.run_id, rc.case_id, rc.case_version, rc.status_id"
_VERSION = "INSERT INTO case_versions (case_id, version, snapshot,"
ATTACKS = {
    # Reading and writing elsewhere
    "qualified name": Attack("SELECT * FROM {other}.users"),
    "qualified name, quoted": Attack('SELECT * FROM "{other}"."users"'),
    "qualified write": Attack("UPDATE {other}.users SET name = 'x'"),
    "qualified insert": Attack("INSERT INTO {other}.groups (name) VALUES ('x')"),
    "qualified delete in WITH": Attack("WITH gone AS (DELETE FROM {other}.users RETURNING id) SELECT * FROM gone"),
    "qualified merge": Attack(
        "MERGE INTO {other}.groups g USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT (name) VALUES ('x')"
    ),
    "qualified sequence": Attack("SELECT nextval('{other}.ids')"),
    "qualified function": Attack("SELECT * FROM {other}.project_access(1)"),
    "by regclass": Attack("SELECT '{other}.users'::regclass"),
    "control's table of keys": Attack("SELECT * FROM control.api_keys"),
    "control's table of workspaces": Attack("SELECT * FROM control.workspaces"),
    "control's function": Attack("SELECT * FROM control.authenticate_key('x')"),
    "control's other function": Attack("SELECT control.touch_key(1)"),
    "control's hashes of passwords": Attack("SELECT * FROM control.passwords"),
    "control's function for a stamp": Attack("SELECT control.prove_password(1, 1, 'x')"),
    "control's function for another password": Attack("SELECT control.change_password(1, 1, 'x', 'x', 'x')"),
    "control's function for a link": Attack("SELECT control.issue_link(1, 1, 'invitation', 'x')"),
    "control's function to use a link": Attack("SELECT control.use_link(1, 1, 'invitation', 'x', 'x', 'x')"),
    "control's function that the login has": Attack("SELECT control.confirm_key(1, 1, 'x', 'x', 'x')"),
    "control's function for a key": Attack("SELECT control.create_own_key(1, 1, 'x', 'x', 'xxxx', 'x', NULL)"),
    "control's function for others' keys": Attack("SELECT * FROM control.list_user_keys(1, 1, 'x', 1)"),
    "control's function to deactivate": Attack("SELECT control.set_user_active(1, 1, 'x', 1, false)"),
    "passwords": Attack("SELECT rolpassword FROM pg_authid"),
    "statistics of columns": Attack("SELECT * FROM pg_statistic"),
    # Becoming somebody else
    "SET ROLE": Attack("SET ROLE {other}", None),
    "SET LOCAL ROLE": Attack("SET LOCAL ROLE {other}", None),
    "SET SESSION ROLE": Attack("SET SESSION ROLE {other}", None),
    "RESET ROLE": Attack("RESET ROLE", None),
    "SET search_path": Attack("SET search_path = {other}", None),
    "commented SET": Attack("/* SELECT */ SET ROLE {other}", None),
    "line comment SET": Attack("-- SELECT\nSET ROLE {other}", None),
    "SET SESSION AUTHORIZATION": Attack("SET SESSION AUTHORIZATION {other}"),
    "SET SESSION AUTHORIZATION to the administrator": Attack("SET SESSION AUTHORIZATION postgres"),
    "SET ROLE to the owner": Attack("SET ROLE testorchestrator_owner"),
    "SET ROLE to control": Attack("SET ROLE testorchestrator_control"),
    "DISCARD ALL": Attack("DISCARD ALL", asyncpg.ActiveSQLTransactionError),
    "GRANT itself away": Attack("GRANT {own} TO {other}"),
    "GRANT itself the other": Attack("GRANT {other} TO {own}"),
    "ALTER ROLE": Attack("ALTER ROLE {own} SUPERUSER"),
    "stacked SET": Attack("SELECT 1; SET ROLE {other}", STACKED),
    "stacked COMMIT": Attack("SELECT 1; COMMIT; SELECT 1", STACKED),
    "stacked after a comment": Attack("SELECT 1 /* ; */; SET ROLE {other}", STACKED),
    "COMMIT": Attack("COMMIT", None),
    "ROLLBACK": Attack("ROLLBACK", None),
    "COMMIT AND CHAIN": Attack("COMMIT AND CHAIN", None),
    # Changing a setting in the middle of a query
    "set_config role": Attack("SELECT set_config('role', '{other}', true)"),
    "set_config role for the session": Attack("SELECT set_config('role', '{other}', false)"),
    "set_config no role": Attack("SELECT set_config('role', 'none', true)"),
    "set_config path": Attack("SELECT set_config('search_path', '{other}', true)"),
    "set_config session_authorization": Attack("SELECT set_config('session_authorization', '{other}', true)"),
    "set_config transaction_read_only": Attack("SELECT set_config('transaction_read_only', 'off', true)"),
    "set_config who acts": Attack("SELECT set_config('testorchestrator.user_id', '1', true)"),
    "SET LOCAL who acts": Attack("SET LOCAL testorchestrator.user_id = '1'", None),
    "set_config in WITH": Attack("WITH s AS (SELECT set_config('role', '{other}', true)) SELECT * FROM s"),
    "set_config in UPDATE": Attack("UPDATE users SET name = set_config('role', '{other}', true)"),
    "set_config in MERGE": Attack(
        "MERGE INTO groups g USING (SELECT set_config('role', '{other}', true) AS n) s ON false "
        "WHEN NOT MATCHED THEN INSERT (name) VALUES (s.n)"
    ),
    "set_config and ts_stat": Attack(
        "SELECT set_config('role', '{other}', true), "
        "(SELECT word FROM ts_stat('SELECT to_tsvector(name) FROM {other}.users') LIMIT 1)"
    ),
    "set_config and query_to_xml": Attack(
        "SELECT set_config('role', '{other}', true), query_to_xml('SELECT * FROM {other}.users', true, true, '')"
    ),
    "ts_stat alone": Attack("SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM {other}.users')"),
    "ts_stat of its own": Attack("SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM users')"),
    "ts_stat of its own by weight": Attack("SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM users', 'a')"),
    "ts_stat runs SET": Attack("SELECT * FROM ts_stat('SET ROLE {other}')"),
    "ts_rewrite runs a query": Attack("SELECT ts_rewrite('a', 'SELECT ''a''::tsquery, ''b''::tsquery')"),
    "query_to_xml alone": Attack("SELECT query_to_xml('SELECT * FROM {other}.users', true, true, '')"),
    "query_to_xml runs SET": Attack("SELECT query_to_xml('SET ROLE {other}', true, true, '')"),
    "table_to_xml": Attack("SELECT table_to_xml('users', true, true, '')"),
    "schema_to_xml": Attack("SELECT schema_to_xml('{own}', true, true, '')"),
    "database_to_xml": Attack("SELECT database_to_xml(true, true, '')"),
    "cursor_to_xml": Attack("SELECT cursor_to_xml('c', 1, true, true, '')"),
    "pg_settings": Attack("UPDATE pg_settings SET setting = '{other}' WHERE name = 'search_path'"),
    "pg_settings by MERGE": Attack(
        "MERGE INTO pg_settings p USING (SELECT 1) s ON p.name = 'search_path' "
        "WHEN MATCHED THEN UPDATE SET setting = '{other}'",
        asyncpg.PostgresError,  # MERGE is not supported for relations with rules
    ),
    "DO": Attack("DO $$ BEGIN EXECUTE 'SET ROLE {other}'; END $$"),
    "EXPLAIN ANALYZE": Attack("EXPLAIN ANALYZE SELECT set_config('role', '{other}', true)"),
    "PREPARE": Attack("PREPARE p AS SELECT set_config('role', '{other}', true)", None),
    # Making objects, or doing away with them
    "temporary table": Attack("CREATE TEMP TABLE cases (id bigint)"),
    "temporary table by SELECT INTO": Attack("SELECT 1 AS id INTO TEMP TABLE cases"),
    "table by SELECT INTO": Attack("SELECT 1 AS id INTO stolen"),
    "table in public by SELECT INTO": Attack("SELECT 1 AS id INTO public.stolen"),
    "CREATE ROLE": Attack("CREATE ROLE w_made"),
    "CREATE FUNCTION": Attack("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    "CREATE SCHEMA": Attack("CREATE SCHEMA s"),
    "CREATE EXTENSION": Attack("CREATE EXTENSION dblink"),
    "DROP TABLE": Attack("DROP TABLE cases"),
    "ALTER TABLE": Attack("ALTER TABLE cases ADD COLUMN x int"),
    "TRUNCATE": Attack("TRUNCATE audit_log"),
    "disable triggers": Attack("ALTER TABLE cases DISABLE TRIGGER ALL"),
    "reset the sequence": Attack("SELECT setval('ids', 1)"),
    "large object": Attack("SELECT lo_create(0)"),
    "large object with content": Attack("SELECT lo_from_bytea(0, 'x')"),
    "large object of old": Attack("SELECT lo_creat(-1)"),
    "large object, opened": Attack("SELECT lo_open(1, 262144)"),
    "large object, read": Attack("SELECT lo_get(1)"),
    "large object, removed": Attack("SELECT lo_unlink(oid) FROM pg_largeobject_metadata"),
    # Leaving something for who comes next on the connection, or finding it
    "advisory lock": Attack("SELECT pg_advisory_lock(1)"),
    "advisory lock in a read-only call": Attack("SELECT pg_advisory_lock(2)", read_only=True),
    "many advisory locks": Attack("SELECT pg_advisory_lock(key) FROM generate_series(1, 5000) AS key", read_only=True),
    "shared advisory lock": Attack("SELECT pg_advisory_lock_shared(1, 2)"),
    "advisory lock of the transaction": Attack("SELECT pg_advisory_xact_lock(3)", read_only=True),
    "try advisory lock": Attack("SELECT pg_try_advisory_lock(4)", read_only=True),
    "try advisory lock of the transaction": Attack("SELECT pg_try_advisory_xact_lock(5, 6)"),
    "unlock what another took": Attack("SELECT pg_advisory_unlock_all()"),
    "setseed": Attack("SELECT setseed(0.5)"),
    "last number drawn": Attack("SELECT lastval()"),
    "last number drawn from a sequence": Attack("SELECT currval('ids') FROM (SELECT nextval('ids')) AS drawn"),
    "texts of prepared queries": Attack("SELECT statement FROM pg_prepared_statements", read_only=True),
    "texts of cursors": Attack("SELECT statement FROM pg_cursors", read_only=True),
    "statistics at once": Attack("SELECT pg_stat_force_next_flush()"),
    # Locking what is of others, or so much that nobody else can lock anything
    "lock of another's schema": Attack(
        "SELECT pg_get_object_address('schema', ARRAY['{other}'], '{{}}')", read_only=True
    ),
    "locks of all roles": Attack(
        "SELECT pg_get_object_address('role', ARRAY[rolname::text], '{{}}') FROM pg_roles", read_only=True
    ),
    "locks of another's tables": Attack(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
        "WHERE nspname = '{other}'",
        read_only=True,
    ),
    "locks of all sequences": Attack("SELECT last_value FROM pg_sequences", read_only=True),
    "lock for an index": Attack("SELECT brin_summarize_new_values(indexrelid) FROM pg_index", read_only=True),
    "list of an index": Attack("SELECT gin_clean_pending_list(indexrelid) FROM pg_index"),
    "statistics of a table": Attack("SELECT pg_clear_relation_stats('{own}', 'users')"),
    # Using up what is the whole server's
    "logical message": Attack("SELECT pg_logical_emit_message(false, 'x', 'y')", read_only=True),
    "logical message of the transaction": Attack("SELECT pg_logical_emit_message(true, 'x', 'y'::bytea)"),
    "transaction number": Attack("SELECT pg_current_xact_id()", read_only=True),
    "transaction number of old": Attack("SELECT txid_current()", read_only=True),
    "snapshot for others": Attack("SELECT pg_export_snapshot()", read_only=True),
    "sleep": Attack("SELECT pg_sleep(0)", read_only=True),
    "sleep for a while": Attack("SELECT pg_sleep_for('0 s')"),
    "sleep until": Attack("SELECT pg_sleep_until(now())"),
    # Reaching the machine, other databases and other sessions
    "COPY PROGRAM": Attack("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'"),
    "COPY to a file": Attack("COPY users TO '/tmp/users'"),
    "COPY from a file": Attack("COPY users FROM '/etc/passwd'"),
    "lo_import": Attack("SELECT lo_import('/etc/passwd')"),
    "pg_read_file": Attack("SELECT pg_read_file('/etc/passwd')"),
    "pg_ls_dir": Attack("SELECT pg_ls_dir('/')"),
    "dblink": Attack("SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (x int)", UNKNOWN),
    "pg_notify": Attack("SELECT pg_notify('x', 'y')"),
    "NOTIFY": Attack("NOTIFY x", None),
    "LISTEN": Attack("LISTEN x", None),
    "LOCK": Attack("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"),
    "LOCK what is set up": Attack("LOCK TABLE roles IN ACCESS EXCLUSIVE MODE", None),
    "terminate others": Attack("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"),
    "terminate itself": Attack("SELECT pg_terminate_backend(pg_backend_pid())"),
    "cancel others": Attack("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"),
    "reload the settings": Attack("SELECT pg_reload_conf()"),
    # Rewriting history
    "rewrite the audit log": Attack("UPDATE audit_log SET tool = 'x'"),
    "delete from the audit log": Attack("DELETE FROM audit_log"),
    "rewrite a version": Attack("UPDATE case_versions SET snapshot = '{{}}'"),
    "delete a version": Attack("DELETE FROM case_versions"),
    "rewrite a result": Attack("UPDATE results SET comment = 'x'"),
    "delete a result": Attack("DELETE FROM results"),
    "rewrite a result's step": Attack("UPDATE result_steps SET outcome = 'pass'"),
    "rewrite a result's value": Attack("UPDATE result_field_values SET value = '1'"),
    "delete the cases": Attack("DELETE FROM cases"),
    "delete the comments": Attack("DELETE FROM comments"),
    "delete the runs": Attack("DELETE FROM runs"),
    "delete the projects": Attack("DELETE FROM projects"),
    "delete the users": Attack("DELETE FROM users"),
    "give cases other ids": Attack("UPDATE cases SET id = id + 1000000"),
    "give cases other numbers": Attack("UPDATE cases SET number = number + 1000"),
    "give cases to another project": Attack("UPDATE cases SET project_id = project_id + 1"),
    "give cases another author": Attack("UPDATE cases SET created_by = 1"),
    "give cases another age": Attack("UPDATE cases SET created_at = now() - interval '1 year'"),
    "give projects other ids": Attack("UPDATE projects SET id = id + 5"),
    "give runs another age": Attack("UPDATE runs SET created_at = now() - interval '1 year'"),
    "give comments another author": Attack("UPDATE comments SET author_id = 1"),
    "execute another version": Attack("UPDATE run_cases SET case_version = 1"),
    # Writing history in another's name, or of another time
    "audit row of another user": Attack(f"{_AUDIT} user_id) SELECT 'create', 'case', 1, id FROM users"),
    "audit row of another key": Attack(f"{_AUDIT} api_key_id) VALUES ('create', 'case', 1, 1)"),
    "audit row of another tool": Attack(f"{_AUDIT} tool) VALUES ('create', 'case', 1, 'web')"),
    "audit row of the past": Attack(f"{_AUDIT} created_at) VALUES ('create', 'case', 1, now() - interval '1 year')"),
    "audit row with an id": Attack(f"{_AUDIT} id) VALUES ('create', 'case', 1, 1)"),
    "audit row of another user by MERGE": Attack(
        "MERGE INTO audit_log a USING users u ON false WHEN NOT MATCHED THEN "
        "INSERT (action, object_type, object_id, user_id) VALUES ('create', 'case', 1, u.id)"
    ),
    "result of another user": Attack(f"{_RESULT} created_by) SELECT {_RECORDED}, u.id FROM run_cases rc, users u"),
    "result of another key": Attack(f"{_RESULT} api_key_id) SELECT {_RECORDED}, 1 FROM run_cases rc"),
    "result of the past": Attack(f"{_RESULT} created_at) SELECT {_RECORDED}, '2020-01-01' FROM run_cases rc"),
    "version of another user": Attack(
        f"{_VERSION} created_by) SELECT c.id, 99, '{{{{}}}}', u.id FROM cases c, users u"
    ),
    "version of another key": Attack(f"{_VERSION} api_key_id) SELECT c.id, 99, '{{{{}}}}', 1 FROM cases c"),
    "version of the past": Attack(f"{_VERSION} created_at) SELECT c.id, 99, '{{{{}}}}', '2020-01-01' FROM cases c"),
    "comment of another user": Attack(
        "INSERT INTO comments (project_id, case_id, body, author_id) "
        "SELECT c.project_id, c.id, 'x', u.id FROM cases c, users u"
    ),
}
# What begins as a query does, and so passes the gate.
QUERY_WORDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH")


@dataclass(frozen=True)
class Place:
    """Two workspaces of one database by their schemas, the one that attacks first, and the e-mails in each.

    The pool has one connection, so that what an attack leaves behind would meet the next workspace.
    """

    own: str
    other: str
    emails: dict[str, set[str]]
    pool: Pool
    gateway: Gateway

    def query(self, name: str) -> str:
        return ATTACKS[name].query.format(own=self.own, other=self.other)


def entry(place: Place) -> str:
    """What enters the first workspace, without any of the facade."""
    return f"BEGIN READ WRITE; SET LOCAL ROLE {place.own}; SET LOCAL search_path = {place.own}, pg_temp"


async def each_reads_its_own(place: Place) -> set[int]:
    """Return the backends that served."""
    backends = set()
    for schema in (place.other, place.own):
        async with place.gateway.workspace(schema, read_only=True) as connection:
            emails = {row["email"] for row in await connection.fetch("SELECT email FROM users")}
            # Other tests may have added users of the workspace's own.
            assert place.emails[schema] <= emails
            assert emails.isdisjoint(*(theirs for one, theirs in place.emails.items() if one != schema))
            assert await connection.fetchval("SELECT current_user::text") == schema
            assert await connection.fetchval("SELECT session_user::text") == APP
            backends.add(await connection.fetchval("SELECT pg_backend_pid()"))
    return backends


async def facade_refuses(place: Place, name: str, method: str = "fetch") -> None:
    query = place.query(name)
    expected = ATTACKS[name].by_database if query.startswith(QUERY_WORDS) else StatementRefused
    assert expected is not None
    before = await each_reads_its_own(place)
    with pytest.raises(expected):
        async with place.gateway.workspace(
            place.own, read_only=ATTACKS[name].read_only, actor=Actor(tool="attack")
        ) as connection:
            await getattr(connection, method)(query)
    assert await each_reads_its_own(place) == before
    assert len(before) == 1


async def database_refuses(place: Place, name: str) -> None:
    """The facade is passed by: a raw query of one statement, under the workspace's role."""
    expected = ATTACKS[name].by_database
    assert expected is not None
    mode = "READ ONLY" if ATTACKS[name].read_only else "READ WRITE"
    async with borrowed(place.pool) as lent:
        connection = lent.connection
        await connection.execute(
            f"BEGIN {mode}; SET LOCAL ROLE {place.own}; SET LOCAL search_path = {place.own}, pg_temp"
        )
        with pytest.raises(expected):
            await connection.fetch(place.query(name))
        await connection.execute("ROLLBACK")
    await each_reads_its_own(place)


async def login_reads_nothing(place: Place) -> None:
    """Where a handler forgot to enter a workspace, or an attack climbed out of its role, and may write."""
    tables = ["control.api_keys", "control.workspaces", "control.operations", "control.alembic_version"]
    tables += [f"{schema}.users" for schema in (place.own, place.other)]
    queries = {f"{what} {table} WHERE false": DENIED for table in tables for what in ("SELECT * FROM", "DELETE FROM")}
    queries["SELECT * FROM users"] = asyncpg.UndefinedTableError
    for made in ("CREATE TABLE t ()", "CREATE TEMP TABLE t ()", "CREATE SCHEMA s", "CREATE TABLE control.t ()"):
        queries[made] = (DENIED, asyncpg.InvalidSchemaNameError)
    async with borrowed(place.pool) as lent:
        for query, expected in queries.items():
            await lent.connection.execute("BEGIN READ WRITE")
            with pytest.raises(expected):
                await lent.connection.fetch(query)
            await lent.connection.execute("ROLLBACK")


async def login_calls_nothing(place: Place) -> None:
    """Of control's functions it has one, which says nothing but that a key is not what it was."""
    async with borrowed(place.pool) as lent:
        for query in (
            "SELECT * FROM control.authenticate_key('x')",
            "SELECT control.touch_key(1)",
            "SELECT control.password_salt(1, 1)",
            "SELECT control.prove_password(1, 1, 'x')",
            "SELECT control.change_password(1, 1, 'x', 'x', 'x')",
            "SELECT control.issue_link(1, 1, 'invitation', 'x')",
            "SELECT control.use_link(1, 1, 'invitation', 'x', 'x', 'x')",
            "SELECT control.create_own_key(1, 1, 'x', 'x', 'xxxx', 'x', NULL)",
            "SELECT control.set_user_active(1, 1, 'x', 1, false)",
            "SELECT set_config('role', 'none', false)",
        ):
            with pytest.raises(DENIED):
                await lent.connection.fetch(query)
        with pytest.raises(asyncpg.PostgresError) as raised:
            await lent.connection.fetch("SELECT control.confirm_key(1, 1, 'x', 'x', 'x')")
        assert raised.value.sqlstate == "TO401"


async def login_rests(place: Place) -> None:
    """What runs in no transaction of ours, as whoever is logged in, writes nothing and finds no table."""
    async with borrowed(place.pool) as lent:
        assert await lent.connection.fetchval("SELECT current_setting('transaction_read_only')") == "on"
        assert await lent.connection.fetchval("SELECT cardinality(current_schemas(false))") == 0


async def nothing_is_left_of_a_request(place: Place) -> None:
    """Not on the connection, and not in the facade that a handler may have kept."""
    query = (
        "SELECT current_user::text, current_setting('search_path'), current_setting('statement_timeout'), "
        "current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), "
        + ", ".join(f"coalesce(current_setting('testorchestrator.{name}', true), '')" for name in Actor.__slots__)
    )
    async with borrowed(place.pool) as lent:
        connection = lent.connection
        before = tuple(await connection.fetchrow(query))
    actor = Actor(user_id=1, api_key_id=2, tool="a tool")
    async with place.gateway.workspace(place.own, read_only=False, actor=actor) as facade:
        inside = tuple(await facade.fetchrow(query))
    async with borrowed(place.pool) as lent:
        connection = lent.connection
        assert tuple(await connection.fetchrow(query)) == before
    assert inside[0] != before[0]
    assert inside[-3:] == ("1", "2", "a tool")
    with pytest.raises(RuntimeError, match="left"):
        await facade.fetchval("SELECT 1")


async def no_lock_is_left_of_a_request(place: Place) -> None:
    """Not where it was made to take as many as it can, in a call that only reads."""
    with suppress(asyncpg.PostgresError):
        async with place.gateway.workspace(place.own, read_only=True) as facade:
            await facade.fetch(place.query("many advisory locks"))
    async with borrowed(place.pool) as lent:
        assert await lent.connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def who_acts_is_whom_the_entry_names(place: Place) -> None:
    """Each transaction's own: what the last one said of its actor does not hold in the next."""
    query = (
        "INSERT INTO audit_log (action, object_type, object_id) VALUES ('create', 'case', 1) "
        "RETURNING user_id, api_key_id, tool, created_at = now()"
    )
    async with place.gateway.workspace(place.own, read_only=True) as connection:
        user_id = await connection.fetchval("SELECT id FROM users LIMIT 1")
    acting = (Actor(user_id=user_id, api_key_id=7, tool="it's"), Actor(user_id=user_id, tool="web"), Actor(tool="cli"))
    for actor in acting:
        async with place.gateway.workspace(place.own, read_only=False, actor=actor) as connection:
            assert tuple(await connection.fetchrow(query)) == (actor.user_id, actor.api_key_id, actor.tool, True)
            connection.rollback_only = True


async def versions_hold_their_case(place: Place) -> None:
    """Whoever may delete a case does not take its versions with it."""
    async with place.gateway.workspace(place.own, read_only=True) as connection:
        user_id = await connection.fetchval("SELECT id FROM users LIMIT 1")
    with pytest.raises((DENIED, asyncpg.ForeignKeyViolationError)):
        async with place.gateway.workspace(place.own, read_only=False, actor=Actor(user_id=user_id)) as connection:
            await connection.execute(
                "WITH p AS (INSERT INTO projects (name) VALUES ('Kept') RETURNING id), c AS ("
                "INSERT INTO cases (project_id, number, title, template_id, lifecycle_state_id) "
                "SELECT p.id, 1, 'x', t.id, s.id FROM p, templates t, lifecycle_states s "
                "WHERE t.is_default AND s.is_default AND s.context = 'REPOSITORY' RETURNING id"
                ") INSERT INTO case_versions (case_id, version, snapshot) SELECT c.id, 1, '{}' FROM c"
            )
            assert await connection.execute("DELETE FROM cases") == 1
            connection.rollback_only = True


async def read_only_transaction_refuses(place: Place, query: str) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as raised:
        async with place.gateway.workspace(place.own, read_only=True) as connection:
            await connection.fetch(query)
    assert raised.value.sqlstate == "25006"


async def recalled_key_is_confirmed(place: Place) -> None:
    """The key is none that there is."""
    recalled = Identity(
        workspace_id=1, schema_name=place.own, schema_version="1", compatible_from="1", user_id=1, api_key_id=0
    )
    with pytest.raises(NotConfirmed):
        async with place.gateway.workspace(place.own, read_only=True, recalled=recalled):
            pass


async def only_a_workspace_is_entered(place: Place, name: str) -> None:
    with pytest.raises(ValueError, match="schema name"):
        async with place.gateway.workspace(name, read_only=True):
            pass
