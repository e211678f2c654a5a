"""Mapping, contract and rejects over whole tables: against the row-by-row reference, and rule by rule."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MappingError
from shared.pipeline.preparing import prepare as preparing
from tests.unit.pipeline.preparing import reference
from tests.unit.pipeline.preparing.rig import run

SCHEMA = pa.schema([("k", pa.int64()), ("s", pa.string()), ("x", pa.float64()), ("d", pa.decimal128(6, 2))])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.one_of(st.none(), st.integers(0, 4)),
            "s": st.sampled_from([None, "", "a", "b", "é"]),
            "x": st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf")]),
            "d": st.sampled_from([None, Decimal("1.00"), Decimal("2.50"), Decimal("-3.25")]),
        }
    ),
    max_size=25,
)
POLICY = st.sampled_from(["freeze", "discard_row", "discard_row", "discard_value"])


def rules(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    on_breach = st.sampled_from(["discard_row", "freeze"])
    return st.fixed_dictionaries({}, optional={"required": st.booleans(), "on_breach": on_breach, **fixed})


CONTRACT = st.fixed_dictionaries(
    {
        "on_breach": POLICY,
        "columns": st.fixed_dictionaries(
            {},
            optional={
                "k": rules(minimum=st.integers(0, 2), maximum=st.integers(2, 4), unique=st.booleans()),
                "s": rules(allowed=st.just(["a", "b", ""]), unique=st.booleans()),
                "x": rules(minimum=st.just(-1.0), maximum=st.just(2.0)),
                "d": rules(minimum=st.just(0), allowed=st.just(["1.00", "2.5"])),
            },
        ),
    },
    optional={"key": st.sampled_from([["k"], ["k", "s"], ["x", "k"]])},
)


def exact(rows: list[dict[str, Any]]) -> list[str]:
    return [repr(sorted(row.items())) for row in rows]


@settings(max_examples=150, deadline=None)
@given(ROWS, CONTRACT)
def test_a_contract_leaves_and_rejects_what_the_reference_does(
    rows: list[dict[str, Any]], contract: dict[str, Any]
) -> None:
    decided = json.loads(json.dumps(contract))
    if "allowed" in decided["columns"].get("d", {}):
        decided["columns"]["d"]["allowed"] = [Decimal(value) for value in decided["columns"]["d"]["allowed"]]
    left, broken, failed = reference.check(rows, decided, SCHEMA.names)
    found = run(pa.Table.from_pylist(rows, schema=SCHEMA), None, contract)
    if failed is not None:
        assert found.prepared.failure is not None
        assert found.prepared.failure.code == "contract_broken"
        if not contract.get("key") and not any(c.get("unique") for c in contract["columns"].values()):
            assert found.prepared.failure.row == failed
        assert found.rows is None
        return
    assert found.prepared.failure is None
    assert exact(found.rows or []) == exact(left)
    assert sorted(found.broken) == sorted(broken)
    assert [line["row"] for line in found.rejects] == sorted(line["row"] for line in found.rejects)
    out = sorted({row for row, _, _, discarded in broken if discarded == "row"})
    assert found.prepared.rejected == len(out)
    assert exact(found.rejected_rows) == exact([rows[row - 1] for row in out]), "whole rows, as they came"
    assert len(left) + len(out) == len(rows)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from(["k > 1", "s == 'a' or x is None", "d * 2 > k", "1 / k > 0.3"]))
def test_a_mapping_selects_renames_orders_and_computes_as_the_reference_does(
    rows: list[dict[str, Any]], where: str
) -> None:
    mapping = {
        "where": where,
        "columns": [
            {"name": "Name", "from": "s", "default": "none"},
            {"name": "id", "from": "k", "type": "decimal(5,1)", "default": -1},
            {"name": "label", "expression": "concat(s, '!')"},
            {"name": "origin", "value": "here"},
        ],
        "others": "keep",
    }
    found = run(pa.Table.from_pylist(rows, schema=SCHEMA), mapping, {"on_breach": "discard_row"})
    expected, rejected = [], []
    for number, row in enumerate(rows, 1):
        asked = reference.evaluate(where, row)
        if asked is reference.BAD:
            rejected.append((number, "mapping.where", "expression", "row"))
        if asked is not True:
            continue
        one = {
            "Name": "none" if row["s"] is None else row["s"],
            "id": Decimal(-1 if row["k"] is None else row["k"]).quantize(Decimal("0.1")),
            "label": None if row["s"] is None else row["s"] + "!",
            "origin": "here",
            "x": row["x"],
            "d": row["d"],
        }
        expected.append(one)
    assert exact(found.rows or []) == exact(expected)
    assert found.broken == rejected


TABLE = pa.table({"id": [1, 2, 3, 4], "hrs": ["8", "7.5", "much", None], "zip": ["007", "1/2", "-", "=1+1"]})


def test_columns_are_matched_by_name_wherever_they_stand() -> None:
    mapping = {"columns": [{"name": "zip"}, {"name": "id"}]}
    moved = pa.table({"new": [0] * 4, "zip": TABLE["zip"], "id": TABLE["id"]})
    assert run(TABLE, mapping).rows == run(moved, mapping).rows
    assert run(TABLE, mapping).rows[0] == {"zip": "007", "id": 1}  # type: ignore[index]


def test_a_value_that_cannot_be_cast_fails_the_job_where_nobody_said_otherwise() -> None:
    mapping = {"columns": [{"name": "Hours", "from": "hrs", "type": "decimal(10,2)"}]}
    failure = run(TABLE, mapping).prepared.failure
    assert failure is not None
    assert (failure.code, failure.row, failure.column) == ("contract_broken", 3, "Hours")
    assert "'much' is not a value of the column's type" in failure.message


def test_a_value_that_cannot_be_cast_goes_with_its_row_or_alone_as_the_contract_says() -> None:
    mapping = {"columns": [{"name": "id"}, {"name": "Hours", "from": "hrs", "type": "decimal(10,2)", "default": 0}]}
    whole = run(TABLE, mapping, {"on_breach": "discard_row"})
    assert [row["id"] for row in whole.rows or []] == [1, 2, 4]
    assert whole.rejects == [
        {
            "row": 3,
            "column": "Hours",
            "rule": "type",
            "value": "much",
            "discarded": "row",
            "record": {"id": 3, "hrs": "much", "zip": "-"},
        }
    ]
    alone = run(TABLE, mapping, {"on_breach": "discard_value"})
    assert [row["Hours"] for row in alone.rows or []] == [Decimal("8.00"), Decimal("7.50"), None, Decimal("0.00")]
    assert (alone.prepared.rejected, alone.prepared.discarded_values, alone.rejected_rows) == (0, 1, [])


def test_more_rejects_than_allowed_fail_the_job_and_the_file_still_says_why() -> None:
    contract = {"on_breach": "discard_row", "columns": {"zip": {"allowed": ["007"]}}}
    assert run(TABLE, None, contract, max_rejects=3).prepared.failure is None
    found = run(TABLE, None, contract, max_rejects=2)
    assert found.prepared.failure is not None
    assert found.prepared.failure.code == "too_many_rejects"
    assert found.prepared.source is None
    assert [line["value"] for line in found.rejects] == ["1/2", "-", "=1+1"]


def test_doubled_keys_count_towards_the_allowed_rejects() -> None:
    table = pa.table({"k": [1, 1, 1, 2]})
    contract = {"on_breach": "discard_row", "key": ["k"]}
    assert run(table, None, contract, max_rejects=2).rows == [{"k": 1}, {"k": 2}]
    failure = run(table, None, contract, max_rejects=1).prepared.failure
    assert failure is not None
    assert failure.code == "too_many_rejects"


def test_a_row_that_another_rule_discards_holds_no_key() -> None:
    table = pa.table({"k": [1, 1], "v": [-5, 5]})
    contract = {"on_breach": "discard_row", "key": ["k"], "columns": {"v": {"minimum": 0}}}
    assert run(table, None, contract).rows == [{"k": 1, "v": 5}]


def test_keys_are_compared_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "BATCH_ROWS", 3)
    table = pa.table({"k": [*range(10), 0, 9], "at": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 12})
    found = run(table, None, {"on_breach": "discard_row", "key": ["at", "k"]})
    assert [row["k"] for row in found.rows or []] == list(range(10))
    assert found.broken == [(11, "at", "key", "row"), (12, "at", "key", "row")]


BEFORE = [("id", "int64"), ("hrs", "double"), ("gone", "string")]


def test_drift_is_told_by_name_and_evolves_unless_the_contract_says_otherwise() -> None:
    found = run(TABLE, None, {}, BEFORE)
    assert found.prepared.drift == {
        "added": [{"name": "zip", "type": "string"}],
        "gone": [{"name": "gone", "type": "string"}],
        "changed": [{"name": "hrs", "from": "double", "to": "string"}],
    }
    assert found.prepared.failure is None
    assert run(TABLE, None, {}).prepared.drift is None


@pytest.mark.parametrize(
    ("contract", "names"),
    [
        ({"new_columns": "freeze"}, "'zip' is new"),
        ({"gone_columns": "freeze"}, "'gone' is gone"),
        ({"changed_types": "freeze"}, "'hrs' was double and is string"),
        ({"columns": {"zip": {"on_drift": "freeze"}}}, "'zip' is new"),
    ],
)
def test_a_frozen_drift_fails_the_job_before_a_row_is_written(contract: dict[str, Any], names: str) -> None:
    found = run(TABLE, None, contract, BEFORE)
    assert found.prepared.failure is not None
    assert names in found.prepared.failure.message
    assert found.prepared.drift is not None
    assert found.prepared.drift["added"] == [{"name": "zip", "type": "string"}]


def test_a_new_column_is_left_out_alone_or_with_the_rows_that_have_it() -> None:
    table = pa.table({"id": [1, 2], "new": [None, "x"]})
    before = [("id", "int64")]
    assert run(table, None, {"new_columns": "discard_value"}, before).rows == [{"id": 1}, {"id": 2}]
    found = run(table, None, {"new_columns": "discard_row"}, before)
    assert found.rows == [{"id": 1}]
    assert found.broken == [(2, "new", "new_column", "row")]


def test_a_changed_type_is_cast_back_and_what_does_not_fit_is_discarded() -> None:
    value = run(TABLE, None, {"changed_types": "discard_value"}, BEFORE)
    assert [row["hrs"] for row in value.rows or []] == [8.0, 7.5, None, None]
    whole = run(TABLE, None, {"changed_types": "discard_row"}, BEFORE)
    assert [row["id"] for row in whole.rows or []] == [1, 2, 4]
    assert whole.broken == [(3, "hrs", "changed_type", "row")]


@pytest.mark.parametrize(
    ("mapping", "contract", "why"),
    [
        ({"columns": [{"name": "a", "from": "nope"}]}, {}, "no column 'nope'"),
        ({"columns": [{"name": "a", "from": "id", "type": "date"}]}, {}, "cannot become date"),
        ({"columns": [{"name": "a", "value": "x", "type": "int64"}]}, {}, "'x' is no int64"),
        ({"columns": [{"name": "a", "from": "id", "default": "x"}]}, {}, "default 'x'"),
        ({"columns": [{"name": "ID", "from": "id"}, {"name": "x", "value": 1}], "others": "keep"}, {"key": ["no"]}, "'no'"),
        ({"columns": [{"name": "ZIP", "from": "id"}, {"name": "q", "from": "hrs"}], "where": "id"}, {}, "true or false"),
        (None, {"columns": {"nope": {"required": True}}}, "no column 'nope'"),
        (None, {"columns": {"id": {"minimum": "x"}}}, "minimum 'x'"),
        (None, {"columns": {"hrs": {"maximum": 24}}}, "maximum 24"),
        (None, {"columns": {"id": {"type": "timestamp"}}}, "cannot become timestamp"),
    ],
)  # fmt: skip
def test_what_the_source_does_not_have_is_refused_naming_it(mapping: Any, contract: Any, why: str) -> None:
    with pytest.raises(MappingError, match=why):
        run(TABLE, mapping, contract)


def test_an_empty_table_stays_a_table_with_its_columns() -> None:
    found = run(
        TABLE.slice(0, 0), {"columns": [{"name": "Hours", "from": "hrs", "type": "double"}]}, {"key": ["Hours"]}
    )
    assert found.rows == []
    assert found.prepared.source is not None
    assert found.prepared.source.scan.schema == pa.schema([("Hours", pa.float64())])


def test_a_row_that_where_cannot_ask_is_discarded_whole_and_a_column_of_that_name_is_not() -> None:
    table = pa.table({"where": ["x", "1"], "n": [0, 1]})
    mapping = {"where": "1 / n > 0", "columns": [{"name": "where", "type": "int64"}, {"name": "n"}]}
    found = run(table, mapping, {"on_breach": "discard_value"})
    assert (found.rows, found.broken[0]) == ([{"where": 1, "n": 1}], (1, "mapping.where", "expression", "row"))
    kept = run(table, {"columns": mapping["columns"]}, {"on_breach": "discard_value"})
    assert kept.rows == [{"where": None, "n": 0}, {"where": 1, "n": 1}]


def test_every_type_goes_through_unchanged() -> None:
    table = pa.table(
        {
            "i": pa.array([2**53 + 1, -(2**63), None]),
            "x": pa.array([float("nan"), float("-inf"), -0.0]),
            "d": pa.array([Decimal("1234567890123456789012345678.0123456789"), None, Decimal("0E-10")], pa.decimal128(38, 10)),
            "s": ["=1+1", "007", "שלום 😀\t\n"],
            "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None],
            "t": pa.array([dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us")),
            "z": pa.array([dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
            "b": [True, False, None],
        }
    )  # fmt: skip
    found = run(table, {"where": "s is not None"}, {"columns": {"i": {"minimum": "-9223372036854775808"}}})
    assert exact(found.rows or []) == exact(table.to_pylist())
