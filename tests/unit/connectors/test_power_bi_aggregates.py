"""Fingerprints of push datasets: values, how they add up, and what is left of them after an append."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi import aggregates, encode
from shared.connectors.power_bi.schema import columns_of

TABLE = pa.table(
    {
        "n": pa.array([3, None, -5]),
        "wide": pa.array([2**60, None, 1]),
        "x": pa.array([0.5, None, 0.25]),
        "ok": pa.array([True, None, False]),
        "text": pa.array(["aé😀", None, ""]),
        "day": pa.array([date(1900, 1, 1), None, date(2013, 1, 1)]),
        "at": pa.array([datetime(2013, 1, 1, 12), None, datetime(1899, 12, 29, 18)], pa.timestamp("us")),
        "money": pa.array([Decimal("12.34"), None, Decimal("-0.01")], pa.decimal128(12, 2)),
        "none": pa.array([None, None, None], pa.int64()),
    }
)
DAY = 25_920_000


def fingerprint(table: pa.Table) -> Fingerprint:
    return aggregates.of_rows(encode.held(table))


def test_every_type_has_its_aggregates() -> None:
    assert fingerprint(TABLE).aggregates == {
        "count:n": 2,
        "sum:n": -2,
        "min:n": -5,
        "max:n": 3,
        "count:wide": 2,
        "sum:wide": float(2**60 + 1),
        "min:wide": 1,
        "max:wide": 2**60,
        "count:x": 2,
        "sum:x": 0.75,
        "min:x": 0.25,
        "max:x": 0.5,
        "count:ok": 2,
        "sum:ok": 1,
        "count:text": 2,
        "sum:text": 4,
        "count:day": 2,
        "sum:day": (2 + 41_275) * DAY,
        "min:day": "1900-01-01T00:00:00.000",
        "max:day": "2013-01-01T00:00:00.000",
        "count:at": 2,
        "sum:at": 41_275 * DAY + DAY // 2 - DAY // 4,
        "min:at": "1899-12-29T18:00:00.000",
        "max:at": "2013-01-01T12:00:00.000",
        "count:money": 2,
        "sum:money": 123_300,
        "min:money": -100,
        "max:money": 123_400,
        "count:none": 0,
        "sum:none": 0,
    }


def test_sums_of_decimals_are_exact_beyond_28_digits() -> None:
    most = Decimal(10**28 - 1).scaleb(-4)
    money = pa.table({"money": pa.array([most, most, most], pa.decimal128(28, 4))})
    assert fingerprint(money).aggregates["sum:money"] == 3 * (10**28 - 1)


def test_chunks_add_up_to_the_whole() -> None:
    empty = fingerprint(TABLE.slice(0, 0))
    parts = empty + fingerprint(TABLE.slice(0, 1)) + fingerprint(TABLE.slice(1, 1)) + fingerprint(TABLE.slice(2, 1))
    assert parts.differences(fingerprint(TABLE)) == []


def test_an_append_keeps_what_can_be_told_apart_again() -> None:
    columns = columns_of(TABLE.schema)
    before = fingerprint(TABLE)
    now = before + fingerprint(TABLE.slice(0, 1))
    expected = aggregates.comparable(before, fingerprint(TABLE.slice(0, 1)), columns)
    assert aggregates.since(before, now, columns).differences(expected) == []
    assert "sum:x" not in expected.aggregates
    assert "sum:wide" not in expected.aggregates
    assert "min:n" not in expected.aggregates
    assert expected.aggregates["sum:n"] == 3
    assert expected.aggregates["sum:money"] == 123_400


def test_an_append_to_an_empty_table_keeps_everything() -> None:
    columns = columns_of(TABLE.schema)
    assert aggregates.since(Fingerprint(), fingerprint(TABLE), columns) == fingerprint(TABLE)
    assert aggregates.comparable(Fingerprint(), fingerprint(TABLE), columns) == fingerprint(TABLE)


@pytest.mark.parametrize(
    ("answered", "read"),
    [
        ("2013-01-01T05:00:00", "2013-01-01T05:00:00.000"),
        ("2013-01-01T05:00:00.003", "2013-01-01T05:00:00.003"),
        ("2013-01-01T05:00:00.0033333Z", "2013-01-01T05:00:00.003"),
        ("2013-01-01T05:00:00.1", "2013-01-01T05:00:00.100"),
    ],
)
def test_date_times_are_read_in_each_form(answered: str, read: str) -> None:
    assert aggregates.date_time_text(answered) == read


def test_queries_name_every_column_and_escape_brackets() -> None:
    columns = [{"name": "a]b", "dataType": "String"}, {"name": "ok", "dataType": "Boolean"}]
    [query] = aggregates.queries("T", columns)
    assert query == (
        "EVALUATE ROW(\"rows\", COUNTROWS('T'), \"n0\", COUNTROWS(FILTER('T', NOT ISBLANK('T'[a]]b]))), "
        "\"s0\", SUMX('T', LEN('T'[a]]b])), \"n1\", COUNTROWS(FILTER('T', NOT ISBLANK('T'[ok]))), "
        "\"s1\", COUNTROWS(FILTER('T', 'T'[ok] = TRUE())))"
    )
