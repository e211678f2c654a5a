"""Rows in a request reach the target as they were spelled, or are refused with the reason."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.functional.conftest import Answer, World

EXPORT = "/api/bi-connectors/export"


def send(world: World, rows: str, more: str = "", **headers: str) -> Answer:
    body = f'{{"connector_name": "ymca_sheets", "table_name": "people", {more}"rows": {rows}}}'
    return world.call("export", "POST", EXPORT, body.encode(), **headers)


def test_numbers_of_a_request_pass_through_no_float(registered: World) -> None:
    rows = """[{"id": 9007199254740993, "sum": 12345678901234567890.12345678,
        "said": 1.50, "far": 123456789012345678901234567890, "tiny": 1e-400}]"""
    declared = '"columns": {"sum": "decimal(28,8)", "said": "string", "far": "string", "tiny": "string"}, '
    assert send(registered, rows, declared).status == 202
    registered.work()
    assert registered.vendor.live["people"] == [
        {
            "id": 9007199254740993,
            "sum": Decimal("12345678901234567890.12345678"),
            "said": "1.50",
            "far": "123456789012345678901234567890",
            "tiny": "1e-400",
        }
    ]


@pytest.mark.parametrize("number", ["12345678901234567890.5", "123456789012345678901234567890", "1e-400", "1e400"])
def test_a_number_that_no_column_type_holds_fails_the_job_with_its_row(registered: World, number: str) -> None:
    answer = send(registered, f'[{{"a": 1}}, {{"a": {number}}}]')
    registered.work()
    job = registered.call("export", "GET", f"/api/bi-connectors/export-jobs/{answer.body['id']}").body
    assert (job["status"], job["error"]["details"].get("row", 2)) == ("failed", 2)
    assert "row 2" in job["error_message"]
    assert registered.vendor.live == {}


def test_a_key_belongs_to_all_digits_of_the_rows_and_to_no_blank(registered: World) -> None:
    first = send(registered, '[{"a": 9007199254740993.5, "b": 1}]', Idempotency_Key="k")
    again = send(registered, '[ {"b":1,\n "a":9007199254740993.5} ]', Idempotency_Key="k")
    assert (first.status, again.body["id"]) == (202, first.body["id"])
    other = send(registered, '[{"a": 9007199254740993.6, "b": 1}]', Idempotency_Key="k")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


def test_a_key_given_before_rows_were_kept_as_text_is_still_known(registered: World) -> None:
    from shared.services.records import Idempotency

    assert send(registered, '[{"a": 0.50, "b": [1, "x"]}]', Idempotency_Key="k").status == 202
    stored = next(
        document
        for path, document in registered.fakes.documents._documents.items()
        if path.startswith("idempotency_keys/")
    )
    body = {
        "connector_name": "ymca_sheets", "table_name": "people", "mode": None, "rows": [{"a": 0.5, "b": [1, "x"]}],
        "source": None, "columns": None, "key": [], "export_format": None, "target": {}, "refresh_after": False,
        "max_shrink": None, "mapping": None, "contract": None, "max_rejects": None, "annotations": {},
    }  # fmt: skip
    assert Idempotency("k", "", "", {"path": {}, "body": body}).digest in repr(stored)


@pytest.mark.parametrize("rows", ["[1]", '[{"a": 1}, "x"]', "[null]", "[[1]]"])
def test_a_row_that_is_no_object_is_refused_with_its_place(registered: World, rows: str) -> None:
    answer = send(registered, rows)
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert answer.body["field"].startswith("$.rows[")


def test_a_row_that_has_a_key_twice_is_refused_with_row_and_key(registered: World) -> None:
    answer = send(registered, '[{"a": 1}, {"a": 1, "a": 2}]')
    assert (answer.status, answer.body["code"], answer.body["row"]) == (422, "row_invalid", 2)
    assert "the key 'a' twice" in answer.body["detail"]
    assert registered.fakes.documents.get(f"export_jobs/{answer.body.get('id')}") is None


def test_rows_that_are_no_utf_8_or_nested_without_end_are_refused(registered: World) -> None:
    body = b'{"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"a": %s}]}'
    assert registered.call("export", "POST", EXPORT, body % b'"\xff"').status == 400
    for depth in (900, 1_000, 5_000, 100_000):
        answer = registered.call(
            "export", "POST", EXPORT, body % (b"[" * depth + b"]" * depth), Idempotency_Key=f"k{depth}"
        )
        assert answer.status in (202, 400, 422), depth
