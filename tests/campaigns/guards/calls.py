"""Guards of outgoing calls: users' URLs, warehouses, and names that stand in addresses and statements."""

# ruff: noqa: E501 - a table: one guard a line

from __future__ import annotations

from tests.campaigns.guards.access import CONFIG
from tests.campaigns.guards.guard import Guard

OUTGOING, ADAPTER, WAREHOUSE = (
    "shared/connectors/_outgoing.py",
    "shared/connectors/_guarded_adapter.py",
    "shared/connectors/looker/warehouse.py",
)
LAYOUT, SOURCES, BIGQUERY = (
    "shared/connectors/google_sheets/layout.py",
    "shared/services/sources.py",
    "shared/pipeline/sources/bigquery.py",
)
_SSRF, _HOSTS = "tests/unit/connectors/test_outgoing.py::", "tests/unit/connectors/test_looker_warehouse.py::"
_FORM, _LISTED = _SSRF + "test_a_url_of_another_form_is_refused", _SSRF + "test_a_listed_name_allows_that_name_only"
_SLOW = "tests/unit/connectors/test_slow_hosts.py::test_a_host_that_drips_is_hung_up_on"
_METADATA = _SSRF + "test_no_request_reaches_a_metadata_server_by_any_name_or_address"
_WIRE, _QUERIES = "tests/conformance/connectors/test_looker_outgoing.py::", "tests/functional/test_bigquery_source.py::"
_ELSEWHERE = "tests/functional/test_edge.py::test_nothing_that_leads_elsewhere_is_taken_but_locally"

