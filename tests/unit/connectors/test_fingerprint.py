"""Fingerprints add up over chunks, ignore order, and tell rows apart."""

from __future__ import annotations

import random

from shared.connectors._fingerprint import Fingerprint, lines_fingerprint, row_fingerprint

ROWS: list[tuple[str | None, ...]] = [("1", "a"), ("2", None), ("2", ""), ("3", "007"), ("3", "007")]


def test_order_and_chunking_do_not_matter() -> None:
    shuffled = ROWS.copy()
    random.Random(4).shuffle(shuffled)
    whole = row_fingerprint(ROWS)
    assert row_fingerprint(shuffled) == whole
    assert row_fingerprint(ROWS[:2]) + row_fingerprint(ROWS[2:]) == whole
    assert row_fingerprint([]) + whole == whole


def test_a_lost_a_doubled_and_a_changed_row_are_seen() -> None:
    whole = row_fingerprint(ROWS)
    assert whole.differences(row_fingerprint(ROWS[:-1]))
    assert whole.differences(row_fingerprint([*ROWS, ROWS[0]]))
    assert whole.differences(row_fingerprint([*ROWS[:-1], ("3", "7")]))
    assert whole.differences(row_fingerprint([*ROWS[:-2], ("3", "007"), ("1", "a")]))


def test_cells_do_not_flow_into_one_another() -> None:
    assert row_fingerprint([("ab", "c")]) != row_fingerprint([("a", "bc")])
    assert row_fingerprint([(None, "")]) != row_fingerprint([("", None)])
    assert row_fingerprint([("1;a",)]) != row_fingerprint([("1", "a")])


def test_two_equal_rows_do_not_cancel_out() -> None:
    assert row_fingerprint([("x",), ("x",)]).checksum not in (0, row_fingerprint([("x",)]).checksum)


def test_aggregates_merge_by_function_and_sums_are_compared_with_tolerance() -> None:
    left = Fingerprint(2, None, {"count:a": 2, "sum:a": 0.1, "min:a": 1.0, "max:a": 5.0})
    right = Fingerprint(1, None, {"count:a": 1, "sum:a": 0.2, "min:a": -1.0, "max:a": 2.0})
    total = left + right
    assert total == Fingerprint(3, None, {"count:a": 3, "sum:a": 0.30000000000000004, "min:a": -1.0, "max:a": 5.0})
    assert total.differences(Fingerprint(3, None, {"count:a": 3, "sum:a": 0.3, "min:a": -1.0, "max:a": 5.0})) == []
    assert total.differences(Fingerprint(3, None, {"count:a": 2, "sum:a": 0.3, "min:a": -1.0, "max:a": 5.0})) == [
        "count:a: expected 3, found 2"
    ]


def test_it_survives_json() -> None:
    value = row_fingerprint(ROWS)
    assert Fingerprint.from_json(value.to_json()) == value
    bare = Fingerprint(2, None, {"min:d": "2024-01-01"})
    assert Fingerprint.from_json(bare.to_json()) == bare


def test_lines_add_up_like_rows() -> None:
    lines = [b"a", b"", b"a", b"b" * 300]
    whole = lines_fingerprint(lines)
    assert (whole.rows, lines_fingerprint(reversed(lines))) == (4, whole)
    assert lines_fingerprint(lines[:1]) + lines_fingerprint(lines[1:]) == whole
    assert whole.differences(lines_fingerprint([b"a", b"", b"c", b"b" * 300]))
    assert lines_fingerprint([]) == Fingerprint(0, 0)


def test_a_line_counts_with_the_first_half_of_its_sha_256() -> None:
    assert lines_fingerprint([b"abc"]).to_json()["checksum"] == "ba7816bf8f01cfea414140de5dae2223"
