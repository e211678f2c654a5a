"""Guards of SQL that users give: who may, what it reads and costs, and the process that it runs in."""

from __future__ import annotations

from tests.campaigns.guards.guard import Guard

SOURCES = "shared/services/sources.py"
BIGQUERY = "shared/pipeline/sources/bigquery.py"
_QUERIES = "tests/functional/test_bigquery_source.py::"
_CHILD = "tests/unit/pipeline/preparing/test_sql.py::"

SQL = (
    Guard(
        "queries need an administrator's leave",
        SOURCES,
        "if not self._settings.queries_allowed:",
        "if False:",
        _QUERIES + "test_queries_are_refused_unless_an_administrator_allows_them",
    ),
    Guard(
        "SQL over BigQuery needs leave too",
        SOURCES,
        'self._require_queries("SQL mappings over BigQuery sources")',
        "pass",
        _QUERIES + "test_sql_over_a_bigquery_source_needs_leave_for_it_reads_with_our_rights",
    ),
    Guard(
        "a query only reads",
        BIGQUERY,
        'if estimate.statement_type != "SELECT":',
        "if False:",
        _QUERIES + "test_a_dry_run_refuses_before_anything_is_billed",
    ),
    Guard(
        "a query's cost is asked for first",
        BIGQUERY,
        "if estimate.bytes > limit:",
        "if False:",
        _QUERIES + "test_a_dry_run_refuses_before_anything_is_billed",
    ),
    Guard(
        "a source cannot raise the limit",
        SOURCES,
        "min(bigquery.maximum_bytes_billed or limit, limit)",
        "bigquery.maximum_bytes_billed or limit",
        _QUERIES + "test_a_source_can_only_lower_the_limit",
    ),
    Guard(
        "BigQuery holds a query to its cost",
        "shared/stores/bigquery.py",
        "bigquery.QueryJobConfig(maximum_bytes_billed=maximum_bytes_billed, use_query_cache=False)",
        "bigquery.QueryJobConfig(use_query_cache=False)",
        "tests/conformance/stores/test_bigquery.py::test_a_query_over_the_limit_is_refused_dry_and_by_bigquery",
    ),
    Guard(
        "our own collections are no source",
        SOURCES,
        "is_ours = parts[-1 if firestore.group else 0] in OWN_COLLECTIONS",
        "is_ours = False",
        "tests/functional/test_firestore_source.py",
    ),
    Guard(
        "the mark of a restore is no source",
        SOURCES,
        '"maintenance",',
        "",
        "tests/functional/test_firestore_source.py::test_no_collection_of_ours_is_a_source[maintenance-False]",
    ),
    Guard(
        "SQL opens nothing outside",
        "shared/pipeline/preparing/sql_child.py",
        '"enable_external_access": "false"',
        '"enable_external_access": "true"',
        _CHILD + "test_sql_opens_no_file",
    ),
    Guard(
        "SQL cannot change its settings",
        "shared/pipeline/preparing/sql_child.py",
        '    database.execute("set lock_configuration = true")\n',
        "",
        _CHILD + "test_sql_cannot_change_the_settings_that_hold_it",
    ),
    Guard(
        "SQL is one SELECT",
        "shared/pipeline/preparing/sql_child.py",
        "if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:",
        "if len(statements) != 1:",
        _CHILD + "test_what_is_not_one_select_is_refused",
    ),
    Guard(
        "SQL sees no variable of Python",
        "shared/pipeline/preparing/sql_child.py",
        '"python_enable_replacements": "false"',
        '"python_enable_replacements": "true"',
        _CHILD + "test_each_wall_alone_holds_what_it_is_for",
    ),
    Guard(
        "SQL is bounded in memory by DuckDB",
        "shared/pipeline/preparing/sql_child.py",
        '"memory_limit": f"{memory_bytes // 10**6}MB"',
        '"memory_limit": "40GB"',
        _CHILD + "test_sql_takes_no_more_than_its_memory",
    ),
    Guard(
        "SQL's process is bounded in memory",
        "shared/pipeline/preparing/sql_child.py",
        "    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))\n",
        "",
        _CHILD + "test_the_memory_that_duckdb_does_not_count_is_bounded_by_the_process",
    ),
    Guard(
        "SQL's process is bounded in time",
        "shared/pipeline/preparing/sql.py",
        "        timer.start()\n",
        "",
        _CHILD + "test_sql_that_runs_too_long_is_ended",
    ),
    Guard(
        "SQL's process gets nothing of our environment",
        "shared/pipeline/preparing/sql.py",
        "stderr=errors, env=environment,",
        "stderr=errors, env={**os.environ, **environment},",
        _CHILD + "test_the_child_gets_nothing_of_our_environment",
    ),
)
