"""DataFrames out and back: every dtype that travels comes back as it was, and what cannot is refused by name."""

from __future__ import annotations

import datetime as dt
import io
import zoneinfo
from decimal import Decimal
from typing import Any

import dateutil.tz
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from shared.client.frames import FrameError, restore, table_of, type_names
from shared.pipeline.formats.column_types import schema_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
MICROS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
BIG = st.integers(-(2**63), 2**63 - 1)
NAIVE = dt.datetime(2024, 7, 1, 5)
ZONED = NAIVE.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))


def missing(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def ints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


KINDS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int8": (ints(8), "int8"),
    "int64": (BIG, "int64"),
    "uint32": (st.integers(0, 2**32 - 1), "uint32"),
    "uint64": (st.integers(0, 2**64 - 1), "uint64"),
    "Int16": (missing(ints(16)), "Int16"),
    "Int64": (missing(BIG), "Int64"),
    "UInt64": (missing(st.integers(0, 2**64 - 1)), "UInt64"),
    "float32": (st.floats(width=32), "float32"),
    "float64": (st.floats(), "float64"),
    "Float64": (missing(st.floats(allow_nan=False)), "Float64"),
    "bool": (st.booleans(), "bool"),
    "boolean": (missing(st.booleans()), "boolean"),
    "object text": (missing(TEXT), "object"),
    "object decimals": (missing(st.decimals(-999, 999, places=2)), "object"),
    "object dates": (missing(st.dates()), "object"),
    "string": (missing(TEXT), "string"),
    "str": (TEXT, "str"),
    "datetime64[ns]": (missing(MICROS), "datetime64[ns]"),
    "datetime64[us]": (missing(MICROS), "datetime64[us]"),
    "Berlin": (missing(MICROS), "datetime64[ns, Europe/Berlin]"),
    "UTC": (missing(MICROS), "datetime64[us, UTC]"),
    "arrow int": (missing(BIG), pd.ArrowDtype(pa.int64())),
    "arrow int8": (missing(ints(8)), pd.ArrowDtype(pa.int8())),
    "arrow double": (missing(st.floats(allow_nan=False)), pd.ArrowDtype(pa.float64())),
    "arrow text": (missing(TEXT), pd.ArrowDtype(pa.large_string())),
    "arrow decimal": (missing(st.decimals(-999, 999, places=2)), pd.ArrowDtype(pa.decimal128(12, 2))),
    "arrow date": (missing(st.dates()), pd.ArrowDtype(pa.date32())),
    "arrow zone": (missing(MICROS.map(lambda at: at.replace(tzinfo=dt.UTC))), pd.ArrowDtype(pa.timestamp("ms", "Asia/Tokyo"))),
    "arrow bool": (missing(st.booleans()), pd.ArrowDtype(pa.bool_())),
}  # fmt: skip


def series(kind: str, values: list[Any]) -> pd.Series[Any]:
    _, dtype = KINDS[kind]
    if kind == "Berlin":
        return pd.Series(pd.to_datetime(pd.Series(values), utc=True)).dt.tz_convert("Europe/Berlin").astype(dtype)
    if kind == "arrow zone":
        whole = [None if at is None else at.replace(microsecond=0) for at in values]
        return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(whole, dtype.pyarrow_dtype)))
    if kind.startswith("arrow"):
        return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, dtype.pyarrow_dtype)))
    return pd.Series(values, dtype=dtype)


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    columns = {}
    for number, kind in enumerate(kinds):
        values = draw(st.lists(KINDS[kind][0], min_size=rows, max_size=rows))
        found = series(kind, values)
        if draw(st.booleans()) and "object" not in kind and "float" not in kind.lower() and "double" not in kind:
            found = found.astype(pd.CategoricalDtype(found.dropna().unique(), ordered=draw(st.booleans())))
        columns[f"c{number}"] = found
    return pd.DataFrame(columns, index=pd.RangeIndex(rows))


def there_and_back(frame: pd.DataFrame) -> pd.DataFrame:
    """Through the types of the API and a Parquet file, as a job does."""
    table, description = table_of(frame)
    assert table.schema.equals(schema_of(type_names(table))), "only column types of the API travel"
    held = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), held)
    held.seek(0)
    return restore(pq.read_table(held), description)


@settings(max_examples=300, deadline=None)
@given(frames())
def test_a_frame_comes_back_with_its_values_and_dtypes(frame: pd.DataFrame) -> None:
    back = there_and_back(frame)
    assert list(back.dtypes) == list(frame.dtypes)
    assert_frame_equal(back.map(plain), frame.map(plain), check_dtype=False)


def plain(value: Any) -> Any:
    """Missing values of every kind as one: in an object column, None and NaN are the same to people."""
    return "missing" if value is None or value is pd.NA or value is pd.NaT or value != value else repr(value)


