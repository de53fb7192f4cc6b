"""Archives of workspaces: what is restored is the original, and whatever is not whole or not ours is refused whole."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import io
import itertools
import json
import re
import stat
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from migrations.trees import Tree, head
from service.demo.load import populate_demo
from tenancy import archive as archives
from tenancy.archive import ArchiveRefused, backup, container, manifest, open_archive
from tenancy.archive.shape import described
from tenancy.catalog import find_workspace, set_state
from tenancy.connection import admin_connection, connect
from tenancy.errors import TenancyError
from tenancy.keys import create_key, is_valid
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.session import as_workspace
from tests import releases
from tests.conftest import new_database

ROOT = Path(__file__).parent.parent.parent
# What text can hold that a format of lines and tabs must not stumble over.
ODD = "tab\t, line\n, return\r, \\N, \\., \\t, 'quote', \"double\", \x01\x1b[31m, ünïcödé, 😀, \u2028, end\\"
ODDITIES = """
INSERT INTO idempotency_keys (api_key_id, idempotency_key, tool, request_hash, answer) VALUES
    (1, 'b', 't', '\\x00ff0a09', $1::text), (1, 'B', 't', '', NULL), (1, 'é', 't', '\\x5c', '')
""", """
INSERT INTO field_overrides (project_id, field_id, default_value)
SELECT p.id, f.id, to_jsonb($1::text) FROM projects p, fields f
""", """
INSERT INTO project_availability (project_id, status_id)
SELECT p.id, s.id FROM projects p, statuses s WHERE $1 <> ''
""", """
WITH made AS (
    INSERT INTO fields (system_name, label, type, applies_to) VALUES ('odd', 'Odd', 'TEXT', 'RESULT') RETURNING id, type
)
INSERT INTO result_field_values (result_id, field_id, type, value)
SELECT r.id, m.id, m.type, to_jsonb($1::text) FROM results r, made m
""", """
UPDATE cases SET title = left(title || $1, 255), created_at = '0044-03-15 12:00:00.000001 BC'
WHERE id = (SELECT min(id) FROM cases)
"""  # fmt: skip


async def populate(connection) -> None:
    await populate_demo(connection)
    for query in ODDITIES:
        await connection.execute(query, ODD)


@pytest.fixture(scope="module")
async def database(postgres):
    """A database in which these tests keep their workspaces: a superuser's connection, and its URL."""
    async with new_database(postgres) as (name, connection):
        yield connection, postgres.dsn(database=name)


@pytest.fixture(scope="module")
async def original(database):
    """A workspace in which every table has rows."""
    return await create_workspace(database[0], slug="original", name="The Original", populate=populate)


@pytest.fixture(scope="module")
async def archived(database, original):
    """Its archive."""
    return await back_up(database[0], original.slug)


@pytest.fixture(scope="module")
async def small(database):
    """The archive of a workspace that has nothing but what each has."""
    await create_workspace(database[0], slug="small", name="Small")
    return await back_up(database[0], "small")


