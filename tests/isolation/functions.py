"""The functions of PostgreSQL that are left to everybody, each with the reason why a workspace may have it."""

from __future__ import annotations

import asyncpg

#: What a function is that harms nobody whatever its name, as a condition on pg_proc p; $1 is the workspace's role.
CLASSES = {
    "it is in a schema that the role may not use": "NOT has_schema_privilege($1, p.pronamespace, 'USAGE')",
    "it is the workspace's own": "p.pronamespace = $1::regnamespace",
    "it computes from its arguments alone": "p.provolatile = 'i'",
    "it calls functions that are judged themselves": "p.prokind IN ('a', 'w')",
    "SQL has no value for it but NULL, and then it is not run": """
        p.proisstrict AND 'internal'::regtype = ANY (p.proargtypes)""",
    "it runs as a trigger only, and a workspace makes none": "p.prorettype = 'trigger'::regtype",
    "it reads or writes a type's values": """p.provolatile = 's' AND EXISTS (
        SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend, typmodin, typmodout))""",
    "it compares or converts values": """p.provolatile = 's' AND (
        EXISTS (SELECT FROM pg_operator WHERE oprcode = p.oid)
        OR EXISTS (SELECT FROM pg_cast WHERE castfunc = p.oid))""",
}

#: STABLE functions by their names, each with the reason why it does no more than read with the caller's own rights.
READING = {
    "computes from its arguments and the settings of time, language and format": """
        aclexplode age array_to_json array_to_string concat concat_ws convert convert_from convert_to date_add
        date_cmp_timestamptz date_part date_subtract date_trunc enum_first enum_in enum_last enum_out enum_range
        enum_send extract format generate_series get_current_ts_config in_range json_agg_strict_transfn
        json_agg_transfn json_build_array json_build_object json_object_agg_strict_transfn json_object_agg_transfn
        json_object_agg_unique_strict_transfn json_object_agg_unique_transfn json_populate_record
        json_populate_recordset json_to_record json_to_recordset json_to_tsvector jsonb_agg_finalfn
        jsonb_agg_strict_transfn jsonb_agg_transfn jsonb_build_array jsonb_build_object jsonb_object_agg_finalfn
        jsonb_object_agg_strict_transfn jsonb_object_agg_transfn jsonb_object_agg_unique_strict_transfn
        jsonb_object_agg_unique_transfn jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
        jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
        jsonb_populate_recordset jsonb_to_record jsonb_to_recordset jsonb_to_tsvector length make_timestamptz
        mxid_age now oidvectortypes overlaps pg_char_to_encoding pg_collation_for pg_column_compression
        pg_column_size pg_column_toast_chunk_id pg_encoding_to_char pg_get_keywords pg_input_error_info
        pg_input_is_valid pg_mcv_list_items pg_options_to_table pg_split_walfile_name pg_trigger_depth pg_typeof
        phraseto_tsquery plainto_tsquery quote_literal quote_nullable row_to_json statement_timestamp
        timestamp_cmp_timestamptz timestamptz timestamptz_cmp_date timestamptz_cmp_timestamp timezone to_char
        to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp ts_debug
        ts_headline ts_parse ts_token_type websearch_to_tsquery xml_is_well_formed
    """,
    "tells of this session and this server: names, versions, limits, what is installed": """
        current_database current_schema current_schemas current_setting current_user getdatabaseencoding
        getpgusername inet_client_addr inet_client_port inet_server_addr inet_server_port
        pg_available_extension_versions pg_available_extensions pg_backend_pid pg_client_encoding pg_conf_load_time
        pg_current_snapshot pg_current_xact_id_if_assigned pg_extension_update_paths pg_get_replication_slots
        pg_is_other_temp_schema pg_listening_channels pg_my_temp_schema pg_numa_available pg_postmaster_start_time
        pg_settings_get_flags pg_show_all_settings pg_tablespace_databases pg_tablespace_location
        pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_timezone_names session_user system_user
        txid_current_if_assigned txid_current_snapshot version
    """,
    "looks rights up": """
        has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
        has_function_privilege has_language_privilege has_largeobject_privilege has_parameter_privilege
        has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
        has_tablespace_privilege has_type_privilege pg_get_acl pg_has_role row_security_active
    """,
    "reads a definition in the catalogs, which all may read; where it opens a table, it shuts it at once": """
        _pg_index_position col_description fmgr_c_validator fmgr_internal_validator fmgr_sql_validator format_type
        obj_description pg_basetype pg_collation_is_visible pg_column_is_updatable pg_conversion_is_visible
        pg_describe_object pg_filenode_relation pg_function_is_visible pg_get_catalog_foreign_keys
        pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
        pg_get_function_identity_arguments pg_get_function_result pg_get_indexdef pg_get_partition_constraintdef
        pg_get_partkeydef pg_get_publication_tables pg_get_replica_identity_index pg_get_ruledef
        pg_get_serial_sequence pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
        pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_identify_object
        pg_identify_object_as_address pg_index_column_has_property pg_index_has_property pg_indexam_has_property
        pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_relation_filenode
        pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable pg_sequence_parameters
        pg_statistics_obj_is_visible pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible
        pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible shobj_description to_regclass
        to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
        to_regtypemod
    """,
    "is for event triggers, which only a superuser makes": """
        pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects pg_event_trigger_table_rewrite_oid
        pg_event_trigger_table_rewrite_reason
    """,
    "counts what tables and the server did: how busy a workspace is, no value in it": """
        pg_stat_get_analyze_count pg_stat_get_archiver pg_stat_get_autoanalyze_count pg_stat_get_autovacuum_count
        pg_stat_get_bgwriter_buf_written_clean pg_stat_get_bgwriter_maxwritten_clean
        pg_stat_get_bgwriter_stat_reset_time pg_stat_get_blocks_fetched pg_stat_get_blocks_hit pg_stat_get_buf_alloc
        pg_stat_get_checkpointer_buffers_written pg_stat_get_checkpointer_num_performed
        pg_stat_get_checkpointer_num_requested pg_stat_get_checkpointer_num_timed
        pg_stat_get_checkpointer_restartpoints_performed pg_stat_get_checkpointer_restartpoints_requested
        pg_stat_get_checkpointer_restartpoints_timed pg_stat_get_checkpointer_slru_written
        pg_stat_get_checkpointer_stat_reset_time pg_stat_get_checkpointer_sync_time
        pg_stat_get_checkpointer_write_time pg_stat_get_db_active_time pg_stat_get_db_blk_read_time
        pg_stat_get_db_blk_write_time pg_stat_get_db_blocks_fetched pg_stat_get_db_blocks_hit
        pg_stat_get_db_checksum_failures pg_stat_get_db_checksum_last_failure pg_stat_get_db_conflict_all
        pg_stat_get_db_conflict_bufferpin pg_stat_get_db_conflict_lock pg_stat_get_db_conflict_logicalslot
        pg_stat_get_db_conflict_snapshot pg_stat_get_db_conflict_startup_deadlock pg_stat_get_db_conflict_tablespace
        pg_stat_get_db_deadlocks pg_stat_get_db_idle_in_transaction_time pg_stat_get_db_numbackends
        pg_stat_get_db_parallel_workers_launched pg_stat_get_db_parallel_workers_to_launch
        pg_stat_get_db_session_time pg_stat_get_db_sessions pg_stat_get_db_sessions_abandoned
        pg_stat_get_db_sessions_fatal pg_stat_get_db_sessions_killed pg_stat_get_db_stat_reset_time
        pg_stat_get_db_temp_bytes pg_stat_get_db_temp_files pg_stat_get_db_tuples_deleted
        pg_stat_get_db_tuples_fetched pg_stat_get_db_tuples_inserted pg_stat_get_db_tuples_returned
        pg_stat_get_db_tuples_updated pg_stat_get_db_xact_commit pg_stat_get_db_xact_rollback
        pg_stat_get_dead_tuples pg_stat_get_function_calls pg_stat_get_function_self_time
        pg_stat_get_function_total_time pg_stat_get_ins_since_vacuum pg_stat_get_last_analyze_time
        pg_stat_get_last_autoanalyze_time pg_stat_get_last_autovacuum_time pg_stat_get_last_vacuum_time
        pg_stat_get_lastscan pg_stat_get_live_tuples pg_stat_get_mod_since_analyze pg_stat_get_numscans
        pg_stat_get_slru pg_stat_get_snapshot_timestamp pg_stat_get_total_analyze_time
        pg_stat_get_total_autoanalyze_time pg_stat_get_total_autovacuum_time pg_stat_get_total_vacuum_time
        pg_stat_get_tuples_deleted pg_stat_get_tuples_fetched pg_stat_get_tuples_hot_updated
        pg_stat_get_tuples_inserted pg_stat_get_tuples_newpage_updated pg_stat_get_tuples_returned
        pg_stat_get_tuples_updated pg_stat_get_vacuum_count pg_stat_get_wal
    """,
    "looks at other sessions: that there are some, and what they do only for who may": """
        pg_stat_get_activity pg_stat_get_backend_activity pg_stat_get_backend_activity_start
        pg_stat_get_backend_client_addr pg_stat_get_backend_client_port pg_stat_get_backend_dbid
        pg_stat_get_backend_idset pg_stat_get_backend_pid pg_stat_get_backend_start pg_stat_get_backend_subxact
        pg_stat_get_backend_userid pg_stat_get_backend_wait_event pg_stat_get_backend_wait_event_type
        pg_stat_get_backend_xact_start pg_stat_get_progress_info pg_stat_get_replication_slot
        pg_stat_get_subscription pg_stat_get_subscription_stats pg_stat_get_wal_receiver pg_stat_get_wal_senders
    """,
}

