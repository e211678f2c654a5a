"""Whether a vendor holds exactly the rows of the source: counted, hashed, and on a difference shown cell by cell."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = tuple[Any, ...]
SHOWN_ROWS = 3
_MODULUS = 1 << 128


@dataclass(frozen=True)
class Outcome:
    """One comparison. `differences` is empty if the vendor holds the source's rows, each as often as the source."""

    source_rows: int
    vendor_rows: int
    source_checksum: str
    vendor_checksum: str
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the vendor holds just the source's rows."""
        return not self.differences and self.source_checksum == self.vendor_checksum


def compare(
    columns: Sequence[str], source: Callable[[], Iterable[Row]], vendor: Callable[[], Iterable[Row]]
) -> Outcome:
    """Compare as multisets of rows, in any order; each side is read once, and once more only if they differ.

    The checksum is the sum of the row hashes mod 2^128, so that it does not depend on the order.
    """
    wanted, held = Counter(_digests(source())), Counter(_digests(vendor()))
    differences: tuple[str, ...] = ()
    if wanted != held:
        missing = list(_rows_of(source(), wanted - held))
        extra = list(_rows_of(vendor(), held - wanted))
        differences = tuple(_describe(columns, missing, extra))
    return Outcome(wanted.total(), held.total(), _checksum(wanted), _checksum(held), differences)


def _digests(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield hashlib.blake2b(repr(tuple(map(_plain, row))).encode(), digest_size=16).digest()


def _plain(value: Any) -> Any:
    """2004.0 and 2004 are one number; True and 1 are not one value."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _checksum(digests: Counter[bytes]) -> str:
    total = sum(int.from_bytes(digest, "big") * count for digest, count in digests.items()) % _MODULUS
    return f"{total:032x}"


def _rows_of(rows: Iterable[Row], digests: Counter[bytes]) -> Iterator[Row]:
    left = Counter(digests)
    for row in rows:
        digest = next(_digests([row]))
        if left[digest] > 0:
            left[digest] -= 1
            yield row


def _describe(columns: Sequence[str], missing: list[Row], extra: list[Row]) -> Iterator[str]:
    yield f"{len(missing)} rows of the source are not at the vendor, {len(extra)} rows at the vendor are not in the source"
    for row in missing[:SHOWN_ROWS]:
        nearest = max(extra, key=lambda other: _equal_cells(row, other), default=None)
        if nearest is None:
            yield f"missing: {_named(columns, row)}"
            continue
        for name, wanted, held in zip(columns, row, nearest, strict=False):
            if repr(_plain(wanted)) != repr(_plain(held)):
                yield f"column {name}: source {wanted!r}, vendor {held!r} (row {_named(columns, row)[:200]})"
    if not missing:
        yield from (f"not in the source: {_named(columns, row)}" for row in extra[:SHOWN_ROWS])


def _equal_cells(row: Row, other: Row) -> int:
    return sum(repr(_plain(a)) == repr(_plain(b)) for a, b in zip(row, other, strict=False))


def _named(columns: Sequence[str], row: Row) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(columns, row, strict=False))