@asynccontextmanager
async def discarded(connection):
    """A transaction of which nothing stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def back_up(connection, slug: str, **options) -> bytes:
    file = io.BytesIO()
    await archives.back_up(connection, slug, file, **options)
    return file.getvalue()


async def restore(connection, archive: bytes, **options):
    with open_archive(io.BytesIO(archive)) as opened:
        return await archives.restore(connection, opened, **options)


async def differences(connection, archive: bytes, slug: str) -> list[str]:
    with open_archive(io.BytesIO(archive)) as opened:
        return await archives.differences(connection, slug, opened)


def check(archive: bytes) -> None:
    with open_archive(io.BytesIO(archive)) as opened:
        opened.check()


def unpack(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def pack(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive by the book, docs/archive.md, and not by our own writer."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        packed.comment = b"sha256=" + b"0" * 64
        for name, content in members.items():
            packed.writestr(name, content)
    return sealed(file.getvalue())


def sealed(archive: bytes) -> bytes:
    return archive[:-64] + hashlib.sha256(archive[:-64]).hexdigest().encode()


def edited(archive: bytes, **changes) -> bytes:
    """The archive with another manifest, in which *changes* are made."""
    members = unpack(archive)
    document = json.loads(members["manifest.json"]) | changes
    return pack(members | {"manifest.json": json.dumps(document).encode()})


def with_table(archive: bytes, name: str, content: bytes | None, **changes) -> bytes:
    """The archive with other content in a table, which its manifest agrees with; None: without that table."""
    members = unpack(archive)
    document = json.loads(members["manifest.json"])
    tables = {table["name"]: table for table in document["tables"]}
    if content is None:
        del tables[name], members[f"tables/{name}.tsv"]
    else:
        members[f"tables/{name}.tsv"] = content
        columns = content.partition(b"\n")[0].decode().split("\t")
        tables[name] = {
            "name": name,
            "columns": columns,
            "rows": content.count(b"\n") - 1,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        } | changes
    document["tables"] = list(tables.values())
    return pack(members | {"manifest.json": json.dumps(document).encode()})


def replacing(archive: bytes, name: str, old: bytes, new: bytes) -> bytes:
    content = unpack(archive)[f"tables/{name}.tsv"]
    assert old in content
    return with_table(archive, name, content.replace(old, new, 1))


async def everything(connection) -> list[object]:
    """What a restore can leave behind."""
    return [
        await connection.fetch("SELECT rolname FROM pg_roles ORDER BY 1"),
        await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'w\\_%' ORDER BY 1"),
        await connection.fetch("SELECT slug, name, state, schema_version FROM control.workspaces ORDER BY 1"),
        await connection.fetch("SELECT id FROM control.operations ORDER BY 1"),
        await connection.fetch("SELECT id FROM control.api_keys ORDER BY 1"),
    ]


async def rows_of(connection, schema_name: str) -> dict[str, list[str]]:
    """All rows of a workspace, generated columns too, in a form that has nothing to do with archives."""
    return {
        table: sorted(
            row["row"] for row in await connection.fetch(f"SELECT t::text AS row FROM {schema_name}.{table} t")
        )
        for table in described()
    }


CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
            replace(coalesce(pg_get_expr(d.adbin, d.adrelid), ''), $1, 'S')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = $1::regnamespace AND a.attnum > 0""",
    "constraints": """
        SELECT c.relname, k.conname, k.convalidated, replace(pg_get_constraintdef(k.oid), $1, 'S')
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.connamespace = $1::regnamespace""",
    "indexes": """
        SELECT c.relname, replace(pg_get_indexdef(c.oid), $1, 'S')
        FROM pg_class c WHERE c.relkind = 'i' AND c.relnamespace = $1::regnamespace""",
    "owners and rights": """
        SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner), replace(c.relacl::text, $1, 'S')
        FROM pg_class c WHERE c.relnamespace = $1::regnamespace""",
    "functions": """
        SELECT p.proname, replace(p.proacl::text, $1, 'S')
        FROM pg_proc p WHERE p.pronamespace = $1::regnamespace""",
}


# The same, table by table.


async def test_restored_workspace_is_the_original(database, original, archived):
    connection, _ = database
    before = await rows_of(connection, original.schema_name)
    assert [table for table, rows in before.items() if not rows] == []
    made = await restore(connection, archived, slug="restored", name="Another")
    assert (made.slug, made.name, made.state, made.schema_version) == (
        "restored",
        "Another",
        "active",
        head(Tree.WORKSPACE),
    )
    assert await rows_of(connection, made.schema_name) == before
    for kind, query in CATALOG.items():
        found = [{tuple(row) for row in await connection.fetch(query, w.schema_name)} for w in (original, made)]
        assert found[0], kind
        assert found[0] == found[1], kind
    sequences = [
        tuple(await connection.fetchrow(f"SELECT last_value, is_called FROM {w.schema_name}.ids"))
        for w in (original, made)
    ]
    assert sequences[0] == sequences[1]
    assert await differences(connection, archived, "restored") == []
    assert (await look(connection)).is_sound
    assert await connection.fetchval("SELECT count(*) FROM control.api_keys WHERE workspace_id = $1", made.id) == 0


async def test_restored_workspace_goes_on_where_the_original_was(database, archived):
    connection, _ = database
    made = await restore(connection, archived, slug="goes-on")
    async with as_workspace(connection, made.schema_name) as entered:
        highest = await entered.fetchval("SELECT max(id) FROM audit_log")
        given = await entered.fetchval("INSERT INTO tags (context, name) VALUES ('RUNS', 'later') RETURNING id")
        assert given > highest
    assert await differences(connection, archived, "goes-on") == ["tags"]


async def test_restored_on_another_server_under_its_own_name(postgres, archived):
    async with new_database(postgres) as (_, other):
        made = await restore(other, archived)
        assert (made.slug, made.name) == ("original", "The Original")
        assert await differences(other, archived, "original") == []
        operation = await other.fetchrow("SELECT operation, workspace_id, details FROM control.operations")
        assert operation["operation"] == "workspace.restore"
        assert operation["workspace_id"] == made.id
        assert operation["details"]["slug"] == "original"


