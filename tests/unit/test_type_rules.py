"""The table of types: README shows it, the connectors keep it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shared.connectors.google_sheets import encode as sheets
from shared.connectors.looker import columns as looker
from shared.connectors.looker import encode as copy
from shared.connectors.power_bi import encode as power_bi
from shared.connectors.power_bi.schema import columns_of
from shared.errors import SourceError, TargetError
from shared.pipeline.formats.column_types import parse_type
from shared.type_rules import GOOGLE_SHEETS, LOOKER, POWER_BI, SOURCE_TYPES, TARGETS, Held

README = Path(__file__).resolve().parents[2] / "README.md"
COLUMN_TYPES = {name: parse_type(name.replace("p,s", "20,2"), column="c") for name in TARGETS}


def _power_bi(table: pa.Table) -> None:
    power_bi.refuse_rounding(table)
    power_bi.held(table)


ENCODE: dict[str, Callable[[pa.Table], object]] = {
    POWER_BI: _power_bi,
    LOOKER: lambda table: copy.check_values(table, 0),
    GOOGLE_SHEETS: lambda table: sheets.encode(table, 0),
}
ALL = (POWER_BI, LOOKER, GOOGLE_SHEETS)
NAN, INF, MOST = float("nan"), float("inf"), 1.7976931348623157e308
BEFORE_YEAR_1, YEAR_10000 = -719_163, 2_932_897
"""Days from 1970 that are just outside."""


def times(moment: datetime) -> pa.Array:
    return pa.array([moment], pa.timestamp("us", "UTC" if moment.tzinfo else None))


def microseconds(count: int, zone: str | None = None) -> pa.Array:
    return pa.array([count], pa.int64()).cast(pa.timestamp("us", zone))


def days(count: int) -> pa.Array:
    return pa.array([count], pa.int32()).cast(pa.date32())


HELD: list[tuple[str, pa.Array, tuple[str, ...]]] = [
    ("int64", pa.array([2**53, -(2**53), None]), ALL),
    ("int64", pa.array([2**53 + 1, -(2**63) + 1]), (POWER_BI, LOOKER)),
    ("int64", pa.array([2**63 - 1]), (LOOKER,)),
    ("int64", pa.array([-(2**63)]), (LOOKER,)),
    ("double", pa.array([0.1, -1e300, 5e-324]), ALL),
    ("double", pa.array([MOST]), (LOOKER, GOOGLE_SHEETS)),
    ("double", pa.array([NAN]), ()),
    ("double", pa.array([-INF]), ()),
    ("decimal(p,s)", pa.array([Decimal("0.10")], pa.decimal128(20, 2)), ALL),
    ("decimal(p,s)", pa.array([Decimal("123456789012345678.90")], pa.decimal128(20, 2)), (POWER_BI, LOOKER)),
    ("decimal(p,s)", pa.array([Decimal("0.12345")], pa.decimal128(20, 5)), (LOOKER, GOOGLE_SHEETS)),
    ("decimal(p,s)", pa.array([Decimal(10**24)], pa.decimal128(38, 0)), (LOOKER, GOOGLE_SHEETS)),
    ("bool", pa.array([True, False, None]), ALL),
    ("string", pa.array(["=1+1", "007", "", None, "y" * 4_000, "😀" * 2_000]), ALL),
    ("string", pa.array(["😀" * 2_001]), (LOOKER, GOOGLE_SHEETS)),
    ("string", pa.array(["y" * 50_000]), (LOOKER, GOOGLE_SHEETS)),
    ("string", pa.array(["y" * 50_001]), (LOOKER,)),
    ("string", pa.array(["a\0b"]), ()),
    ("date", pa.array([date(1, 1, 1), date(9999, 12, 31)]), ALL),
    ("date", days(BEFORE_YEAR_1), ()),
    ("date", days(YEAR_10000), ()),
    ("timestamp", times(datetime(2024, 2, 29, 12, 30, 0, 10_000)), ALL),
    ("timestamp", times(datetime(9999, 12, 31, 23, 59, 59, 990_000)), ALL),
    ("timestamp", times(datetime(2024, 2, 29, 12, 30, 0, 1_000)), (LOOKER, GOOGLE_SHEETS)),
    ("timestamp", times(datetime(2024, 2, 29, 12, 30, 0, 1)), (LOOKER,)),
    ("timestamp", microseconds(YEAR_10000 * 86_400_000_000), ()),
    ("timestamp", microseconds(BEFORE_YEAR_1 * 86_400_000_000), ()),
    ("timestamp_tz", microseconds(YEAR_10000 * 86_400_000_000, "UTC"), ()),
    ("timestamp_tz", times(datetime(2024, 2, 29, 12, 30, tzinfo=UTC)), ALL),
    ("timestamp_tz", times(datetime(2024, 2, 29, 12, 30, 0, 1_000, tzinfo=UTC)), (LOOKER, GOOGLE_SHEETS)),
    ("timestamp_tz", times(datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=UTC)), (LOOKER,)),
]
"""Values by column type, and who holds them; the others refuse them, as the table says in words."""


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("name", "values", "holders"), HELD)
def test_a_target_holds_what_the_table_says_and_refuses_the_rest(
    name: str, values: pa.Array, holders: tuple[str, ...], kind: str
) -> None:
    table = pa.table({"odd": pa.chunked_array([values])})
    if kind in holders:
        ENCODE[kind](table)
        return
    assert TARGETS[name][kind].refused, "the table says that this target holds every value"
    with pytest.raises((SourceError, TargetError)) as caught:
        ENCODE[kind](table)
    details: dict[str, Any] = caught.value.details
    assert (details["row"], details["column"]) == (1, "odd")
    assert details["rule"] in caught.value.message
    assert details["value"] in caught.value.message


@pytest.mark.parametrize("name", [name for name in TARGETS if any(held.refused for held in TARGETS[name].values())])
def test_every_refusal_in_the_table_was_seen(name: str) -> None:
    for kind, held in TARGETS[name].items():
        refused = any(kind not in holders for listed, _, holders in HELD if listed == name)
        assert refused == bool(held.refused), (name, kind)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_s_own_type_is_that_of_the_table(name: str) -> None:
    schema = pa.schema([("c", COLUMN_TYPES[name])])
    assert columns_of(schema)[0]["dataType"] == TARGETS[name][POWER_BI].becomes.removesuffix(" (UTC)")
    assert looker.postgres_columns(schema)[0].type.replace("20,2", "p,s") == TARGETS[name][LOOKER].becomes
    shape = sheets.number_format(COLUMN_TYPES[name])
    shown = TARGETS[name][GOOGLE_SHEETS].becomes.removesuffix(" (UTC)").partition(" shown as ")[2]
    assert (shape or {"pattern": ""})["pattern"] == shown


def test_every_source_type_becomes_a_column_type_or_is_refused() -> None:
    for source in SOURCE_TYPES:
        assert source.column.split(",")[0].replace("decimal(p", "decimal(p,s)") in {"", *TARGETS}, source
        assert source.as_text


def _cell(held: Held) -> str:
    return f"{held.becomes}; refused: {held.refused}" if held.refused else held.becomes


def test_readme_has_both_tables() -> None:
    text = README.read_text()
    for source in SOURCE_TYPES:
        assert f"| {source.name} | {source.column or 'refused'} | {source.as_text} |" in text
    for name, targets in TARGETS.items():
        assert f"| `{name}` | {' | '.join(_cell(targets[kind]) for kind in ALL)} |" in text