#: VOLATILE functions by their signatures.
HARMLESS = {
    "computes, or draws from a source of the session's own that nothing of ours relies on": """
        array_sample(anyarray,integer)
        array_shuffle(anyarray)
        clock_timestamp()
        gen_random_uuid()
        random()
        random(bigint,bigint)
        random(integer,integer)
        random(numeric,numeric)
        random_normal(double precision,double precision)
        timeofday()
        uuidv4()
        uuidv7()
        uuidv7(interval)
    """,
    "asks for a right on what it is given, and does what the role may do by a statement": """
        currtid2(text,tid)
        nextval(regclass)
    """,
    "looks at a definition": """
        amvalidate(oid)
        pg_collation_actual_version(oid)
        pg_database_collation_actual_version(oid)
        pg_partition_ancestors(regclass)
        pg_partition_tree(regclass)
        plpgsql_validator(oid)
    """,
    "tells the query that is running, which is the caller's": """
        current_query()
    """,
    "tells how large a table is: it opens it, and shuts it at once": """
        pg_indexes_size(regclass)
        pg_relation_size(regclass)
        pg_relation_size(regclass,text)
        pg_table_size(regclass)
        pg_total_relation_size(regclass)
    """,
    "tells how much of the disk is in use": """
        pg_database_size(name)
        pg_database_size(oid)
        pg_tablespace_size(name)
        pg_tablespace_size(oid)
    """,
    "tells of the server: how it was made, where its log and its recovery are, what it has loaded": """
        pg_control_checkpoint()
        pg_control_init()
        pg_control_recovery()
        pg_control_system()
        pg_current_wal_flush_lsn()
        pg_current_wal_insert_lsn()
        pg_current_wal_lsn()
        pg_get_loaded_modules()
        pg_get_wait_events()
        pg_get_wal_resource_managers()
        pg_get_wal_summarizer_state()
        pg_is_in_recovery()
        pg_jit_available()
        pg_last_wal_receive_lsn()
        pg_last_wal_replay_lsn()
        pg_last_xact_replay_timestamp()
        pg_notification_queue_usage()
        pg_stat_get_io()
        pg_stat_get_recovery_prefetch()
    """,
    "tells that there are transactions, by their numbers": """
        pg_get_multixact_members(xid)
        pg_last_committed_xact()
        pg_prepared_xact()
        pg_xact_commit_timestamp(xid)
        pg_xact_commit_timestamp_origin(xid)
        pg_xact_status(xid8)
        txid_status(bigint)
    """,
    "looks at other sessions: that they hold or await locks, and how much they read and write": """
        pg_blocking_pids(integer)
        pg_isolation_test_session_is_blocked(integer,integer[])
        pg_lock_status()
        pg_safe_snapshot_blocking_pids(integer)
        pg_stat_get_backend_io(integer)
        pg_stat_get_backend_wal(integer)
    """,
    "counts what this session did lately, as the statistics of tables do a moment later": """
        pg_stat_get_xact_blocks_fetched(oid)
        pg_stat_get_xact_blocks_hit(oid)
        pg_stat_get_xact_function_calls(oid)
        pg_stat_get_xact_function_self_time(oid)
        pg_stat_get_xact_function_total_time(oid)
        pg_stat_get_xact_numscans(oid)
        pg_stat_get_xact_tuples_deleted(oid)
        pg_stat_get_xact_tuples_fetched(oid)
        pg_stat_get_xact_tuples_hot_updated(oid)
        pg_stat_get_xact_tuples_inserted(oid)
        pg_stat_get_xact_tuples_newpage_updated(oid)
        pg_stat_get_xact_tuples_returned(oid)
        pg_stat_get_xact_tuples_updated(oid)
    """,
}