async def test_what_is_the_same_has_the_same_bytes_wherever_it_is(postgres, archived):
    async with new_database(postgres) as (name, other):
        made = await restore(other, archived)
        # Another order on disk, and another idea of how to write down times and bytes.
        await other.execute(f"UPDATE {made.schema_name}.cases SET version = version WHERE number % 2 = 0")
        for setting in ("timezone = 'Asia/Kolkata'", "datestyle = 'German, DMY'", "bytea_output = 'escape'"):
            await other.execute(f"ALTER DATABASE {name} SET {setting}")
        later = await connect(postgres.dsn(database=name), name="later")
        again = unpack(await back_up(later, "original"))
        await later.close()
    first = unpack(archived)
    documents = [json.loads(members.pop("manifest.json")) for members in (first, again)]
    assert first == again
    for document in documents:
        document.pop("createdAt")
    assert documents[0] == documents[1]


async def test_archive_holds_what_its_documentation_says(archived, original):
    members = unpack(archived)
    document = json.loads(members.pop("manifest.json"))
    assert (document["format"], document["formatVersion"], document["keys"]) == ("testorchestrator-workspace", 1, None)
    assert document["workspace"] == {"slug": "original", "name": "The Original", "state": "active"}
    assert document["schemaRevision"] == original.schema_version
    assert {f"tables/{table['name']}.tsv" for table in document["tables"]} == members.keys()
    for table in document["tables"]:
        content = members[f"tables/{table['name']}.tsv"]
        header, *rows, end = content.decode().split("\n")
        assert header.split("\t") == table["columns"]
        assert {len(row.split("\t")) for row in rows} <= {len(table["columns"])}
        assert (len(rows), end, len(content)) == (table["rows"], "", table["size"])
        assert hashlib.sha256(content).hexdigest() == table["sha256"]


async def test_documented_reader_reads_it(database, original, archived, tmp_path):
    (tmp_path / "original.zip").write_bytes(archived)
    page = (ROOT / "docs" / "archive.md").read_text()
    reader: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], reader)  # noqa: S102 - our own page
    found = dict(reader["tables"](tmp_path / "original.zip"))
    assert found.keys() == described().keys()
    for table, column in (("cases", "title"), ("idempotency_keys", "answer"), ("case_steps", "expected_result")):
        rows = await database[0].fetch(f"SELECT {column} FROM {original.schema_name}.{table}")
        assert sorted(row[column] or "" for row in found[table]) == sorted(row[column] or "" for row in rows)
        assert [row[column] for row in found[table]].count(None) == [row[column] for row in rows].count(None)
    assert any(ODD in (row["answer"] or "") for row in found["idempotency_keys"])


async def test_clone_is_the_same_without_keys_and_leaves_no_file(database, original, tmp_path, monkeypatch):
    connection, _ = database
    await create_key(connection, workspace_id=original.id, user_id=1, label="of the original")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = await archives.clone(connection, original.slug, "cloned")
    assert await rows_of(connection, made.schema_name) == await rows_of(connection, original.schema_name)
    assert await connection.fetchval("SELECT count(*) FROM control.api_keys WHERE workspace_id = $1", made.id) == 0
    assert list(tmp_path.iterdir()) == []


async def test_suspended_workspace_is_suspended_when_it_is_back(database):
    connection, _ = database
    await create_workspace(connection, slug="resting", name="Resting")
    await set_state(connection, "resting", "suspended")
    made = await restore(connection, await back_up(connection, "resting"), slug="resting-too")
    assert made.state == "suspended"
    assert (await find_workspace(connection, "resting-too")).state == "suspended"


# While others work.


async def test_writes_during_a_backup_succeed_and_are_not_in_it(world, acme, client):
    written = []

    def write(_step: str, _done: int, _total: int) -> None:
        made = client.call("create_test_case", project=acme.project, title=f"Meanwhile {len(written)}")
        written.append(made["id"])

    connection = await connect(world.admin_url, name="the test server")
    try:
        file = io.BytesIO()
        noted = await archives.back_up(connection, "acme", file, progress=write)
        assert len(written) == len(noted.tables)
        assert b"Meanwhile" not in b"".join(unpack(file.getvalue()).values())
        assert (
            client.call("get_test_case", project=acme.project, caseId=written[-1])["title"]
            == f"Meanwhile {len(written) - 1}"
        )
        async with new_database(world.server) as (_, other):
            # Its sequence is ahead of its rows, by what was written meanwhile.
            made = await restore(other, file.getvalue())
            assert await other.fetchval(f"SELECT last_value FROM {made.schema_name}.ids") >= written[-1]
    finally:
        await connection.close()


async def test_others_work_while_a_workspace_is_restored(world, acme, client, archived):
    written = []

    class Enough(Exception):
        pass

    def write(step: str, _done: int, _total: int) -> None:
        if step.startswith("Comparing"):
            raise Enough
        if not step.startswith("Checking the"):
            made = client.call("create_test_case", project=acme.project, title="While another workspace is made")
            written.append(made["id"])

    connection = await connect(world.admin_url, name="the test server")
    try:
        before = await everything(connection)
        with pytest.raises(Enough):
            await restore(connection, archived, slug="made-meanwhile", progress=write)
        assert await everything(connection) == before
    finally:
        await connection.close()
    assert len(written) > len(described())


