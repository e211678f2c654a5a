"""Encoders of vendors' bodies against pandas. Run: `python -m tests.benchmarks.encode [--rows N]`.

Both encode the same rows: ours from an Arrow chunk, pandas from its frame, which is there already. The baseline is the first thing
that a user of pandas writes, that the vendor takes and that keeps the values: no NaN in the JSON, times as ISO texts or serial
numbers, decimals as numbers. That both bodies say the same is checked before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from tests.benchmarks.rounds import Contest, run  # isort: skip  # first: see there

import pandas as pd
import pyarrow as pa

from shared.connectors.google_sheets import encode as sheets
from shared.connectors.power_bi import encode as power_bi
from tests.benchmarks.dataset import table

EPOCH, DAY_MS = datetime(1899, 12, 30, tzinfo=UTC), 86_400_000


class Encoder(json.JSONEncoder):
    """What `json` does not know."""

    def default(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
        if isinstance(value, date):
            return f"{value.isoformat()}T00:00:00.000Z"
        return float(value) if isinstance(value, Decimal) else super().default(value)


def our_rows(source: pa.Table) -> bytes:
    return power_bi.rows_json(power_bi.held(source))


def frame_of(source: pa.Table) -> pd.DataFrame:
    """The frame that a user makes of it, in which nullable integers and flags stay what they are."""
    frame: pd.DataFrame = source.to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get
    )
    return frame


def pandas_rows(frame: pd.DataFrame) -> bytes:
    plain = frame.astype(object).where(frame.notna(), None)
    return json.dumps({"rows": plain.to_dict("records")}, cls=Encoder).encode()


def our_values(source: pa.Table) -> list[bytes]:
    return [body for _, _, body in sheets.bodies(sheets.encode(source, 0), source.num_rows, 0)]


class SerialEncoder(json.JSONEncoder):
    """Days from 1899-12-30 for times."""

    def default(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return (value - EPOCH) // timedelta(milliseconds=1) / DAY_MS
        if isinstance(value, date):
            return (value - EPOCH.date()).days
        return float(value) if isinstance(value, Decimal) else super().default(value)


def pandas_values(frame: pd.DataFrame) -> bytes:
    plain = frame.astype(object).where(frame.notna(), "")
    return json.dumps({"values": plain.values.tolist()}, cls=SerialEncoder).encode()


def check(source: pa.Table) -> None:
    """Raise AssertionError unless both sides say the same."""
    frame = frame_of(source)
    assert json.loads(our_rows(source)) == json.loads(pandas_rows(frame)), "the rows for Power BI differ"
    mine = [list(row) for body in our_values(source) for row in zip(*json.loads(body)["values"], strict=True)]
    assert mine == json.loads(pandas_values(frame))["values"], "the values for Sheets differ"


def _converted(work: Callable[[pd.DataFrame], bytes], source: pa.Table) -> bytes:
    return work(frame_of(source))


def main() -> int:
    """Print the ratios; 1 if one is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    source = on_the_grid(table(rows))
    check(source.slice(0, 500))
    frame = frame_of(source)
    contests = [
        Contest(name, rows, partial(mine, source), partial(work, frame), wanted, partial(_converted, work, source))
        for name, mine, work, wanted in (
            ("Power BI rows encode", our_rows, pandas_rows, 15),
            ("Google Sheets values encode", our_values, pandas_values, 12),
        )
    ]
    return 0 if run(contests) else 1


def on_the_grid(source: pa.Table) -> pa.Table:
    """Return the rows with times that Power BI holds unchanged: whole tenths of a second."""
    for index, field in enumerate(source.schema):
        if pa.types.is_timestamp(field.type):
            ticks = source.column(index).cast(pa.int64())
            whole = [None if tick is None else tick // 100_000 * 100_000 for tick in ticks.to_pylist()]
            source = source.set_column(index, field, pa.array(whole, pa.int64()).cast(field.type))
    return source


if __name__ == "__main__":
    sys.exit(main())
