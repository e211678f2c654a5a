"""The checksum that Postgres computes is the one of the source's rows, and differs once a single value does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from shared.connectors._fingerprint import Fingerprint
from shared.connectors.looker import checksum
from shared.connectors.looker.columns import postgres_columns
from shared.connectors.looker.encode import copy_text
from shared.connectors.looker.staging import make_table
from tests.conformance.connectors.looker_support import TRICKY
from tests.conformance.sandboxes.looker_support import Cloud, looker_cloud, looker_parts  # noqa: F401

SCHEMA = pa.schema(
    [
        ("i", pa.int64()),
        ("u", pa.uint64()),
        ("f", pa.float64()),
        ("g", pa.float32()),
        ("b", pa.bool_()),
        ("d", pa.date32()),
        ("t", pa.timestamp("us")),
        ("z", pa.timestamp("ms", "America/New_York")),
        ("p", pa.decimal128(20, 4)),
        ("s", pa.string()),
        ("r", pa.string()),
    ]
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
texts |= st.sampled_from(["", "\\N", "\x1f", "a\x1f1\x1fb", "\r\n", "\\", '"', "-1"])
moments = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59))
rows_of_all_types = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-(2**63), 2**63 - 1),
            "u": st.none() | st.integers(0, 2**64 - 1),
            "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "g": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
            "b": st.none() | st.booleans(),
            "d": st.none() | st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)),
            "t": st.none() | moments,
            "z": st.none() | moments.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
            "p": st.none() | st.decimals(-(10**15), 10**15, places=4),
            "s": st.none() | texts,
            "r": st.none() | texts,
        }
    ),
    min_size=1,
    max_size=20,
)


@pytest.fixture
def connection(cloud: Cloud) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cloud.postgres.dsn(cloud.server.accounts.warehouse.user), autocommit=True) as opened:
        opened.execute("SET TIME ZONE 'UTC'; SET DateStyle = 'ISO, YMD'; SET standard_conforming_strings = on")
        yield opened


def held(connection: psycopg.Connection, table: pa.Table, change: str = "") -> Fingerprint:
    """What Postgres says of these rows once it has them in a table."""
    columns = postgres_columns(table.schema)
    name = sql.Identifier("bi", "checked")
    connection.execute("DROP TABLE IF EXISTS bi.checked")
    make_table(connection, "bi", "checked", columns)
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
        for block in copy_text(table):
            copy.write(block)
    if change:
        connection.execute(f"UPDATE bi.checked SET {change}")
    found, quick = checksum.of_table(connection, name, columns)
    assert checksum.quick_of_table(connection, name, columns) == (table.num_rows, quick)
    return found


@given(rows_of_all_types)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_sides_agree_on_any_rows(connection: psycopg.Connection, rows: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    assert held(connection, table).differences(checksum.of_rows(table)) == []


def test_both_sides_agree_on_awkward_values_and_names(connection: psycopg.Connection) -> None:
    assert held(connection, TRICKY) == checksum.of_rows(TRICKY)


def test_both_sides_agree_on_more_columns_than_a_function_takes(connection: psycopg.Connection) -> None:
    table = pa.table({f"c{at}": [str(at), None] for at in range(400)})
    assert held(connection, table) == checksum.of_rows(table)


def test_no_rows_have_the_sum_zero(connection: psycopg.Connection) -> None:
    table = SCHEMA.empty_table()
    assert held(connection, table) == checksum.of_rows(table) == Fingerprint(0, 0)


ONE = pa.Table.from_pylist(
    [
        {
            "i": 1,
            "u": 2,
            "f": 0.0,
            "g": 0.5,
            "b": True,
            "d": dt.date(2024, 2, 29),
            "t": dt.datetime(2024, 3, 31, 1, 30),
            "z": dt.datetime(2024, 3, 31, 1, 30),
            "p": Decimal("1.5000"),
            "s": "",
            "r": "a\tb",
        }
    ],
    SCHEMA,
)


@pytest.mark.parametrize(
    "change",
    [
        "i = 2",
        "i = NULL",
        "u = 3",
        "f = '-0'",
        "f = '5e-324'",
        "b = false",
        "d = d + 1",
        "t = t + interval '1 microsecond'",
        "z = z - interval '1 microsecond'",
        "p = 1.5001",
        "s = NULL",
        "s = ' '",
        "r = E'a\\\\tb'",
        "s = r, r = s",
    ],
)
def test_a_single_changed_value_is_seen(connection: psycopg.Connection, change: str) -> None:
    assert held(connection, ONE) == checksum.of_rows(ONE)
    assert held(connection, ONE, change).differences(checksum.of_rows(ONE)) != []