async def test_backup_and_migration_wait_for_each_other_and_nobody_else_does(database, original, monkeypatch):
    connection, url = database
    other = await connect(url, name="other")
    version = f"SELECT version_num FROM {original.schema_name}.alembic_version FOR UPDATE"
    try:
        async with backup._snapshot(connection, original.slug), discarded(other):
            await other.execute(f"UPDATE {original.schema_name}.cases SET version = version + 1")
            await other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.execute(version)
        monkeypatch.setattr(backup, "CANONICAL", backup.CANONICAL.replace("'10s'", "'50ms'"))
        async with discarded(other):
            await other.execute(version)
            with pytest.raises(TenancyError, match="being migrated"):
                await back_up(connection, original.slug)
    finally:
        await other.close()


# Keys.


async def test_keys_are_in_it_only_on_request_and_open_the_restored_workspace(postgres):
    async with new_database(postgres) as (_, here), new_database(postgres) as (_, there):
        source = await create_workspace(here, slug="keyed", name="Keyed")
        key = await create_key(here, workspace_id=source.id, user_id=7, label=r"back\slash")
        await create_workspace(here, slug="others", name="Others")
        stored = (await here.fetchval("SELECT hash FROM control.api_keys")).hex().encode()
        bare, keyed = await back_up(here, "keyed"), await back_up(here, "keyed", with_keys=True)
        assert stored not in b"".join(unpack(bare).values())
        assert stored in unpack(keyed)["keys.tsv"]
        assert key.encode() not in b"".join(unpack(keyed).values())

        before = await everything(here)
        with pytest.raises(TenancyError, match="--without-keys"):
            await restore(here, keyed, slug="second")
        assert await everything(here) == before
        second = await restore(here, keyed, slug="second", with_keys=False)
        assert not await is_valid(here, key, workspace_id=second.id)
        assert await differences(here, keyed, "second") == ["keys"]

        # So that no id there can be the same by chance.
        await create_workspace(there, slug="first", name="First")
        made = await restore(there, keyed)
        assert await is_valid(there, key, workspace_id=made.id)
        columns = "user_id, label, prefix, hash, owner_active, created_at, expires_at, revoked_at"
        of_keyed = f"SELECT {columns} FROM control.api_keys"
        assert await there.fetch(of_keyed) == await here.fetch(of_keyed)
        assert await restore(there, bare, slug="bare-copy")
        assert await there.fetchval("SELECT count(*) FROM control.api_keys") == 1


# Older and newer releases.


@pytest.fixture
def next_release(tmp_path):
    """This release with one more revision, which changes tables that are full."""
    with releases.next_release(
        tmp_path,
        """
        op.add_column("tags", sa.Column("shade", sa.Text(), nullable=False, server_default="plain"))
        op.alter_column("roles", "description", new_column_name="abstract")
        op.execute("UPDATE roles SET abstract = abstract || ' (moved)'")
        op.create_unique_constraint("folders_once", "folders", ["id", "name"])
        """,
    ):
        yield


@pytest.mark.usefixtures("next_release")
async def test_older_archive_is_upgraded_on_the_way(database, original, archived, monkeypatch):
    connection, _ = database
    before = await rows_of(connection, original.schema_name)
    made = await restore(connection, archived, slug="upgraded")
    assert made.schema_version == "next"
    schema = made.schema_name
    assert await connection.fetchval(f"SELECT version_num FROM {schema}.alembic_version") == "next"
    assert {row["shade"] for row in await connection.fetch(f"SELECT shade FROM {schema}.tags")} == {"plain"}
    assert await connection.fetchval(f"SELECT bool_and(abstract LIKE '%(moved)') FROM {schema}.roles")
    after = await rows_of(connection, schema)
    assert {table for table in before if before[table] != after[table]} == {"tags", "roles"}

    # The original has stayed behind; its next backup is before its migration, and is as good.
    again = await back_up(connection, original.slug)
    assert unpack(again)["tables/tags.tsv"] == unpack(archived)["tables/tags.tsv"]
    with pytest.raises(TenancyError, match="cannot be compared"):
        await differences(connection, archived, "upgraded")
    newer = await back_up_at_next(connection, monkeypatch)
    assert json.loads(unpack(newer)["manifest.json"])["schemaRevision"] == "next"
    await restore(connection, newer, slug="upgraded-twice")


