"""The functions of PostgreSQL that nobody but an administrator may call, since they do more than compute and read.

PostgreSQL lets everybody call them, in a READ ONLY transaction too. A workspace's role is entered on a connection that
other workspaces use next, and on a server that all share. `tests/isolation/test_functions.py` has the reasons why all
the other functions are left to everybody, and fails for one that is new.
"""

from __future__ import annotations

#: What the service asks at its start, outside of any workspace, so its login keeps it.
PREPARED_STATEMENTS = "pg_catalog.pg_prepared_statement()"

_KEYS = ("bigint", "integer, integer")
_SHARED = ("", "_shared")

#: Signatures; those that the server's version does not have are passed over.
WITHHELD = (
    # Locks that no table limits: kept for the session, by the thousand until the shared table of locks is full, or
    # taken before an administrator who waits for them.
    *(
        f"pg_catalog.pg_{verb}{shared}({key})"
        for verb in ("advisory_lock", "advisory_xact_lock", "try_advisory_lock", "try_advisory_xact_lock")
        for shared in _SHARED
        for key in _KEYS
    ),
    *(f"pg_catalog.pg_advisory_unlock{shared}({key})" for shared in _SHARED for key in _KEYS),
    "pg_catalog.pg_advisory_unlock_all()",
    # Locks on what is of others, which these take before they ask for a right or without asking: until the end of the
    # transaction, or while autovacuum, which gives way to them, has to begin anew.
    "pg_catalog.pg_get_object_address(text, text[], text[])",
    "pg_catalog.pg_get_functiondef(oid)",
    "pg_catalog.pg_get_function_sqlbody(oid)",
    "pg_catalog.pg_sequence_last_value(regclass)",
    "pg_catalog.pg_get_sequence_data(regclass)",
    "pg_catalog.brin_desummarize_range(regclass, bigint)",
    "pg_catalog.brin_summarize_new_values(regclass)",
    "pg_catalog.brin_summarize_range(regclass, bigint)",
    "pg_catalog.gin_clean_pending_list(regclass)",
    "pg_catalog.pg_clear_attribute_stats(text, text, text, boolean)",
    "pg_catalog.pg_clear_relation_stats(text, text)",
    'pg_catalog.pg_restore_attribute_stats("any")',
    'pg_catalog.pg_restore_relation_stats("any")',
    # Memory of the session, which the next workspace finds: numbers that can be foretold, the last one drawn, texts.
    "pg_catalog.setseed(double precision)",
    "pg_catalog.currval(regclass)",
    "pg_catalog.lastval()",
    PREPARED_STATEMENTS,
    "pg_catalog.pg_cursor()",
    "pg_catalog.pg_stat_clear_snapshot()",
    "pg_catalog.pg_stat_force_next_flush()",
    # SQL given as text, which no gate has seen.
    *(
        f"pg_catalog.{what}_to_{form}({named}boolean, boolean, text)"
        for what, named in (("query", "text, "), ("table", "regclass, "), ("schema", "name, "), ("database", ""))
        for form in ("xml", "xmlschema", "xml_and_xmlschema")
    ),
    "pg_catalog.cursor_to_xml(refcursor, integer, boolean, boolean, text)",
    "pg_catalog.cursor_to_xmlschema(refcursor, boolean, boolean, text)",
    "pg_catalog.ts_rewrite(tsquery, text)",
    "pg_catalog.ts_stat(text)",
    "pg_catalog.ts_stat(text, text)",
    # The write-ahead log, transaction numbers and snapshots, which are the whole server's; a transaction that only
    # reads takes none of them otherwise. Before PostgreSQL 17 a message was without the last argument.
    *(f"pg_catalog.pg_logical_emit_message(boolean, text, {kind}, boolean)" for kind in ("text", "bytea")),
    *(f"pg_catalog.pg_logical_emit_message(boolean, text, {kind})" for kind in ("text", "bytea")),
    "pg_catalog.pg_current_xact_id()",
    "pg_catalog.txid_current()",
    "pg_catalog.pg_export_snapshot()",
    "pg_catalog.pg_available_wal_summaries()",
    "pg_catalog.pg_wal_summary_contents(bigint, pg_lsn, pg_lsn)",
    # Other sessions: in strict mode they may be the workspace's own, which a limit of time should end.
    "pg_catalog.pg_notify(text, text)",
    "pg_catalog.pg_cancel_backend(integer)",
    "pg_catalog.pg_terminate_backend(integer, bigint)",
    # A connection that is kept and does nothing.
    "pg_catalog.pg_sleep(double precision)",
    "pg_catalog.pg_sleep_for(interval)",
    "pg_catalog.pg_sleep_until(timestamp with time zone)",
    # Large objects: they are in no schema.
    "pg_catalog.lo_creat(integer)",
    "pg_catalog.lo_create(oid)",
    "pg_catalog.lo_from_bytea(oid, bytea)",
    "pg_catalog.lo_unlink(oid)",
    "pg_catalog.lo_open(oid, integer)",
    "pg_catalog.lo_close(integer)",
    "pg_catalog.loread(integer, integer)",
    "pg_catalog.lowrite(integer, bytea)",
    "pg_catalog.lo_lseek(integer, integer, integer)",
    "pg_catalog.lo_lseek64(integer, bigint, integer)",
    "pg_catalog.lo_tell(integer)",
    "pg_catalog.lo_tell64(integer)",
    "pg_catalog.lo_truncate(integer, integer)",
    "pg_catalog.lo_truncate64(integer, bigint)",
    "pg_catalog.lo_get(oid)",
    "pg_catalog.lo_get(oid, bigint, integer)",
    "pg_catalog.lo_put(oid, bigint, bytea)",
)