CALLS = (
    Guard("a URL is https", OUTGOING, 'parts.scheme == "https" and ', "", _FORM),
    Guard("a URL has no user name", OUTGOING, "parts.username is None and parts.password is None", "True", _FORM),
    Guard("a URL's port is one of two", OUTGOING, "and port in self.ports and", "and", _FORM),
    Guard("a URL's host is a name", OUTGOING, " and HOST.match(host) else None", " else None", _FORM),
    Guard(
        "a URL has no character that parsers read differently",
        OUTGOING,
        r'if not url.isascii() or not url.isprintable() or any(mark in url for mark in " \\"):',
        "if False:",
        _FORM,
    ),
    Guard(
        "a host is on the list",
        OUTGOING,
        'if host == entry or (entry.startswith(".") and host.endswith(entry)):',
        "if True:",
        _SSRF + "test_a_host_that_is_not_on_the_list_is_refused",
    ),
    Guard(
        "a name on the list is that name",
        OUTGOING,
        '(entry.startswith(".") and host.endswith(entry))',
        "host.endswith(entry)",
        _LISTED,
    ),
    Guard(
        "an address is public",
        OUTGOING,
        "if not addresses or not all(is_public(address) for address in addresses):",
        "if not addresses:",
        _METADATA,
    ),
    Guard(
        "an address of this machine is not dialled",
        OUTGOING,
        "if not addresses or not all(is_public(address) for address in addresses):",
        "if not addresses:",
        _SSRF + "test_no_request_reaches_a_metadata_server_of_this_machine_without_a_proxy",
    ),
    Guard(
        "every address is public",
        OUTGOING,
        "not all(is_public(address) for",
        "not any(is_public(address) for",
        _SSRF + "test_a_name_with_one_public_and_one_private_address_is_refused",
    ),
    Guard(
        "an IPv4 address inside an IPv6 one is looked at",
        OUTGOING,
        "return is_public(str(inner))",
        "return True",
        _SSRF + "test_an_address_that_is_not_everybodys_is_not_public",
    ),
    Guard(
        "an address of a reserved range, such as IPv4's old place in IPv6, is not public",
        OUTGOING,
        " and not found.is_reserved",
        "",
        _SSRF + "test_an_address_that_is_not_everybodys_is_not_public",
    ),
    Guard(
        "Google's private addresses are not public",
        OUTGOING,
        "(*GOOGLE_APIS, *NOT_YET_KNOWN)",
        "NOT_YET_KNOWN",
        _SSRF + "test_an_address_that_is_not_everybodys_is_not_public",
    ),
    Guard(
        "the address that was checked is dialled",
        ADAPTER,
        '{**place, "host": checked}',
        "place",
        _SSRF + "test_a_name_that_is_rebound_between_check_and_call_is_dialled_at_the_checked_address",
    ),
    Guard(
        "the certificate is the name's",
        ADAPTER,
        '{**options, "server_hostname": place["host"]}',
        '{**options, "assert_hostname": False}',
        _WIRE + "test_the_dialled_address_must_hold_the_certificate_of_the_name",
    ),
    Guard(
        "the rules hold for every request",
        ADAPTER,
        'host = self._outgoing.require(request.url or "")',
        'host = ""',
        _SSRF + "test_the_session_calls_nothing_that_the_rules_refuse",
    ),
    Guard(
        "no redirect is followed",
        ADAPTER,
        "if response.is_redirect:",
        "if False:",
        _WIRE + "test_a_redirect_is_not_followed",
    ),
    Guard(
        "an answer is bounded in size",
        OUTGOING,
        "if self._left < 0:",
        "if False:",
        _WIRE + "test_an_answer_without_end_is_not_read",
    ),
    Guard(
        "an answer is bounded in time",
        ADAPTER,
        '        if left <= 0:\n            raise TimeoutError("the answer took too long")\n        self._sock.settimeout(min(left, self._most_s))\n',
        "",
        _SLOW,
    ),
    Guard(
        "every guarded call is bounded in time",
        ADAPTER,
        "pool.ConnectionCls = partial(_Timed, longest_s=self._outgoing.longest_answer_s)",
        "pass",
        _SLOW,
    ),
    Guard(
        "Looker's key goes to an instance's address alone",
        "shared/connectors/looker/__init__.py",
        "if not INSTANCE.match(self.base_url):",
        "if False:",
        "tests/functional/test_connectors.py::test_looker_key_is_sent_to_nothing_but_an_instance",
    ),
    Guard(
        "Looker is called through the guard",
        "shared/connectors/looker/connector.py",
        'session = partial(guarded_session, "looker", runtime.looker)',
        'session = __import__("requests").Session',
        _WIRE + "test_a_looker_host_off_the_list_is_never_called",
    ),
    Guard(
        "a warehouse is on the list",
        WAREHOUSE,
        "        require_allowed(settings.host, self.allowed_hosts)\n",
        "",
        _HOSTS + "test_a_warehouse_off_the_list_is_never_dialled",
    ),
    Guard(
        "a warehouse is one host and no socket",
        WAREHOUSE,
        r'or any(mark in wanted for mark in ",/\\@ ")',
        "",
        _HOSTS + "test_host_off_the_list_is_refused_naming_the_setting",
    ),
    Guard(
        "a warehouse's suffix begins with a dot",
        WAREHOUSE,
        'entry.startswith(".") and wanted.endswith(entry)',
        "wanted.endswith(entry)",
        _HOSTS + "test_host_off_the_list_is_refused_naming_the_setting",
    ),
)

PLACES = (
    Guard(
        "a warehouse's way of TLS is libpq's",
        WAREHOUSE,
        "if settings.sslmode not in SSL_MODES:",
        "if False:",
        _HOSTS + "test_a_way_of_tls_that_libpq_has_not_is_refused_with_those_that_it_has",
    ),
    Guard(
        "no emulator is taken but locally",
        CONFIG,
        'name.endswith("_EMULATOR_HOST") or ',
        "",
        _ELSEWHERE + "[STORAGE_EMULATOR_HOST]",
    ),
    Guard(
        "no table of addresses is taken but locally",
        CONFIG,
        '("RESOLVER_TABLE", "API_ENDPOINT_OVERRIDE")',
        '("API_ENDPOINT_OVERRIDE",)',
        _ELSEWHERE + "[RESOLVER_TABLE]",
    ),
    Guard(
        "Cloud Storage is not called elsewhere but locally",
        CONFIG,
        '("RESOLVER_TABLE", "API_ENDPOINT_OVERRIDE")',
        '("RESOLVER_TABLE",)',
        _ELSEWHERE + "[API_ENDPOINT_OVERRIDE]",
    ),
)