async def back_up_at_next(connection, monkeypatch) -> bytes:
    # A release describes its tables in Python too, which the revision alone does not change.
    tables = described()
    tables["tags"].add("shade")
    tables["roles"] = tables["roles"] - {"description"} | {"abstract"}
    monkeypatch.setattr(backup, "described", lambda: tables)
    return await back_up(connection, "upgraded")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"formatVersion": 2}, "format 2, this release knows formats up to 1: run a newer release"),
        ({"formatVersion": 2, "tables": "in another way"}, "run a newer release"),
        ({"schemaRevision": "0999"}, "schema revision '0999', which this release does not know: run a newer release"),
        ({"schemaRevision": "\x1b[31m"}, "manifest is not as the format says, in 'schemaRevision'"),
    ],
)
async def test_archive_of_a_newer_release_is_refused(change, told, small):
    with pytest.raises(ArchiveRefused) as refused:
        check(edited(small, **change))
    assert told in str(refused.value)
    assert str(refused.value).isprintable()


async def test_workspace_of_a_newer_release_is_not_backed_up(database):
    connection, _ = database
    made = await create_workspace(connection, slug="ahead", name="Ahead")
    await connection.execute(f"UPDATE {made.schema_name}.alembic_version SET version_num = '0999'")
    with pytest.raises(TenancyError, match="run a newer release"):
        await back_up(connection, "ahead")


# Damaged and hostile archives.


def test_our_own_writer_is_one_among_others(small):
    check(small)
    check(pack(unpack(small)))


