"""The demo's comparison finds every kind of difference and none where there is none."""

from __future__ import annotations

from infra.local.demo.comparison import Outcome, Row, compare

COLUMNS = ["id", "name"]


def run(source: list[Row], vendor: list[Row]) -> Outcome:
    return compare(COLUMNS, lambda: source, lambda: vendor)


def test_the_same_rows_in_another_order_are_equal() -> None:
    outcome = run([(1, "a"), (2, None), (2, None)], [(2, None), (1.0, "a"), (2, None)])

    assert outcome.equal
    assert outcome.source_checksum == outcome.vendor_checksum
    assert (outcome.source_rows, outcome.vendor_rows) == (3, 3)


def test_a_changed_cell_is_shown_with_its_column_and_both_values() -> None:
    outcome = run([(1, "a"), (2, "b")], [(1, "a"), (2, "B")])

    assert not outcome.equal
    assert outcome.differences[1] == "column name: source 'b', vendor 'B' (row id=2, name='b')"


def test_a_lost_row_a_doubled_row_and_a_changed_type_are_differences() -> None:
    assert "1 rows of the source are not at the vendor" in run([(1, "a"), (2, "b")], [(1, "a")]).differences[0]
    assert "1 rows at the vendor are not in the source" in run([(1, "a")], [(1, "a"), (1, "a")]).differences[0]
    assert not run([(1, "a")], [("1", "a")]).equal
    assert not run([(1, "a")], [(True, "a")]).equal
    assert not run([(1, None)], [(1, "")]).equal