NAMES = (
    Guard(
        "a column of Postgres is quoted",
        "shared/connectors/looker/staging.py",
        'sql.SQL("{} {}").format(sql.Identifier(column.name),',
        'sql.SQL("{} {}").format(sql.SQL(column.name),',
        "tests/unit/connectors/test_looker_columns.py::test_a_column_name_is_quoted_where_it_stands_in_sql",
    ),
    Guard(
        "a list of columns of Postgres is quoted",
        "shared/connectors/looker/delivery.py",
        'sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)',
        'sql.SQL(", ").join(sql.SQL(column.name) for column in columns)',
        "tests/unit/connectors/test_looker_columns.py::test_a_column_name_is_quoted_where_it_stands_in_sql",
    ),
    Guard(
        "a table of BigQuery has no character that ends quotes",
        SOURCES,
        "if bigquery.table is not None and TABLE.fullmatch(bigquery.table) is None:",
        "if False:",
        _QUERIES + "test_a_table_name_is_checked_before_it_is_quoted",
    ),
    Guard(
        "a column of BigQuery has no character that ends quotes",
        BIGQUERY,
        r"""if "`" in column.name or "\\" in column.name:""",
        "if False:",
        _QUERIES + "test_a_column_name_that_would_end_its_quotes_is_refused",
    ),
    Guard(
        "a column of Power BI is escaped",
        "shared/connectors/power_bi/aggregates.py",
        "{column.replace(']', ']]')}",
        "{column}",
        "tests/unit/connectors/test_power_bi_aggregates.py::test_queries_name_every_column_and_escape_brackets",
    ),
    Guard(
        "a table of Power BI has no quote",
        "shared/connectors/power_bi/schema.py",
        "if not _TABLE_NAME.fullmatch(name):",
        "if False:",
        "tests/unit/connectors/test_power_bi.py::test_a_name_that_power_bi_does_not_take_is_refused_and_not_changed",
    ),
    Guard(
        "a name at Power BI is one segment",
        "shared/connectors/power_bi/client.py",
        'return quote(name, safe="")',
        "return name",
        "tests/unit/connectors/test_power_bi.py::test_a_name_stays_one_segment_of_an_address",
    ),
    Guard(
        "a name at Power BI does not climb",
        "shared/connectors/power_bi/client.py",
        'if name in ("", ".", ".."):',
        "if False:",
        "tests/unit/connectors/test_power_bi.py::test_a_name_that_would_climb_out_of_an_address_is_refused",
    ),
    Guard(
        "a title of Google Sheets is quoted",
        LAYOUT,
        """title.replace("'", "''")""",
        "title",
        "tests/conformance/connectors/test_google_sheets.py::test_a_title_is_one_part_of_the_address_and_of_the_range_whatever_it_holds[it's]",
    ),
    Guard(
        "a range of Google Sheets is one segment",
        "shared/connectors/google_sheets/client.py",
        "quote(a1))",
        "a1)",
        "tests/conformance/connectors/test_google_sheets.py::test_a_range_in_an_address_is_one_segment_over_the_wire",
    ),
    Guard(
        "a spreadsheet's id is one segment",
        "shared/connectors/google_sheets/client.py",
        "if not SPREADSHEET_ID.fullmatch(self.spreadsheet_id):",
        "if False:",
        "tests/unit/connectors/test_google_sheets_client.py::test_an_id_that_would_make_another_address_is_refused_before_any_call",
    ),
)