#: VOLATILE functions that refuse a workspace's role by themselves, by the error that they raise.
REFUSING: dict[type[asyncpg.PostgresError], str] = {
    # A right, an attribute or a superuser is asked for.
    asyncpg.InsufficientPrivilegeError: """
        pg_copy_logical_replication_slot(name,name)
        pg_copy_logical_replication_slot(name,name,boolean)
        pg_copy_logical_replication_slot(name,name,boolean,name)
        pg_copy_physical_replication_slot(name,name)
        pg_copy_physical_replication_slot(name,name,boolean)
        pg_create_logical_replication_slot(name,name,boolean,boolean,boolean)
        pg_create_physical_replication_slot(name,boolean,boolean)
        pg_drop_replication_slot(name)
        pg_import_system_collations(regnamespace)
        pg_logical_slot_get_binary_changes(name,pg_lsn,integer,text[])
        pg_logical_slot_get_changes(name,pg_lsn,integer,text[])
        pg_logical_slot_peek_binary_changes(name,pg_lsn,integer,text[])
        pg_logical_slot_peek_changes(name,pg_lsn,integer,text[])
        pg_nextoid(regclass,name,regclass)
        pg_replication_slot_advance(name,pg_lsn)
        pg_stop_making_pinned_objects()
        pg_sync_replication_slots()
        setval(regclass,bigint)
        setval(regclass,bigint,boolean)
    """,
    # The server is not being upgraded.
    asyncpg.CantChangeRuntimeParamError: """
        binary_upgrade_add_sub_rel_state(text,oid,"char",pg_lsn)
        binary_upgrade_create_empty_extension(text,text,boolean,text,oid[],text[],text[])
        binary_upgrade_logical_slot_has_caught_up(name)
        binary_upgrade_replorigin_advance(text,pg_lsn)
        binary_upgrade_set_missing_value(oid,text,text)
        binary_upgrade_set_next_array_pg_type_oid(oid)
        binary_upgrade_set_next_heap_pg_class_oid(oid)
        binary_upgrade_set_next_heap_relfilenode(oid)
        binary_upgrade_set_next_index_pg_class_oid(oid)
        binary_upgrade_set_next_index_relfilenode(oid)
        binary_upgrade_set_next_multirange_array_pg_type_oid(oid)
        binary_upgrade_set_next_multirange_pg_type_oid(oid)
        binary_upgrade_set_next_pg_authid_oid(oid)
        binary_upgrade_set_next_pg_enum_oid(oid)
        binary_upgrade_set_next_pg_tablespace_oid(oid)
        binary_upgrade_set_next_pg_type_oid(oid)
        binary_upgrade_set_next_toast_pg_class_oid(oid)
        binary_upgrade_set_next_toast_relfilenode(oid)
        binary_upgrade_set_record_init_privs(boolean)
    """,
    # No extension is being made, and a language's handler is no function of its own.
    asyncpg.FeatureNotSupportedError: """
        pg_extension_config_dump(regclass,text)
        plpgsql_call_handler()
    """,
    # The server is not a standby.
    asyncpg.ObjectNotInPrerequisiteStateError: """
        pg_get_wal_replay_pause_state()
        pg_is_wal_replay_paused()
    """,
}
