"""Values that the CSV writer leaves to Polars are spelled as the texts that it makes of the others."""

from __future__ import annotations

import io
from decimal import Decimal

import pyarrow as pa
import pytest

from shared.pipeline.formats.delimited import WRITER
from shared.pipeline.formats.sink import plain_text

_SIZES = [
    0.0,
    1 / 3,
    5e-4,
    1e-3,
    0.1,
    1.0,
    999_999_999.5,
    1e9,
    12_345_678_901.5,
    -1.0718132896448783e13,
    1e15,
    1e16,
    5e-324,
]
_WHOLE = [0, 1, -1, 5, 99_999, -100_000]


def _cells(values: pa.Array) -> list[str]:
    out = io.BytesIO()
    table = pa.table({"value": values, "row": range(len(values))})
    WRITER.write(table.schema, iter(table.to_batches()), out)
    return [line.split(",")[0] for line in out.getvalue().decode().splitlines()[1:]]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", _SIZES)
def test_a_double_alone_and_beside_others(size: float, sign: int) -> None:
    alone = pa.array([size * sign, None], pa.float64())
    assert _cells(alone) == [plain_text(alone)[0].as_py(), ""]
    assert float(_cells(alone)[0]) == size * sign


@pytest.mark.parametrize("scale", [0, 4, 6, 7, 38])
def test_decimals_of_every_scale(scale: int) -> None:
    values = pa.array([Decimal(n).scaleb(-scale) for n in _WHOLE], pa.decimal128(38, scale))
    assert _cells(values) == plain_text(values).to_pylist()


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_with_and_without_nulls_and_fractions(unit: str, zone: str | None) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    ticks = [0, None, per_second, -86_400 * per_second, 1_700_000_000 * per_second]
    end = "Z" if zone else ""
    wanted = ["1970-01-01T00:00:00", "", "1970-01-01T00:00:01", "1969-12-31T00:00:00", "2023-11-14T22:13:20"]
    times = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, zone))
    assert _cells(times) == [text and text + end for text in wanted]
    assert _cells(times.slice(2)) == [text and text + end for text in wanted[2:]]
