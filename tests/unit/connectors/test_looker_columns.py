"""Arrow columns as Postgres columns, and drift."""

from __future__ import annotations

import pyarrow as pa
import pytest

from shared.connectors.looker.columns import Column, TargetColumn, compare, postgres_columns, postgres_type
from shared.connectors.looker.delivery import _names
from shared.connectors.looker.staging import definition, staging_name
from shared.errors import TargetError


@pytest.mark.parametrize(
    ("arrow", "postgres"),
    [
        (pa.int8(), "bigint"),
        (pa.uint32(), "bigint"),
        (pa.uint64(), "numeric(20,0)"),
        (pa.float32(), "double precision"),
        (pa.bool_(), "boolean"),
        (pa.large_string(), "text"),
        (pa.date32(), "date"),
        (pa.timestamp("s"), "timestamp without time zone"),
        (pa.timestamp("us", "Europe/Prague"), "timestamp with time zone"),
        (pa.decimal128(12, 4), "numeric(12,4)"),
    ],
)
def test_type_holds_every_value_exactly(arrow: pa.DataType, postgres: str) -> None:
    assert postgres_type(pa.field("a", arrow)) == postgres


@pytest.mark.parametrize(
    "arrow", [pa.timestamp("ns"), pa.binary(), pa.list_(pa.int64()), pa.decimal128(5, -2), pa.null(), pa.date64()]
)
def test_type_without_exact_counterpart_is_refused(arrow: pa.DataType) -> None:
    with pytest.raises(TargetError, match="column 'a' is of type"):
        postgres_columns(pa.schema([("a", arrow)]))


def test_name_is_measured_in_bytes() -> None:
    assert postgres_columns(pa.schema([("é" * 31, pa.int64())])) == [Column("é" * 31, "bigint")]
    with pytest.raises(TargetError, match="has 64 bytes in UTF-8, Postgres takes 63"):
        postgres_columns(pa.schema([("é" * 32, pa.int64())]))


@pytest.mark.parametrize("names", [["a", "a"], [""], ["a\0b"], ["ctid"], []])
def test_names_that_postgres_cannot_take_are_refused(names: list[str]) -> None:
    with pytest.raises(TargetError):
        postgres_columns(pa.schema([(name, pa.int64()) for name in names]))


def test_too_many_columns_are_refused_with_the_figure() -> None:
    with pytest.raises(TargetError, match="1601 columns, Postgres takes 1600"):
        postgres_columns(pa.schema([(f"c{n}", pa.int64()) for n in range(1601)]))


def test_drift_tells_additions_from_problems() -> None:
    wanted = [Column("id", "bigint"), Column("name", "text"), Column("new", "date"), Column("n", "numeric(5,2)")]
    existing = [
        TargetColumn("name", "character varying"),
        TargetColumn("id", "integer"),
        TargetColumn("n", "numeric(6,2)"),
        TargetColumn("old", "text"),
        TargetColumn("loaded_at", "timestamp with time zone", is_filled=True),
    ]
    drift = compare(wanted, existing)
    assert drift.additions == (Column("new", "date"),)
    assert drift.problems == (
        "column 'id' is integer in the table and bigint in the export",
        "column 'n' is numeric(6,2) in the table and numeric(5,2) in the export",
        "column 'old' (text) is in the table and not in the export",
    )


def test_staging_name_is_stable_and_fits_whatever_the_job_is_called() -> None:
    assert staging_name("job-1") == "_bi_stage_" + "1b3998e5437f338643436877"
    assert staging_name("job-1") != staging_name("job-2")
    assert len(staging_name("é" * 500)) == 34


def test_a_column_name_is_quoted_where_it_stands_in_sql() -> None:
    column = Column('x" int); DROP TABLE people; --', "text")
    assert definition(column).as_string(None) == '"x"" int); DROP TABLE people; --" text'
    assert _names([column, Column("y", "text")]).as_string(None) == '"x"" int); DROP TABLE people; --", "y"'
