"""The validators find what is wrong: small documents of each form, one wrong thing at a time. No contract file is needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.contracts import loaders
from tests.conformance.contracts.contract import Contract
from tests.conformance.contracts.exchange import Check, Finding, mask_paths
from tests.conformance.contracts.known import KNOWN, Known, Ledger

_ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "kind": {"type": "string", "enum": ["big", "small"]},
        "count": {"type": "integer", "format": "int32"},
        "id": {"type": "string", "format": "uuid"},
        "at": {"type": "string", "format": "date-time"},
        "made": {"type": "string", "readOnly": True},
        "tags": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "parts": {"type": "array", "items": {"type": "number"}},
    },
}
_SWAGGER = {
    "swagger": "2.0",
    "definitions": {"Base": _ITEM, "Item": {"allOf": [{"$ref": "#/definitions/Base"}]}},
    "paths": {
        "/v1/shops/{shop}/items": {
            "post": {
                "consumes": ["application/json"],
                "parameters": [
                    {"name": "shop", "in": "path", "required": True, "type": "string", "format": "uuid"},
                    {"name": "mode", "in": "query", "type": "string", "enum": ["a", "b"]},
                    {"name": "$top", "in": "query", "type": "integer", "minimum": 1},
                    {"name": "item", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Item"}},
                ],
                "responses": {
                    "200": {
                        "schema": {"$ref": "#/definitions/Item"},
                        "headers": {"Location": {"type": "string", "format": "url"}},
                    }
                },
            }
        }
    },
}
_OPENAPI = {
    "openapi": "3.0.0",
    "components": {"schemas": {"Item": _ITEM}},
    "paths": {
        "/shops/{shop}/items": {
            "post": {
                "parameters": [
                    {"name": "shop", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
                    {"name": "mode", "in": "query", "schema": {"type": "string", "enum": ["a", "b"]}},
                    {"name": "$top", "in": "query", "schema": {"type": "integer", "minimum": 1}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
                },
                "responses": {
                    "200": {
                        "headers": {"Location": {"schema": {"type": "string", "format": "url"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
                    }
                },
            }
        }
    },
}
_DISCOVERY = {
    "servicePath": "",
    "parameters": {"fields": {"location": "query", "type": "string"}},
    "schemas": {"Item": _ITEM},
    "resources": {
        "shops": {
            "resources": {
                "items": {
                    "methods": {
                        "add": {
                            "httpMethod": "POST",
                            "path": "v1/shops/{shop}/items",
                            "parameters": {
                                "shop": {"location": "path", "required": True, "type": "string", "format": "uuid"},
                                "mode": {"location": "query", "type": "string", "enum": ["a", "b"]},
                                "$top": {"location": "query", "type": "integer", "minimum": 1},
                            },
                            "request": {"$ref": "Item"},
                            "response": {"$ref": "Item"},
                        }
                    }
                }
            }
        }
    },
}
SHOP = "3f2a0f4e-6c0f-4a63-9d0e-2f9f6f2b7a10"
GOOD: dict[str, Any] = {
    "method": "POST",
    "path": f"/v1/shops/{SHOP}/items",
    "query": {"mode": "a", "$top": "3"},
    "request_headers": {"host": "x", "content-type": "application/json"},
    "request_body": {"name": "abc", "kind": "big", "tags": {"x": True}, "parts": [1, 2.5]},
    "bytes_in": 9,
    "status": 200,
    "response_headers": {"Content-Type": "application/json; charset=utf-8"},
    "response_body": {"name": "abc", "count": 7, "id": SHOP, "at": "2026-01-31T10:00:00Z", "made": "today"},
    "bytes_out": 9,
    "fault": None,
}


def _contract(form: str) -> Contract:
    match form:
        case "swagger":
            return loaders.swagger(form, _SWAGGER)
        case "openapi":
            return loaders.openapi(form, _OPENAPI, "/v1")
    return loaders.discovery(form, _DISCOVERY)


@pytest.fixture(params=["swagger", "openapi", "discovery"])
def check(request: pytest.FixtureRequest) -> Check:
    nothing = loaders.openapi(request.param, {"paths": {}})
    return Check(
        _contract(request.param), nothing, {"plain": {"type": "object", "properties": {"error": {"type": "string"}}}}
    )


def _found(check: Check, **changes: Any) -> list[tuple[str, str, str]]:
    return [(one.side, one.kind, one.at) for one in check.findings({**GOOD, **changes})]


def test_a_good_exchange_has_no_finding(check: Check) -> None:
    assert _found(check) == []


@pytest.mark.parametrize(
    ("change", "kind", "at"),
    [
        ({"colour": 1}, "member", "colour"),
        ({"count": "7"}, "type", "count"),
        ({"count": True}, "type", "count"),
        ({"count": 2**31}, "format", "count"),
        ({"kind": "middle"}, "enum", "kind"),
        ({"kind": None}, "null", "kind"),
        ({"id": "no-guid"}, "format", "id"),
        ({"at": "2026-01-31 10:00"}, "format", "at"),
        ({"name": "ABC"}, "pattern", "name"),
        ({"name": "abcdef"}, "length", "name"),
        ({"tags": {"x": "yes"}}, "type", "tags.*"),
        ({"parts": [1, "2"]}, "type", "parts[]"),
    ],
)
def test_a_wrong_body_is_found_in_requests_and_answers(check: Check, change: Any, kind: str, at: str) -> None:
    assert _found(check, request_body={**GOOD["request_body"], **change}) == [("request", kind, at)]
    assert _found(check, response_body={**GOOD["response_body"], **change}) == [("answer", kind, at)]


def test_a_missing_member_is_found(check: Check) -> None:
    assert _found(check, request_body={"kind": "big"}) == [("request", "required", "name")]
    assert _found(check, response_body={"count": 7}) == [("answer", "required", "name")]


def test_a_member_that_only_the_vendor_sets_may_not_be_sent(check: Check) -> None:
    assert _found(check, request_body={"name": "abc", "made": "today"}) == [("request", "read-only", "made")]


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ({"oops": "1"}, "oops"),
        ({"mode": "c"}, "mode"),
        ({"$top": "many"}, "$top"),
        ({"$top": "0"}, "$top"),
        ({"mode": ["a", "b"]}, "mode"),
    ],
)
def test_a_wrong_query_is_found(check: Check, query: Any, at: str) -> None:
    assert _found(check, query=query) == [("request", "query", at)]


def test_wrong_routes_paths_headers_and_media_types_are_found(check: Check) -> None:
    headers = GOOD["request_headers"]
    assert _found(check, path="/v1/shops") == [("request", "route", "")]
    assert _found(check, method="PUT") == [("request", "route", "")]
    assert _found(check, path="/v1/shops/7/items") == [("request", "path", "shop")]
    assert _found(check, request_headers={**headers, "x-secret-switch": "on"}) == [
        ("request", "header", "x-secret-switch")
    ]
    assert _found(check, request_headers={"content-type": "text/plain"}) == [("request", "media type", "text/plain")]
    assert _found(check, response_headers={"Content-Type": "text/html"}) == [("answer", "media type", "text/html")]
    extra = {"Content-Type": "application/json", "X-Extra": "1"}
    assert _found(check, response_headers=extra) == [("answer", "header", "x-extra")]


def test_missing_and_unlogged_bodies_are_found(check: Check) -> None:
    assert _found(check, response_body=None, bytes_out=0) == [("answer", "body", "")]
    assert _found(check, request_body=None, bytes_in=3_000_000) == [("request", "body", "")]
    assert _found(check, response_body=None, bytes_out=3_000_000) == [("answer", "body", "")]


def test_a_required_request_body_is_missed() -> None:
    for form in ("swagger", "openapi"):
        check = Check(_contract(form), loaders.openapi(form, {"paths": {}}), {})
        assert _found(check, request_body=None, bytes_in=0) == [("request", "body", "")]


def test_an_undocumented_status_is_found_with_the_form_of_its_body(check: Check) -> None:
    said = _found(check, status=418, response_body={"error": "tea"})
    assert said == [("answer", "status", "418"), ("answer", "error form", "plain")]
    said = _found(check, status=418, response_body={"fault": "tea"})
    assert said == [("answer", "status", "418"), ("answer", "error form", "none")]


def test_answers_that_a_fault_made_are_not_the_vendors(check: Check) -> None:
    assert _found(check, status=500, response_body="x", fault="f1") == []


def test_a_documented_header_of_another_form_is_found() -> None:
    check = Check(_contract("swagger"), loaders.openapi("swagger", {"paths": {}}), {})
    headers = {"Content-Type": "application/json", "Location": "over there"}
    assert _found(check, response_headers=headers) == [("answer", "header", "location")]


def test_google_masks_name_only_what_the_answer_has() -> None:
    check = Check(_contract("discovery"), loaders.openapi("discovery", {"paths": {}}), {})
    assert mask_paths("a,b(c,d/e),f.g") == ["a", "b.c", "b.d.e", "f.g"]
    assert _found(check, query={"fields": "name,parts"}) == []
    assert _found(check, query={"fields": "name,nothing"}) == [("request", "fields", "nothing")]


ENTRY = Known("v", "answer", "member", "GET /a*", "value[].*", "seen", "example.com", {"type": "integer"})


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({}, 0),
        ({"vendor": "w"}, 1),
        ({"side": "request"}, 1),
        ({"kind": "type"}, 1),
        ({"operation": "PUT /a"}, 1),
        ({"at": "value"}, 1),
        ({"value": "7"}, 1),
    ],
)
def test_the_closed_list_explains_exactly_what_it_says(change: dict[str, Any], left: int) -> None:
    fields = {
        "vendor": "v",
        "side": "answer",
        "kind": "member",
        "operation": "GET /a/{b}",
        "at": "value[].x",
        "text": "",
        "value": 7,
    }
    ledger = Ledger([ENTRY])
    assert len(ledger.unknown([Finding(**{**fields, **change})])) == left
    assert len(ledger.dead()) == left


def test_every_entry_of_the_list_has_a_source_and_is_there_once() -> None:
    assert all(len(one.source) > 5 and one.what for one in KNOWN)
    keys = [(one.vendor, one.side, one.kind, one.operation, one.at) for one in KNOWN]
    assert len(set(keys)) == len(keys)
