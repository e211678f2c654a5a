"""Where the rows of an upsert go, from keys alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shared.connectors.google_sheets.keys import Digests, Key, Move, moves
from shared.errors import TargetError


def digests(*keys: int) -> Digests:
    return np.frombuffer(b"".join(key.to_bytes(16, "little") for key in keys), "S16")


def test_neighbours_in_both_places_move_together() -> None:
    found, added = moves(digests(2, 3, 9, 8, 1), digests(1, 2, 3, 4))
    assert found == (Move(1, 2, 2), Move(3, 5, 2), Move(5, 1, 1))
    assert added == 2


def test_the_whole_table_in_its_order_is_one_move() -> None:
    assert moves(digests(1, 2, 3), digests(1, 2, 3)) == ((Move(1, 1, 3),), 0)
    assert moves(digests(1, 2, 3), digests(1, 2)) == ((Move(1, 1, 3),), 1)


def test_nothing_moves_nowhere_and_an_empty_target_takes_all() -> None:
    assert moves(digests(), digests(1)) == ((), 0)
    assert moves(digests(5, 4), digests()) == ((Move(1, 1, 2),), 2)
    assert moves(digests(7), digests(1, 2)) == ((Move(1, 3, 1),), 1)


def test_more_moves_than_a_batch_should_hold_are_refused() -> None:
    live = digests(*range(1, 10_003))
    assert len(moves(live[:10_000][::-1], live)[0]) == 10_000
    with pytest.raises(TargetError, match="the 10,001 rows of this upsert go to 10,001 separate places") as caught:
        moves(live[:10_001][::-1], live)
    assert caught.value.code == "too_scattered"


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (pa.array([1, 2, None]), 13),
        (pa.array(["a", "", "c"]), 12),
        (pa.array(["a", "b", ""]).dictionary_encode(), 13),
        (pa.array([None, "b", "c"], pa.large_string()), 11),
    ],
)
def test_first_row_without_a_key_is_named(values: pa.Array, row: int) -> None:
    table = pa.table({"x": [1, 2, 3], "id": values})
    with pytest.raises(TargetError, match=f"row {row} of the source has no value in the key column 'id'"):
        Key(table.schema, ("id",)).refuse_empty(table, 10)


def test_keys_that_are_there_pass() -> None:
    table = pa.table({"id": ["a", " ", "0"], "day": pa.array([0, 1, 2], pa.date32())})
    Key(table.schema, ("id", "day")).refuse_empty(table, 0)
