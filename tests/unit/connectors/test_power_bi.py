"""Power BI's names and types, drift, and the forms of its refusals."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
import requests

from shared.connectors.power_bi.client import explain, segment
from shared.connectors.power_bi.schema import check_table_name, columns_of, drift
from shared.errors import TargetError


@pytest.mark.parametrize("name", ["flights", "Über Flüge 2024", "a-b_c^d@e#f~g", "数据", "😀", "x" * 100])
def test_a_name_that_power_bi_takes_is_kept(name: str) -> None:
    assert check_table_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, *(f"a{char}b" for char in "!\"$%&'()*+,./:;<=>?[\\]`{|}\x01")])
def test_a_name_that_power_bi_does_not_take_is_refused_and_not_changed(name: str) -> None:
    with pytest.raises(TargetError, match="table_name"):
        check_table_name(name)


def test_columns_get_their_types() -> None:
    schema = pa.schema(
        [
            ("a", pa.int16()),
            ("b", pa.uint64()),
            ("c", pa.float32()),
            ("d", pa.bool_()),
            ("e", pa.large_string()),
            ("f", pa.date32()),
            ("g", pa.timestamp("us", "UTC")),
            ("h", pa.decimal128(20, 2)),
        ]
    )
    types = ["Int64", "Int64", "Double", "Boolean", "String", "DateTime", "DateTime", "Decimal"]
    assert columns_of(schema) == [{"name": n, "dataType": t} for n, t in zip("abcdefgh", types, strict=True)]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (pa.schema([(f"c{i}", pa.int64()) for i in range(76)]), "76 columns"),
        (pa.schema([]), "0 columns"),
        (pa.schema([("a", pa.int64()), ("A", pa.int64())]), "ignores case"),
        (pa.schema([("a\x01", pa.int64())]), "not allowed"),
        (pa.schema([("tags", pa.list_(pa.string()))]), "'tags' is of type"),
        (pa.schema([("at", pa.timestamp("ns"))]), "microseconds"),
        (pa.schema([("at", pa.timestamp("us", "Europe/Berlin"))]), "UTC"),
    ],
)
def test_a_schema_that_power_bi_cannot_hold_is_refused(schema: pa.Schema, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        columns_of(schema)


def test_drift_tells_new_missing_and_retyped_columns_and_ignores_order_and_case_of_types() -> None:
    before = [
        {"name": "a", "dataType": "Int64"},
        {"name": "b", "dataType": "bool"},
        {"name": "c", "dataType": "String"},
    ]
    after = [
        {"name": "c", "dataType": "Double"},
        {"name": "a", "dataType": "int64"},
        {"name": "d", "dataType": "String"},
    ]
    assert drift(before, after) == ["'d' is new", "'b' is missing", "'c' was String and is Double"]
    assert drift(before, list(reversed(before))) == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {"error": {"code": "TokenExpired", "message": "Access token has expired"}},
            ("TokenExpired", "Access token has expired"),
        ),
        (
            {
                "error": {
                    "code": "DM_Error",
                    "pbi.error": {
                        "code": "DM_Error",
                        "details": [{"code": "Cause", "detail": {"type": 1, "value": "-21"}}],
                    },
                }
            },
            ("DM_Error", "Cause: -21"),
        ),
        ({"error": {"code": "PowerBINotAuthorizedException", "pbi.error": {}}}, ("PowerBINotAuthorizedException", "")),
        ({"message": "Retry in 3392 seconds."}, ("", "Retry in 3392 seconds.")),
        ({"Message": "API is not accessible for application"}, ("", "API is not accessible for application")),
        (["odd"], ("", "")),
    ],
)
def test_every_form_of_a_refusal_is_understood(body: Any, told: tuple[str, str]) -> None:
    assert explain(answer(json.dumps(body).encode())) == told


@pytest.mark.parametrize("content", [b"", b"<html>Bad Gateway</html>"])
def test_a_refusal_without_json_falls_back_to_the_reason(content: bytes) -> None:
    assert explain(answer(content)) == ("", "Bad Gateway")


def answer(content: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code, response.reason, response._content = 502, "Bad Gateway", content
    return response


@pytest.mark.parametrize("name", ["a/b", "../x", "x?y=1", "x#y", "%2e%2e", "a b"])
def test_a_name_stays_one_segment_of_an_address(name: str) -> None:
    url = requests.Request("GET", f"https://api.powerbi.com/groups/{segment(name)}/datasets").prepare().path_url
    assert (url.count("/"), "?" in url, url.endswith("/datasets")) == (3, False, True)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_climb_out_of_an_address_is_refused(name: str) -> None:
    with pytest.raises(TargetError, match="correct the id"):
        segment(name)
