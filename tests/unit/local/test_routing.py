"""The gateway's routing: most literal template first, `/internal` never."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.routing import BadPathError, RouteTable, is_internal, merge

API = "/api/bi-connectors"


def document(*paths: str, methods: tuple[str, ...] = ("get",)) -> dict[str, Any]:
    return {"paths": {path: {method: {} for method in methods} for path in paths}}


@pytest.fixture
def table() -> RouteTable:
    return RouteTable(
        {
            "register": document(
                f"{API}", f"{API}/{{name}}", f"{API}/{{name}}/test", methods=("get", "post", "delete")
            ),
            "export": document(
                f"{API}/export", f"{API}/export-jobs/{{id}}", f"{API}/export-jobs/{{id}}:cancel", "/internal/x"
            ),
            "refresh": document(f"{API}/{{name}}/refresh", f"{API}/schedules", f"{API}/schedules/{{id}}"),
        }
    )


@pytest.mark.parametrize(
    ("path", "function"),
    [
        (f"{API}", "register"),
        (f"{API}/sheets", "register"),
        (f"{API}/export", "export"),
        (f"{API}/export-jobs/01abc", "export"),
        (f"{API}/schedules", "refresh"),
        (f"{API}/schedules/test", "refresh"),
        (f"{API}/sheets/test", "register"),
        (f"{API}/sheets/refresh", "refresh"),
        (f"{API}/sheets/unknown", None),
        ("/health", None),
        ("/", None),
    ],
)
def test_the_most_literal_template_decides(table: RouteTable, path: str, function: str | None) -> None:
    assert table.function_for("GET", path) == function


def test_a_template_that_has_the_method_wins_over_a_more_literal_one_without_it() -> None:
    table = RouteTable(
        {"a": document("/things/list", methods=("get",)), "b": document("/things/{id}", methods=("delete",))}
    )

    assert table.function_for("DELETE", "/things/list") == "b"
    assert table.function_for("HEAD", "/things/list") == "a"


def test_a_known_path_with_an_unknown_method_still_goes_to_its_function(table: RouteTable) -> None:
    assert table.function_for("PATCH", f"{API}/export") == "export"


@pytest.mark.parametrize("path", ["/internal/x", "/internal", "/%69nternal/x", "/INTERNAL/x"])
def test_internal_paths_are_recognised_however_they_are_written(path: str) -> None:
    assert is_internal(path)


def test_an_internal_path_in_a_document_is_not_routed(table: RouteTable) -> None:
    assert table.function_for("GET", "/internal/x") is None


@pytest.mark.parametrize("path", [f"{API}/../internal/x", f"{API}/%2e%2e/test", f"{API}/a%2Fb/test", f"{API}/a%5cb"])
def test_a_path_that_could_be_read_in_two_ways_is_refused(table: RouteTable, path: str) -> None:
    with pytest.raises(BadPathError):
        table.function_for("GET", path)


def test_merge_keeps_every_public_path_and_component_and_drops_internal_ones() -> None:
    first = {
        "openapi": "3.1.0",
        "info": {"title": "t"},
        "paths": {"/a": {"get": {"x": 1}}},
        "components": {"schemas": {"A": {}}},
    }
    second = {
        "openapi": "3.1.0",
        "paths": {"/a": {"post": {}}, "/internal/run": {"post": {}}},
        "components": {"schemas": {"B": {}}},
    }

    merged = merge([first, second])

    assert merged["paths"] == {"/a": {"get": {"x": 1}, "post": {}}}
    assert merged["components"] == {"schemas": {"A": {}, "B": {}}}
    assert merged["info"] == {"title": "t"}
    assert merged["servers"] == [{"url": "/"}]