def test_categories_keep_their_order_and_those_without_rows() -> None:
    dtype = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    frame = pd.DataFrame({"level": pd.Series(["high", None, "low"], dtype=dtype)})
    back = there_and_back(frame)
    assert back["level"].dtype == dtype
    assert_frame_equal(back, frame)


def test_thousands_of_categories_come_back_as_far_as_they_have_rows() -> None:
    dtype = pd.CategoricalDtype([f"name {number}" for number in range(5_000)])
    back = there_and_back(pd.DataFrame({"name": pd.Series(["name 7", "name 3"], dtype=dtype)}))
    assert list(back["name"]) == ["name 7", "name 3"]
    assert list(back["name"].cat.categories) == ["name 7", "name 3"]


def test_the_order_of_categories_is_kept_or_the_frame_refused() -> None:
    levels = [f"level {number:03}" for number in range(400, 0, -1)]
    names = pd.Series(["name 7"], dtype=pd.CategoricalDtype([f"name {number}" for number in range(5_000)]))
    ordered = pd.Series(["level 007"], dtype=pd.CategoricalDtype(levels, ordered=True))
    back = there_and_back(pd.DataFrame({"name": names, "level": ordered}))
    assert back["level"].dtype == ordered.dtype
    assert list(back["name"].cat.categories) == ["name 7"]
    many = pd.CategoricalDtype([f"level {number}" for number in range(5_000, 0, -1)], ordered=True)
    with pytest.raises(FrameError, match=r"the order of the categories of \['level'\] would be lost"):
        table_of(pd.DataFrame({"level": pd.Series(["level 7"], dtype=many)}))


@pytest.mark.parametrize("values", [[None, None], []])
def test_a_column_of_nothing_comes_back(values: list[None]) -> None:
    frame = pd.DataFrame({"n": pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, pa.null())))})
    assert_frame_equal(there_and_back(frame), frame)


@pytest.mark.parametrize("zone", [dt.timezone(dt.timedelta(hours=2)), zoneinfo.ZoneInfo("Asia/Tokyo"), dt.UTC])
def test_zones_that_have_a_name_or_an_offset_come_back(zone: dt.tzinfo) -> None:
    frame = pd.DataFrame({"at": pd.Series([pd.Timestamp("2024-01-01", tz=zone), None])})
    assert there_and_back(frame)["at"].dtype == frame["at"].dtype


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pd.Series([pd.Timestamp("2024-07-01", tz=dateutil.tz.gettz("Europe/Berlin"))]), "one by its name"),
        (pd.Series([1, "a", None], dtype=object), "several types"),
        (pd.Series([np.datetime64("2024-01-01T00:00:00.000000001")]), "would be rounded"),
        (pd.Series([pd.Timedelta("1h")]), "no target takes"),
        (pd.Series(pd.period_range("2024", periods=1, freq="D")), "."),
        (pd.Series([b"\xff"]), "no target takes"),
        (pd.Series([[1, 2]]), "no target takes"),
        (pd.Series([Decimal("1e40")]), "."),
        (pd.Series([dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5)], dtype=object), "dates and times without a zone"),
        (pd.Series([NAIVE, ZONED], dtype=object), "times with a zone and times without a zone"),
        (pd.Series([ZONED, NAIVE], dtype=object), "times with a zone and times without a zone"),
        (pd.Series([pd.Timestamp("2024-01-01T00:00:00.000000001")], dtype=object), "would be rounded"),
        (pd.Series([Decimal("NaN"), Decimal(2)], dtype=object), "the decimal NaN"),
        (pd.Series([2**70, 1], dtype=object), "none that travels"),
        (pd.Series(["\ud800"], dtype=object), "none that travels"),
    ],
)
def test_what_cannot_travel_unchanged_is_refused_naming_the_column(values: pd.Series[Any], why: str) -> None:
    with pytest.raises(FrameError, match=why) as refused:
        table_of(pd.DataFrame({"odd one": values}))
    assert "'odd one'" in str(refused.value)


def test_an_index_that_would_be_lost_is_refused() -> None:
    with pytest.raises(FrameError, match="reset_index"):
        table_of(pd.DataFrame({"a": [1]}, index=["x"]))
    with pytest.raises(FrameError, match="the same name"):
        table_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(FrameError, match="not named by text"):
        table_of(pd.DataFrame([[1]]))


def test_a_null_that_came_back_finds_a_place() -> None:
    _, description = table_of(pd.DataFrame({"n": [1, 2]}))
    back = restore(pa.table({"n": pa.array([1, None])}), description)
    assert back["n"].isna().tolist() == [False, True]