async def test_large_archive_is_read_as_a_small_one(database, original, archived, monkeypatch):
    """From 4 GiB on, a ZIP ends with other records."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    large = await back_up(database[0], original.slug)
    monkeypatch.undo()
    assert b"PK\6\6" in large
    assert b"PK\6\6" not in archived
    check(large)
    wrong = bytearray(large)
    wrong[large.index(b"PK\6\6") + 40] ^= 0xFF
    with pytest.raises(ArchiveRefused):
        check(sealed(bytes(wrong)))


def test_archive_cut_off_anywhere_is_refused(small):
    for length in itertools.chain(range(0, len(small), 23), range(len(small) - 300, len(small))):
        with pytest.raises(ArchiveRefused):
            check(small[:length])


def test_archive_with_one_wrong_byte_anywhere_is_refused(small):
    for place in itertools.chain(range(0, len(small), 23), range(len(small) - 300, len(small))):
        wrong = bytearray(small)
        wrong[place] ^= 0x20
        with pytest.raises(ArchiveRefused):
            check(bytes(wrong))


def test_archive_with_more_at_its_end_or_its_beginning_is_refused(small):
    for longer in (small + b"\n", b"\n" + small, small + small):
        with pytest.raises(ArchiveRefused):
            check(longer)


def test_wrong_byte_under_a_right_seal_is_refused_or_means_nothing(small):
    members = unpack(small)
    refused = 0
    for place in range(0, len(small) - 64, 17):
        wrong = bytearray(small)
        wrong[place] ^= 1 << place % 8
        try:
            check(sealed(bytes(wrong)))
        except ArchiveRefused:
            refused += 1
        else:
            # Times, rights and the like, which nobody reads.
            assert unpack(bytes(wrong)) == members
    assert refused > len(small) // 17 // 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"PK\5\6" + bytes(18),
        b"not a ZIP at all, but long enough to be one" * 100,
        pack({}),
        pack({"manifest.json": b""}),
        pack({"manifest.json": b"[" * 100_000}),
        pack({"manifest.json": b'{"format": "another"}'}),
        pack({"manifest.json": b'{"format": "testorchestrator-workspace"}'}),
        pack({"manifest.json": b'{"format": "testorchestrator-workspace", "formatVersion": "1"}'}),
        pack({"manifest.json": b"\xff\xfe"}),
        pack({"manifest.json": b" " * (5 << 20)}),
        pack({"word/document.xml": b"<w/>"}),
        pack({f"{n:0>200}": b"" for n in range(5000)}),
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_what_is_no_archive_is_refused(content):
    with pytest.raises(ArchiveRefused, match=r"no archive|manifest|damaged"):
        check(content)


def manifest_edits() -> dict[str, object]:
    """How a manifest can be wrong although it is JSON of our format."""

    def table(**change):
        return lambda document: document["tables"][0].update(change)

    def only(name: str, value: object):
        return lambda document: document.update({name: value})

    return {
        "no tables": lambda document: document.pop("tables"),
        "unknown field": only("extra", 1),
        "unknown field of a table": table(extra=1),
        "rows as text": table(rows="1"),
        "negative rows": table(rows=-1),
        "endless rows": table(rows=2**63),
        "another count": lambda document: document["tables"][0].update(rows=document["tables"][0]["rows"] + 1),
        "another size": lambda document: document["tables"][0].update(size=document["tables"][0]["size"] + 1),
        "another check sum": table(sha256="0" * 64),
        "no check sum": table(sha256=""),
        "no columns": table(columns=[]),
        "column twice": lambda document: document["tables"][0]["columns"].append(document["tables"][0]["columns"][0]),
        "columns in another order": lambda document: document["tables"][0]["columns"].reverse(),
        "path": table(name="../../etc/passwd"),
        "absolute path": table(name="/etc/passwd"),
        "injection": table(name='cases"; DROP SCHEMA control; --'),
        "injection into a column": table(columns=['id") FROM STDIN; --']),
        "line in a name": table(name="cases\n"),
        "table twice": lambda document: document["tables"].append(document["tables"][0]),
        "table without a file": lambda document: document["tables"].append(document["tables"][0] | {"name": "ghosts"}),
        "file without a table": lambda document: document["tables"].pop(),
        "sequence twice": lambda document: document["sequences"].append(document["sequences"][0]),
        "bad slug": lambda document: document["workspace"].update(slug="../x"),
        "bad name": lambda document: document["workspace"].update(name="a\nb"),
        "blank name": lambda document: document["workspace"].update(name=" "),
        "unknown state": lambda document: document["workspace"].update(state="deleted"),
        "no date": only("createdAt", "yesterday"),
        "keys without a file": only(
            "keys", {"columns": ["hash"], "rows": 0, "size": 5, "sha256": hashlib.sha256(b"hash\n").hexdigest()}
        ),
    }


@pytest.mark.parametrize("edit", manifest_edits().values(), ids=manifest_edits())
async def test_manifest_that_lies_is_refused(edit, small):
    members = unpack(small)
    document = json.loads(members["manifest.json"])
    edit(document)
    with pytest.raises(ArchiveRefused) as refused:
        check(pack(members | {"manifest.json": json.dumps(document).encode()}))
    assert str(refused.value).isprintable()


async def test_file_that_the_manifest_does_not_name_is_refused(small):
    for name in ("more", "../outside", "/etc/passwd", "tables/", "tables/cases.tsv/x", "tables\\cases.tsv"):
        with pytest.raises(ArchiveRefused, match="exactly the files"):
            check(pack(unpack(small) | {name: b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_file_that_is_there_twice_is_refused(small):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.comment = b"sha256=" + b"0" * 64
        for name, content in unpack(small).items():
            packed.writestr(name, content)
        packed.writestr("tables/roles.tsv", b"id\n")
    with pytest.raises(ArchiveRefused, match="exactly the files"):
        check(sealed(file.getvalue()))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_other_ways_of_packing_are_refused(compression, small):
    with pytest.raises(ArchiveRefused, match="packed in another way"):
        check(pack(unpack(small), compression))


async def test_what_unpacks_to_too_much_is_refused_before_it_is_unpacked(small, monkeypatch):
    bomb = with_table(small, "cases", unpack(small)["tables/cases.tsv"] + b"\\N\n" * 10_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(ArchiveRefused, match="--max-gigabytes"), open_archive(io.BytesIO(bomb), most_bytes=1 << 20):
        pass
    monkeypatch.setattr(container, "_ALWAYS_ALLOWED_BYTES", 0)
    with pytest.raises(ArchiveRefused, match=r"would unpack to 30,\d{3},\d{3} bytes"), open_archive(io.BytesIO(bomb)):
        pass
    with open_archive(io.BytesIO(small)) as honest:
        honest.check()


async def test_what_unpacks_to_more_than_it_says_is_refused(small):
    """The ZIP and the manifest agree on a size that is not the real one."""
    content = unpack(small)["tables/roles.tsv"]
    header = content.partition(b"\n")[0] + b"\n"
    lying = with_table(small, "roles", content, size=len(header), rows=0, sha256=hashlib.sha256(header).hexdigest())
    place = lying.index(b"PK\1\2")
    while lying[place + 46 : place + 62] != b"tables/roles.tsv":
        place = lying.index(b"PK\1\2", place + 1)
    wrong = bytearray(lying)
    wrong[place + 24 : place + 28] = len(header).to_bytes(4, "little")
    with pytest.raises(ArchiveRefused, match="damaged"):
        check(sealed(bytes(wrong)))


SHAPE, COPIED, REFERRED = "does not have the tables", "did not come out", "its foreign keys (ForeignKeyViolation"


def tampered(archive: bytes) -> dict[str, tuple[str, bytes]]:
    """Archives that are whole and agree with their manifests, and hold what no workspace can; and what is told."""
    members = unpack(archive)
    cases, folders, projects = (members[f"tables/{name}.tsv"] for name in ("cases", "folders", "projects"))
    header, *lines = projects.splitlines(keepends=True)
    case = cases.splitlines(keepends=True)[1]
    case_id, project_id, *_ = case.split(b"\t")
    sequence = json.loads(members["manifest.json"])["sequences"][0]
    wider = folders.replace(b"\n", b"\t1\n").replace(b"\t1\n", b"\tparent_depth\n", 1)
    cut = members["tables/audit_log.tsv"].replace(b"\n", b"\n\\." + b"\t" * 11 + b"\n", 1)
    return {
        "a table too few": (SHAPE, with_table(archive, "tags", None)),
        "a table too many": (SHAPE, with_table(archive, "ghosts", b"id\n")),
        "a table of Alembic's": (SHAPE, with_table(archive, "alembic_version", b"version_num\n0001\n")),
        "a column too many": (SHAPE, with_table(archive, "cases", b"ghost\t" + cases.replace(b"\n", b"\n1\t")[:-2])),
        "a column too few": (SHAPE, with_table(archive, "tags", b"id\tname\n")),
        "a generated column": (SHAPE, with_table(archive, "folders", wider)),
        "a sequence too many": (SHAPE, edited(archive, sequences=[sequence, sequence | {"name": "ghosts"}])),
        "no sequence": (SHAPE, edited(archive, sequences=[])),
        "ids that are in use": ("is behind", edited(archive, sequences=[sequence | {"lastValue": 1001}])),
        "ids below all": ("NumericValueOutOfRange", edited(archive, sequences=[sequence | {"lastValue": -5}])),
        "a row twice": ("cases_pkey", with_table(archive, "cases", cases + case)),
        "a row less": (REFERRED, with_table(archive, "projects", header + b"".join(lines[:-1]))),
        "rows in another order": (COPIED, with_table(archive, "projects", header + b"".join(lines[::-1]))),
        "a folder of another project": (
            "cases_folder_fkey", replacing(archive, "cases", case, case.replace(project_id, b"1", 1))
        ),
        "a folder in itself": ("folders_parent_fkey", with_table(archive, "folders", _circular(folders))),
        "an end before the end": ("archive", with_table(archive, "audit_log", cut)),
        "no number": ("InvalidText", with_table(archive, "cases", cases + case.replace(case_id, b"one", 1))),
        "no UTF-8": ("NotInRepertoire", replacing(archive, "roles", b"Everything", b"\xff\xfe")),
        "a null character": ("NotInRepertoire", replacing(archive, "roles", b"Everything", b"\x00")),
        "an escaped null character": ("NotInRepertoire", replacing(archive, "roles", b"Everything", b"\\000")),
        "another way to write the same": (COPIED, replacing(archive, "roles", b"Everything", b"\\105verything")),
        "an unknown permission": (
            "permissions_known", replacing(archive, "roles", b"MANAGE_COMMENTS", b"MANAGE_SERVERS")
        ),
        "a text that is too long": ("StringDataRightTruncation", replacing(archive, "roles", b"Every", b"E" * 500)),
    }  # fmt: skip


def _circular(folders: bytes) -> bytes:
    header, *rows = folders.decode().splitlines()
    columns = header.split("\t")
    place = columns.index("parent_id")
    parted = [row.split("\t") for row in rows]
    child = next(row for row in parted if row[place] != "\\N")
    child[place] = child[columns.index("id")]
    return "".join("\t".join(row) + "\n" for row in [columns, *parted]).encode()


async def test_content_that_no_workspace_can_have_is_refused_and_leaves_nothing(database, archived):
    connection, _ = database
    before = await everything(connection)
    for what, (told, archive) in tampered(archived).items():
        with pytest.raises(ArchiveRefused) as refused:
            await restore(connection, archive, slug="tampered")
        assert told in str(refused.value), what
        assert str(refused.value).isprintable(), what
        assert await everything(connection) == before, what
    await restore(connection, archived, slug="tampered")


async def test_keys_that_no_release_makes_are_refused(database, small):
    connection, _ = database
    members = unpack(small)
    document = json.loads(members["manifest.json"])
    header = "\t".join(backup.KEY_COLUMNS).encode() + b"\n"
    good = b"1\tl\tabcd\t\\\\x" + b"0" * 64 + b"\tt\t2026-01-01 00:00:00+00\t\\N\t\\N\t\\N\n"
    before = await everything(connection)
    for content in (
        header.replace(b"label", b"workspace_id") + good.replace(b"l\t", b"1\t", 1),
        header + good.replace(b"0" * 64, b"0" * 62),
        header + good.replace(b"1\t", b"me\t", 1),
        header + good + good,
    ):
        columns = content.partition(b"\n")[0].decode().split("\t")
        keys = {
            "columns": columns, "rows": content.count(b"\n") - 1, "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        lying = pack(members | {"manifest.json": json.dumps(document | {"keys": keys}).encode(), "keys.tsv": content})
        with pytest.raises(TenancyError):
            await restore(connection, lying, slug="keys-tampered")
        assert await everything(connection) == before


# All or nothing.


async def test_cancelled_restore_leaves_nothing(database, archived):
    connection, url = database
    before = await everything(connection)
    steps: list[str] = []

    async def cancelled_at(number: int) -> None:
        def cancel(step: str, _done: int, _total: int) -> None:
            steps.append(step)
            if len(steps) == number:
                asyncio.current_task().cancel()

        steps.clear()
        async with admin_connection(url) as admin:
            with open_archive(io.BytesIO(archived)) as opened:
                await archives.restore(admin, opened, slug="cancelled", progress=cancel)

    for number in range(1, 10_000, 17):
        try:
            await asyncio.create_task(cancelled_at(number))
        except asyncio.CancelledError:
            assert await everything(connection) == before
        else:
            break
    assert number > 100
    assert {step.split()[0] for step in steps} == {"Checking", "Loading", "Comparing"}
    assert await differences(connection, archived, "cancelled") == []


async def test_cancelled_backup_leaves_no_file_and_keeps_the_old_one(database, tmp_path):
    connection, url = database
    path = tmp_path / "kept.zip"
    path.write_bytes(b"the old one")

    def cancel(step: str, _done: int, _total: int) -> None:
        if step == "Reading results":
            asyncio.current_task().cancel()

    async def cancelled() -> None:
        async with admin_connection(url) as admin:
            await archives.back_up_to(admin, "original", path, overwrite=True, progress=cancel)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(cancelled())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"kept.zip": b"the old one"}
    with pytest.raises(TenancyError, match="--force"):
        await archives.back_up_to(connection, "original", path)
    assert path.read_bytes() == b"the old one"
    await archives.back_up_to(connection, "original", path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.zip"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_archive(path) as opened:
        opened.check()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "There is a workspace 'original' already"),
        ({"slug": "small"}, "There is a workspace 'small' already"),
        ({"slug": "www"}, "reserved"),
        ({"slug": "No Slug"}, "no workspace name"),
        ({"slug": "named", "name": "two\nlines"}, "no display name"),
    ],
)
async def test_names_that_cannot_be_given_are_refused(options, told, database, archived):
    connection, _ = database
    before = await everything(connection)
    with pytest.raises(TenancyError, match=told):
        await restore(connection, archived, **options)
    assert await everything(connection) == before


async def test_archive_cannot_name_itself_what_is_reserved(database, small):
    connection, _ = database
    origin = {"slug": "admin", "name": "Admin", "state": "active"}
    with pytest.raises(TenancyError, match="reserved"):
        await restore(connection, edited(small, workspace=origin))
    made = await restore(connection, edited(small, workspace=origin), reserved=frozenset({"admin"}))
    assert made.slug == "admin"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("CREATE TABLE notes (id bigint)", "in notes:"),
        ("ALTER TABLE tags ADD COLUMN shade text", "in tags:"),
        ("DROP TABLE result_steps", "in result_steps:"),
    ],
)
async def test_what_was_changed_by_hand_is_told_when_it_is_backed_up_not_when_it_is_needed(change, told, database):
    connection, _ = database
    slug = f"by-hand-{told[3:6]}"
    made = await create_workspace(connection, slug=slug, name="By hand")
    await connection.execute(f"SET search_path = {made.schema_name}; {change}; RESET search_path")
    with pytest.raises(TenancyError, match=told):
        await back_up(connection, slug)


async def test_missing_workspace_is_one_line(database):
    connection, _ = database
    for work in (back_up(connection, "nowhere"), archives.clone(connection, "nowhere", "nowhere-two")):
        with pytest.raises(TenancyError, match="no workspace 'nowhere'"):
            await work


async def test_a_difference_in_any_table_is_found(database, archived):
    connection, _ = database
    made = await restore(connection, archived, slug="different")
    assert await differences(connection, archived, "different") == []
    # Whatever a table is about, a row of it can be missing.
    for table in described():
        one = f"{made.schema_name}.{table}"
        await connection.execute(
            f"SET session_replication_role = 'replica'; DELETE FROM {one} WHERE ctid = (SELECT min(ctid) FROM {one}); "
            "RESET session_replication_role"
        )
    assert await differences(connection, archived, "different") == sorted(described())


def words_in_literals(source: str) -> set[str]:
    """All words in the texts of a module, docstrings apart."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    return {word for text in texts for word in re.findall(r"\w+", text)}


def test_no_table_is_known_by_name():
    for file in sorted((ROOT / "tenancy" / "archive").glob("*.py")):
        assert words_in_literals(file.read_text()) & described().keys() == set(), file.name
    assert words_in_literals('"""Of cases."""\nquery = f"SELECT 1 FROM runs WHERE {x}"') & described().keys() == {
        "runs"
    }


def test_manifest_is_for_people_too(archived):
    document = unpack(archived)["manifest.json"]
    assert manifest.read_manifest(document).to_json() == document
    assert document.startswith(b'{\n  "format": "testorchestrator-workspace",\n  "formatVersion": 1,\n')
