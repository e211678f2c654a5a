"""The table that the benchmarks of formats and encoders share: 20 columns as real tables have them, from a seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa

FIRST = ["Anna", "Björn", "Chloé", 'D"Arcy', "Eve\\x", "Фёдор", "Grace", "日本", "Ivan", "Joy"]
LAST = ["Smith", "Müller", "García", "O'Neil", "Ng", "de la Cruz", "Kowalski", "Lee", "Öztürk", "Brown"]
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hôtel", "india", "juliet"]


@cache
def table(rows: int, seed: int = 1) -> pa.Table:
    """Return the table, in the column types that the readers give: whole numbers, doubles, flags, texts, times, days, decimals."""
    chance = np.random.default_rng(seed)

    def picked(words: list[str], *more: list[str]) -> list[str]:
        columns = [
            np.array(words, object)[chance.integers(0, len(words), rows)],
            *(np.array(w, object)[chance.integers(0, len(w), rows)] for w in more),
        ]
        return [" ".join(parts) for parts in zip(*columns, strict=True)]

    def null(share: float) -> np.ndarray:
        return chance.random(rows) < share

    at = 1_600_000_000_000_000 + chance.integers(0, 200_000_000_000, rows) * 1_000
    days = (at // 86_400_000_000).astype(np.int32)
    cents = chance.integers(-(10**9), 10**10, rows)

    def money(values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
        return pa.array(
            [None if mask is not None and mask[i] else int(v) for i, v in enumerate(values)], pa.decimal128(18, 0)
        ).cast(pa.decimal128(22, 4))

    columns: dict[str, pa.Array] = {
        "id": pa.array(np.arange(rows)),
        "qty": pa.array(chance.integers(0, 1_000, rows), mask=null(0.05)),
        "store": pa.array(chance.integers(0, 500, rows)),
        "price": pa.array(np.round(chance.gamma(2, 50, rows), 2)),
        "score": pa.array(chance.normal(100, 25, rows), mask=null(0.05)),
        "ratio": pa.array(chance.random(rows)),
        "active": pa.array(chance.random(rows) < 0.7),
        "flag": pa.array(chance.random(rows) < 0.5, mask=null(0.1)),
        "sku": pa.array([f"SKU-{n:07d}" for n in chance.integers(0, 5_000_000, rows)]),
        "region": pa.array(picked(["North", "South", "East", "West", "Central"])),
        "status": pa.array(picked(["new", "paid", "shipped", "returned", "cancelled", "on hold"])),
        "customer": pa.array(picked(FIRST, LAST)),
        "note": pa.array(picked(WORDS, WORDS, WORDS, WORDS), mask=null(0.2)),
        "created_at": pa.array(at, pa.timestamp("us", "UTC")),
        "updated_at": pa.array(at + 3_600_000_000, pa.timestamp("us", "UTC"), mask=null(0.15)),
        "order_date": pa.array(days, pa.date32()),
        "due_date": pa.array(days + 30, pa.date32(), mask=null(0.1)),
        "amount": money(cents),
        "tax": money(cents // 7, null(0.1)),
        "account_no": pa.array(chance.integers(2**50, 2**53, rows)),
    }
    return pa.table(columns)
