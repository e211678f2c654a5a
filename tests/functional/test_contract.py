"""The API description says what the functions do: examples, statuses, pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import flask
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import validate
from werkzeug.test import create_environ

from shared.api import examples
from shared.api.dispatch import model
from shared.api.openapi import operation_id, statuses_of
from shared.api.problem_codes import meanings
from shared.api.routes import ROUTES, Route
from tests.functional.conftest import POWER_BI, SHEETS, World

API = "/api/bi-connectors"
FUNCTIONS = ("register", "export", "refresh")
PUBLIC_ROUTES = [route for route in ROUTES if not route.path.startswith("/internal/")]


def described(world: World) -> dict[str, dict[str, Any]]:
    return {function: world.call(function, "GET", "/openapi.json").body for function in FUNCTIONS}


def test_examples_are_what_the_models_take() -> None:
    by_operation = {operation_id(route): route for route in PUBLIC_ROUTES}
    for operation, given in examples.REQUESTS.items():
        for value in given.values():
            msgspec.json.decode(msgspec.json.encode(value), type=model(str(by_operation[operation].request)))
    for name, value in examples.REPLIES.items():
        msgspec.convert(value, model(name), strict=False)


def patterns(part: Any) -> set[str]:
    """Return the patterns in a schema."""
    if isinstance(part, dict):
        own = {part["pattern"]} if isinstance(part.get("pattern"), str) else set()
        return own.union(*map(patterns, part.values()))
    return set().union(*map(patterns, part)) if isinstance(part, list) else set()


def test_no_pattern_takes_a_last_line_feed_that_its_published_form_refuses(world: World) -> None:
    names = {route.request for route in PUBLIC_ROUTES if route.request}
    searched = patterns(msgspec.json.schema_components([model(name) for name in names])[1])
    assert [pattern for pattern in searched if "$" in pattern] == []
    assert any(pattern.endswith(r"\Z") for pattern in searched)
    published = patterns(described(world))
    assert {pattern.replace(r"\Z", "$") for pattern in searched} <= published
    assert [pattern for pattern in published if r"\Z" in pattern] == []


def test_every_body_that_is_needed_has_an_example() -> None:
    with_body = {operation_id(route) for route in PUBLIC_ROUTES if route.request and route.body_required}
    assert with_body - set(examples.REQUESTS) == set()


def test_examples_fit_the_schemas_of_the_description(world: World) -> None:
    for document in described(world).values():
        validate(document)
        for item in document["paths"].values():
            for operation in item.values():
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    schema = {**content["schema"], "components": document["components"]}
                    for example in content.get("examples", {}).values():
                        jsonschema.validate(example["value"], schema)


@pytest.mark.parametrize("status", sorted(examples.PROBLEMS))
def test_the_example_of_a_problem_is_one_of_ours(status: int) -> None:
    from shared.api.problems import SCHEMA

    problem = examples.PROBLEMS[status]
    jsonschema.validate(problem, SCHEMA)
    assert problem["status"] == status
    assert problem["code"] in meanings()


@pytest.mark.parametrize("route", PUBLIC_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_status_has_an_example(route: Route) -> None:
    assert statuses_of(route) <= set(examples.PROBLEMS)


def test_a_problem_names_the_page_of_its_code(world: World) -> None:
    problem = world.call("register", "GET", f"{API}/nobody").body
    assert problem["type"] == "/problems/not_found"
    page = world.page("register", problem["type"])
    assert meanings()["not_found"] in page


@pytest.mark.parametrize("code", sorted(meanings()))
def test_every_code_has_a_page(world: World, code: str) -> None:
    assert f"<h1>{code}</h1>" in world.page("export", f"/problems/{code}")


def test_an_unknown_code_has_none(world: World) -> None:
    assert world.call("export", "GET", "/problems/nonsense").status == 404


def test_the_docs_page_shows_every_route_and_loads_nothing(world: World) -> None:
    page = world.page("refresh", "/docs")
    for route in PUBLIC_ROUTES:
        assert f"<code>{route.path}</code>" in page
    assert re.findall(r"<(?:script|link|img|iframe)|src=|@import|url\(", page) == []
    assert [link for link in re.findall(r"href=['\"]?([^'\" >]+)", page) if "//" in link] == []


def test_ready_asks_firestore_at_most_every_ten_seconds(world: World) -> None:
    asked: list[str] = []
    documents = world.fakes.documents
    inner = documents.get
    documents.get = lambda path: (asked.append(path), inner(path))[1]  # type: ignore[method-assign, assignment]
    first = world.call("export", "GET", "/ready")
    assert (first.status, first.body["checked_at"]) == (200, "2026-01-05T12:00:00Z")
    world.call("export", "GET", "/ready")
    assert len(asked) == 1
    world.fakes.clock.sleep(11)
    assert world.call("export", "GET", "/ready").body["checked_at"] == "2026-01-05T12:00:11Z"


def test_a_request_id_of_another_form_is_replaced(world: World) -> None:
    kept = world.call("register", "GET", "/health", X_Request_Id="abc-1")
    replaced = world.call("register", "GET", "/health", X_Request_Id="a b")
    assert kept.headers["X-Request-Id"] == "abc-1"
    assert re.fullmatch("[0-9a-f]{32}", replaced.headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("export", f"{API}/export-jobs/__x__"),
        ("export", f"{API}/export-jobs/UPPER"),
        ("refresh", f"{API}/schedules/a%5Cb"),
        ("register", f"{API}/__x__"),
        ("register", f"{API}/Ymca"),
        ("export", f"{API}/tables/__x__"),
    ],
)
def test_a_path_that_can_name_nothing_is_404(world: World, function: str, path: str) -> None:
    assert world.call(function, "GET", path).status == 404


def test_wait_ends_at_the_longest(registered: World) -> None:
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"id": 1}]}
    job_id = registered.call("export", "POST", f"{API}/export", body).body["id"]
    before = registered.fakes.clock.now()
    assert registered.call("export", "GET", f"{API}/export-jobs/{job_id}?wait=9999s").status == 200
    assert (registered.fakes.clock.now() - before).total_seconds() == 60.0


def test_an_idempotency_key_of_register_belongs_to_its_body(world: World) -> None:
    first = world.call("register", "POST", f"{API}/register", POWER_BI, Idempotency_Key="k")
    again = world.call("register", "POST", f"{API}/register", POWER_BI, Idempotency_Key="k")
    assert (first.status, again.status, again.body) == (201, 200, first.body)
    other = world.call("register", "POST", f"{API}/register", {**POWER_BI, "name": "another"}, Idempotency_Key="k")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    assert world.call("register", "GET", f"{API}/another").status == 404


@pytest.mark.parametrize("content", [b"[" * 3000, b"[]", b"7", b"null", b"\xff", b'["x", 7]'])
def test_a_page_token_that_is_none_of_ours_is_refused(registered: World, content: bytes) -> None:
    token = base64.urlsafe_b64encode(content).decode().rstrip("=")
    answer = registered.call("register", "GET", f"{API}?page_token={token}")
    assert (answer.status, answer.body["field"]) == (400, "page_token")


@pytest.mark.parametrize("name", ["__x__", ".", "..", "\ud800", "a" * 2_000, "x/y"])
def test_a_page_token_with_a_name_that_no_item_has_is_refused(registered: World, name: str) -> None:
    first = registered.call("register", "GET", f"{API}?page_size=1").body["next_page_token"]
    filters, _ = json.loads(base64.urlsafe_b64decode(first + "=="))
    token = base64.urlsafe_b64encode(json.dumps([filters, f"connectors/{name}"]).encode()).decode()
    answer = registered.call("register", "GET", f"{API}?page_token={token}")
    assert (answer.status, answer.body["field"]) == (400, "page_token")


def test_a_page_token_whose_item_is_gone_is_refused(registered: World) -> None:
    first = registered.call("register", "GET", f"{API}?page_size=1").body
    assert registered.call("register", "DELETE", f"{API}/{first['connectors'][0]['name']}").status == 204
    answer = registered.call("register", "GET", f"{API}?page_size=1&page_token={first['next_page_token']}")
    assert (answer.status, answer.body["field"]) == (400, "page_token")


def test_a_page_token_that_leads_into_another_collection_is_refused(registered: World) -> None:
    first = registered.call("register", "GET", f"{API}?page_size=1").body["next_page_token"]
    filters, path = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    assert path == "connectors/ymca_powerbi"
    entry = next(path for path in registered.fakes.documents._documents if path.startswith("audit/"))
    for elsewhere in (entry, "connectors/ymca_powerbi/chunks/1"):
        registered.fakes.documents.transact(lambda tx, path=elsewhere: tx.set(path, {"schema": 1}))
        forged = base64.urlsafe_b64encode(json.dumps([filters, elsewhere]).encode()).decode().rstrip("=")
        answer = registered.call("register", "GET", f"{API}?page_size=1&page_token={forged}")
        assert (answer.status, answer.body.get("field")) == (400, "page_token")


def test_an_idempotency_key_is_its_callers_own(make_world: Callable[..., World]) -> None:
    world = make_world(ENVIRONMENT="production", BI_ADMINS="ann@example.org,bob@example.org")
    for name in ("ann", "bob"):
        world.claims[name] = {
            "aud": "http://register", "iss": "https://accounts.google.com", "email": f"{name}@example.org", "email_verified": True
        }  # fmt: skip
    answers = [
        world.call("register", "POST", f"{API}/register", body, Idempotency_Key="k", Authorization=f"Bearer {name}")
        for name, body in (("ann", POWER_BI), ("bob", {**POWER_BI, "name": "another"}))
    ]
    assert [answer.status for answer in answers] == [201, 201]


def test_an_idempotency_key_of_register_keeps_nothing_of_a_secret(world: World) -> None:
    """Another secret under the same key is the name's matter; a key that could tell it would hold a digest of it."""
    assert world.call("register", "POST", f"{API}/register", POWER_BI, Idempotency_Key="k").status == 201
    other = {**POWER_BI, "client_secret": "another-secret-of-the-app"}
    answer = world.call("register", "POST", f"{API}/register", other, Idempotency_Key="k")
    assert (answer.status, answer.body["code"]) == (409, "name_taken")


