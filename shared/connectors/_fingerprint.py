"""What a set of rows looks like, independent of their order and of how they were cut into chunks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MODULUS = 1 << 128
RELATIVE_TOLERANCE = 1e-9
"""Our choice for sums of doubles: addition is not associative, and vendors add in another order."""


@dataclass(frozen=True)
class Fingerprint:
    """Rows, and either a multiset checksum over whole rows or aggregates per column.

    Attributes:
        rows: number of rows.
        checksum: sum of 128-bit row hashes mod 2^128; None where only aggregates can be read back.
        aggregates: `"<function>:<column>"` to a number or text, function one of count, sum, min, max. A missing key means no value.
    """

    rows: int = 0
    checksum: int | None = None
    aggregates: Mapping[str, float | int | str] = field(default_factory=dict)

    def __add__(self, other: Fingerprint) -> Fingerprint:
        if self.rows == 0 and not self.aggregates and self.checksum in (None, 0):
            return other
        checksum = None
        if self.checksum is not None and other.checksum is not None:
            checksum = (self.checksum + other.checksum) % MODULUS
        merged: dict[str, float | int | str] = dict(self.aggregates)
        for key, value in other.aggregates.items():
            merged[key] = _merge(key, merged[key], value) if key in merged else value
        return Fingerprint(self.rows + other.rows, checksum, merged)

    def differences(self, found: Fingerprint) -> list[str]:
        """Return what differs between this (expected) and `found`, in words; empty if they agree."""
        problems = []
        if self.rows != found.rows:
            problems.append(f"expected {self.rows} rows, found {found.rows}")
        if self.checksum != found.checksum:
            problems.append(f"expected row checksum {_hex(self.checksum)}, found {_hex(found.checksum)}")
        for key in sorted({*self.aggregates, *found.aggregates}):
            expected, actual = self.aggregates.get(key), found.aggregates.get(key)
            if not _same(expected, actual):
                problems.append(f"{key}: expected {expected!r}, found {actual!r}")
        return problems

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `checksum` as 32 hex digits because Firestore's integers have 64 bits."""
        return {"rows": self.rows, "checksum": _hex(self.checksum), "aggregates": dict(self.aggregates)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        text = value.get("checksum")
        return cls(value["rows"], int(text, 16) if text else None, dict(value.get("aggregates") or {}))


def row_fingerprint(rows: Iterable[tuple[str | None, ...]]) -> Fingerprint:
    """Return the multiset fingerprint of canonical rows: text or None per column, in column order.

    Columns are length-prefixed before hashing, so `("ab", "c")` and `("a", "bc")` differ, and None differs from "".
    """
    total, count = 0, 0
    for row in rows:
        joined = "".join("-;" if value is None else f"{len(value)};{value}" for value in row)
        total += int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=16).digest(), "big")
        count += 1
    return Fingerprint(count, total % MODULUS)


def lines_fingerprint(lines: Iterable[bytes]) -> Fingerprint:
    """Return the multiset fingerprint of rows that were made into one line each: the first 128 bits of each line's SHA-256."""
    import numpy as np

    digests = b"".join([hashlib.sha256(line).digest() for line in lines])
    words = np.frombuffer(digests, ">u4").reshape(-1, 8)[:, :4]
    total = 0
    for word in words.sum(axis=0, dtype=np.uint64).tolist():  # exact for 2^32 rows
        total = (total << 32) + word
    return Fingerprint(len(words), total % MODULUS)


def _merge(key: str, left: float | int | str, right: float | int | str) -> float | int | str:
    function = key.split(":", 1)[0]
    if function in ("count", "sum"):
        return left + right  # type: ignore[operator]  # sums and counts are numbers by construction
    if function == "min":
        return min(left, right)
    if function == "max":
        return max(left, right)
    raise ValueError(f"unknown aggregate {key!r}; expected count, sum, min or max")


def _same(expected: float | int | str | None, found: float | int | str | None) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        return math.isclose(expected, found, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
    return expected == found


def _hex(checksum: int | None) -> str | None:
    return None if checksum is None else f"{checksum:032x}"
