"""Registered tables: what they bind, and what an export of the name alone takes over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.conftest import World

API = "/api/bi-connectors"
SOURCE = {"uri": "gs://in/people.csv"}
DEFAULTS = {
    "mode": "upsert",
    "key": ["id"],
    "export_format": "jsonl",
    "max_shrink": 1.0,
    "target": {"google_sheets": {"worksheet": "Volunteers"}},
}


def put(world: World, body: dict[str, Any] | None = None, name: str = "people", **headers: str) -> Any:
    world.fakes.objects.put("in", "people.csv", b"id,name\n1,Ann\n")
    return world.call("export", "PUT", f"{API}/tables/{name}", body or {"source": SOURCE}, **headers)


def started(world: World, **more: Any) -> dict[str, Any]:
    answer = world.call(
        "export", "POST", f"{API}/export", {"connector_name": "ymca_sheets", "table_name": "people", **more}
    )
    assert answer.status == 202, answer.body
    job: dict[str, Any] = answer.body
    return job


def test_the_name_alone_takes_over_every_default(registered: World) -> None:
    assert put(registered, {"source": SOURCE, "defaults": DEFAULTS}).status == 201
    job = started(registered)
    assert {name: job[name] for name in ("mode", "key", "export_format", "max_shrink", "target")} == {
        "mode": "upsert", "key": ["id"], "export_format": "jsonl", "max_shrink": 1.0,
        "target": {"worksheet": "Volunteers"},
    }  # fmt: skip


def test_what_the_request_says_stands(registered: World) -> None:
    put(registered, {"source": SOURCE, "defaults": DEFAULTS})
    job = started(registered, mode="replace", export_format="csv", max_shrink=0.25, target={"worksheet": "Other"})
    assert (job["mode"], job["key"], job["export_format"], job["max_shrink"]) == ("replace", [], "csv", 0.25)
    assert job["target"] == {"worksheet": "Other"}


def test_without_defaults_ours_stand(registered: World) -> None:
    put(registered)
    job = started(registered)
    assert (job["mode"], job["key"], job["export_format"], job["max_shrink"]) == ("replace", [], None, 0.5)


@pytest.mark.parametrize(
    ("defaults", "field"),
    [
        ({"key": ["id"]}, "defaults.key"),
        ({"target": {"excel": {}}}, "defaults.target"),
        ({"target": {"google_sheets": {"sheet": "x"}}}, "defaults.target.google_sheets"),
        ({"max_shrink": 2}, "$.defaults.max_shrink"),
    ],
)
def test_a_default_is_checked_when_it_is_registered(registered: World, defaults: dict[str, Any], field: str) -> None:
    answer = put(registered, {"source": SOURCE, "defaults": defaults})
    assert (answer.status, answer.body["field"]) == (400, field)


def test_an_etag_guards_a_change_and_a_deletion(registered: World) -> None:
    first = put(registered).headers["ETag"]
    assert registered.call("export", "GET", f"{API}/tables/people").headers["ETag"] == first
    second = put(registered, {"source": SOURCE, "description": "new"}, If_Match=first).headers["ETag"]
    stale = put(registered, {"source": SOURCE, "description": "lost"}, If_Match=first)
    assert (stale.status, stale.body["code"]) == (412, "precondition_failed")
    assert registered.call("export", "GET", f"{API}/tables/people").body["description"] == "new"
    assert registered.call("export", "DELETE", f"{API}/tables/people", If_Match=first).status == 412
    assert registered.call("export", "DELETE", f"{API}/tables/people", If_Match=second).status == 204
    assert registered.call("export", "GET", f"{API}/tables/people").status == 404


def test_if_match_on_a_table_that_is_not_there_is_refused(registered: World) -> None:
    assert put(registered, If_Match='"1.000000000"').status == 412


def test_tables_are_listed_by_name_in_pages(registered: World) -> None:
    for name in ("b", "a", "c"):
        put(registered, name=name)
    page = registered.call("export", "GET", f"{API}/tables?page_size=2").body
    assert [table["name"] for table in page["tables"]] == ["a", "b"]
    rest = registered.call("export", "GET", f"{API}/tables?page_size=2&page_token={page['next_page_token']}").body
    assert [table["name"] for table in rest["tables"]] == ["c"]


@pytest.mark.parametrize("name", ["a/b", " a", "x" * 101, "ä", "%2e%2e", "people%0A"])
def test_a_name_of_another_form_is_refused(registered: World, name: str) -> None:
    assert put(registered, name=name).status in (400, 404)


@pytest.mark.parametrize("number", [2**63, 2**64, 10**400])
@pytest.mark.parametrize("field", ["max_rejects", "source.bigquery.maximum_bytes_billed"])
def test_a_number_that_no_document_holds_is_refused(registered: World, field: str, number: int) -> None:
    body: dict[str, Any] = {"source": {"bigquery": {"table": "a.b"}}}
    if field == "max_rejects":
        body["max_rejects"] = number
    else:
        body["source"]["bigquery"]["maximum_bytes_billed"] = number
    answer = put(registered, body)
    assert (answer.status, answer.body["field"]) == (400, f"$.{field}")


@pytest.mark.parametrize("name", ["", "__index_level_0__", "x" * 301, "__\n__"])
def test_a_declared_column_of_a_name_that_no_document_takes_is_refused(registered: World, name: str) -> None:
    """The first three met Firestore, which refused the document, and the request was a fault of ours."""
    columns = {name: "string"}
    answer = put(registered, {"source": {**SOURCE, "columns": columns}})
    assert answer.status == 400
    assert "$.source.columns" in answer.body["detail"]  # not the store's refusal of the whole document
    export = {"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"id": 1}], "columns": columns}
    assert registered.call("export", "POST", f"{API}/export", export).status == 400


@pytest.mark.parametrize("kind", ["integer", "decimal(39,2)", "decimal(5,6)", ""])
def test_a_declared_type_that_does_not_exist_is_refused_at_once_and_told_by_column(
    registered: World, kind: str
) -> None:
    assert put(registered).status == 201
    source, request = {**SOURCE, "columns": {"id": kind}}, {"connector_name": "ymca_sheets", "table_name": "people"}
    answers = {
        "source.columns.id": [
            put(registered, {"source": source}),
            registered.call("export", "POST", f"{API}/export", {**request, "source": source}),
        ],
        "columns.id": [
            registered.call("export", "POST", f"{API}/export", {**request, "columns": {"id": kind}}),
            registered.call(
                "export", "POST", f"{API}/export", {**request, "columns": {"id": kind}, "rows": [{"id": 1}]}
            ),
        ],
    }
    for field, found in answers.items():
        for answer in found:
            assert (answer.status, answer.body["code"]) == (422, "schema_invalid")
            assert (answer.body["field"], answer.body["column"]) == (field, "id")
            assert answer.body["detail"].startswith(f"{field}: ")
            assert "is no type; use int64, double" in answer.body["detail"]


@pytest.mark.parametrize("kind", ["timestamp_tz", "decimal(38,38)"])
def test_a_declared_type_that_exists_is_taken(registered: World, kind: str) -> None:
    assert put(registered, {"source": {**SOURCE, "columns": {"id": kind}}}).status == 201
    started(registered, columns={"name": kind})