def _started(world: World) -> str:
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"id": 1}]}
    return f"{API}/export-jobs/{world.call('export', 'POST', f'{API}/export', body).body['id']}"


def test_a_waiting_request_reads_the_job_at_most_once_a_second(registered: World) -> None:
    path, asked = _started(registered), []
    documents = registered.fakes.documents
    inner = documents.get
    documents.get = lambda name: (asked.append(name), inner(name))[1]  # type: ignore[method-assign]
    assert registered.call("export", "GET", f"{path}?wait=10s").status == 200
    assert len(asked) == 11


def test_a_quarter_of_the_threads_may_wait_and_others_are_answered_at_once(make_world: Callable[..., World]) -> None:
    world = make_world(THREADS="8")
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    path, clock = _started(world), world.fakes.clock
    waiting, most, inner = 0, 0, clock.sleep

    def sleep(seconds: float) -> None:
        """While one request waits, another comes."""
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        if waiting < 5:
            answer = world.call("export", "GET", f"{path}?wait=1s")
            assert (answer.status, answer.headers["Retry-After"]) == (200, "2")
        waiting -= 1
        inner(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    assert world.call("export", "GET", f"{path}?wait=1s").status == 200
    assert most == 2


@pytest.mark.parametrize("path", ["/docs", "/problems/not_found"])
def test_a_page_may_load_nothing_and_stand_in_no_frame(world: World, path: str) -> None:
    """Also where a text of somebody's came into it: the browser is told to run nothing."""
    headers = world._functions["export"](flask.Request(create_environ(path))).headers
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "caf\u00e9", "\t"])
def test_an_idempotency_key_of_another_form_is_refused_before_anything_is_done(world: World, key: str) -> None:
    answer = world.call("register", "POST", f"{API}/register", POWER_BI, Idempotency_Key=key)
    assert (answer.status, answer.body.get("field")) == (400, "Idempotency-Key")
    assert world.fakes.documents._documents == {}


def test_a_page_holds_at_most_a_hundred_items(registered: World) -> None:
    documents = registered.fakes.documents
    one = documents._documents["connectors/ymca_sheets"][0]
    for number in range(100):
        documents.create(f"connectors/c{number}", {**one, "name": f"c{number}"})
    page = registered.call("register", "GET", f"{API}?page_size=1000").body
    assert len(page["connectors"]) == 100
    more = registered.call("register", "GET", f"{API}?page_size=1000&page_token={page['next_page_token']}").body
    assert (len(more["connectors"]), more["next_page_token"]) == (2, None)
