"""The dispatcher's own refusals, identities, and the API description."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import flask
import pytest
from openapi_spec_validator import validate
from werkzeug import exceptions
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from shared.api.routes import ROUTES
from shared.config import GRPC_EMULATORS, read_settings
from shared.errors import InternalError
from tests.functional.conftest import ENVIRONMENT, World

API = "/api/bi-connectors"


def claims(email: str, audience: str) -> dict[str, object]:
    return {"aud": audience, "iss": "https://accounts.google.com", "email": email, "email_verified": True}


def test_every_refusal_is_a_problem_document(world: World) -> None:
    cases = [
        (world.call("register", "GET", "/nothing"), 404),
        (world.call("register", "PUT", f"{API}/register"), 405),
        (world.call("register", "POST", f"{API}/register", {}, Content_Type="text/plain"), 415),
        (world.call("export", "GET", f"{API}/export-jobs?color=red"), 400),
        (world.call("register", "POST", f"{API}/export", {}), 421),
    ]
    for answer, status in cases:
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert {"type", "title", "status", "code", "detail", "retryable"} <= set(answer.body)
    assert cases[1][0].headers["Allow"] == "POST"
    assert cases[4][0].body["url"] == f"http://export{API}/export"


@pytest.mark.parametrize("function", ["register", "export", "refresh"])
def test_what_the_framework_refuses_by_itself_is_answered_in_our_form_too(function: str) -> None:
    import functions_framework

    source = Path(__file__).parents[2] / "functions" / function / "main.py"
    client = functions_framework.create_app(function, str(source)).test_client()
    for path in ("/favicon.ico", "/no%0Athing", "/api/bi-connectors//x"):
        answer = client.get(path, headers={"X-Request-Id": "seven"})
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
        assert answer.headers["X-Request-Id"] == "seven"


@pytest.mark.parametrize("path", ["", "/", "//", "//x", "///evil.example/..", "//x//", "/x/"])
def test_no_path_is_answered_by_a_redirect_of_the_framework(path: str) -> None:
    """The test client would take `//x` for a host: the path goes in as a server hands it on, an absolute URL's empty one too."""
    import functions_framework

    app = functions_framework.create_app("register", str(Path(__file__).parents[2] / "functions/register/main.py"))
    answer = Response.from_app(app, {**create_environ("/"), "PATH_INFO": path})
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a/b/c", "__x__", "x" * 2000, "\n", "\0"])
def test_a_name_that_no_document_could_have_is_not_there(registered: World, name: str) -> None:
    rows = [{"id": 1}]
    export = {"connector_name": name, "table_name": "people", "rows": rows}
    assert registered.call("export", "POST", f"{API}/export", export).status == 404
    schedule = {"connector_name": name, "cron_expression": "0 6 * * *"}
    assert registered.call("refresh", "POST", f"{API}/schedules", schedule).status == 404
    planned = registered.call(
        "refresh", "POST", f"{API}/apply?dry_run=true", {"schedules": [{"name": "s", **schedule}]}
    )
    assert planned.status == 200
    table = {"connector_name": "ymca_sheets", "table_name": name}
    assert registered.call("export", "POST", f"{API}/export", table).status in (400, 404, 422)


def test_a_body_over_the_limit_is_413(world: World) -> None:
    answer = world.call("register", "POST", f"{API}/register", {"x": "y" * 1_100_000})
    assert (answer.status, answer.body["code"]) == (413, "body_too_large")


def test_a_body_is_not_read_past_its_bound(world: World) -> None:
    class Endless:
        """A chunked body that never ends."""

        count = 0

        def read(self, size: int) -> bytes:
            self.count += size
            return b"x" * size

        readline = readlines = __iter__ = None

    body = Endless()
    environ = create_environ(f"{API}/register", method="POST", content_type="application/json")
    environ |= {"wsgi.input": body, "wsgi.input_terminated": True}
    environ.pop("CONTENT_LENGTH", None)
    assert world._functions["register"](flask.Request(environ)).status_code == 413
    assert body.count <= 1024 * 1024 + 1


def test_broken_json_is_400(world: World) -> None:
    environ = create_environ(
        f"{API}/export", method="POST", data=b'{"connector_name": ', content_type="application/json"
    )
    assert world._functions["export"](flask.Request(environ)).status_code == 400


@pytest.mark.parametrize("function", ["register", "export", "refresh"])
def test_the_api_description_is_valid_openapi_and_holds_every_route(world: World, function: str) -> None:
    document = world.call(function, "GET", "/openapi.json").body
    validate(document)
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    expected = {
        (r.method, r.path) for r in ROUTES if r.function in (function, "*") and not r.path.startswith("/internal")
    }
    assert described == expected


def test_the_ten_routes_of_the_brief_are_there() -> None:
    assert {(route.method, route.path) for route in ROUTES} >= {
        ("POST", f"{API}/register"),
        ("GET", API),
        ("POST", f"{API}/{{name}}/test"),
        ("POST", f"{API}/test-all"),
        ("POST", f"{API}/export"),
        ("GET", f"{API}/export-jobs/{{id}}"),
        ("POST", f"{API}/{{name}}/refresh"),
        ("POST", f"{API}/schedules"),
        ("GET", f"{API}/schedules"),
        ("DELETE", f"{API}/{{name}}"),
    }


def test_internal_routes_need_the_service_account_that_calls_them(world: World) -> None:
    path = "/internal/export-jobs/x:run"
    assert world.call("export_worker", "POST", path, {}).status == 401
    world.claims = {
        "admin": claims("boss@example.org", "http://worker"),
        "scheduler": claims("scheduler@fake.iam", "http://worker"),
        "elsewhere": claims("tasks@fake.iam", "http://refresh"),
        "tasks": claims("tasks@fake.iam", "http://worker"),
    }
    assert world.call("export_worker", "POST", path, {}, Authorization="Bearer admin").status == 403
    assert world.call("export_worker", "POST", path, {}, Authorization="Bearer scheduler").status == 403
    assert world.call("export_worker", "POST", path, {}, Authorization="Bearer elsewhere").status == 401
    assert world.call("export_worker", "POST", path, {}, Authorization="Bearer tasks").status == 404
    assert world.call("export", "POST", path, {}, Authorization="Bearer tasks").status == 404


def test_without_administrators_everything_but_health_is_403(make_world: Callable[..., World]) -> None:
    world = make_world(ENVIRONMENT="production", BI_VIEWERS="someone@example.org", BI_OPERATORS="someone@example.org")
    world.claims["t"] = claims("someone@example.org", "http://register")
    for function in ("register", "export", "export_worker", "refresh"):
        assert world.call(function, "GET", "/health").status == 200
    for route in (route for route in ROUTES if route.path != "/health"):
        path = route.path.replace("{name}", "ymca").replace("{id}", "x").replace("{code}", "internal")
        function = route.function if route.function != "*" else "register"
        for headers in ({}, {"Authorization": "Bearer t"}):
            answer = world.call(function, route.method, path, **headers)
            assert (answer.status, "BI_ADMINS" in answer.body["detail"]) == (403, True), (route.method, path)


def test_roles_include_one_another_upwards(make_world: Callable[..., World]) -> None:
    world = make_world(ENVIRONMENT="production", BI_ADMINS="Boss@example.org", BI_VIEWERS="eve@example.org")
    for name in ("boss", "eve", "stranger"):
        world.claims[name] = claims(f"{name}@example.org", "http://register")
    assert world.call("register", "GET", API, Authorization="Bearer boss").status == 200
    assert world.call("register", "GET", API, Authorization="Bearer eve").status == 200
    assert world.call("register", "POST", f"{API}/test-all", Authorization="Bearer eve").status == 403
    assert world.call("register", "GET", API, Authorization="Bearer stranger").status == 403


def test_local_relaxations_are_refused_on_google_cloud() -> None:
    with pytest.raises(InternalError, match="K_SERVICE"):
        read_settings({**ENVIRONMENT, "K_SERVICE": "register"})
    with pytest.raises(InternalError, match="SECRET_MANAGER_EMULATOR_HOST"):
        read_settings({**ENVIRONMENT, "ENVIRONMENT": "production", "SECRET_MANAGER_EMULATOR_HOST": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exceptions.BadRequest, "invalid_request"),
        (exceptions.ClientDisconnected, "invalid_request"),
        (exceptions.RequestEntityTooLarge, "body_too_large"),
        (exceptions.UnsupportedMediaType, "not_json"),
        (exceptions.ImATeapot, "invalid_request"),
        (exceptions.BadGateway, "internal"),
    ],
)
def test_what_the_framework_raises_has_a_code_of_ours(
    world: World, error: type[exceptions.HTTPException], code: str
) -> None:
    def refuse(name: str) -> None:
        raise error

    world.services.__dict__["connectors"] = type("Connectors", (), {"get": staticmethod(refuse)})
    world.is_itself = False
    answer = world.call("register", "GET", f"{API}/ymca")
    assert (answer.status, answer.body["code"], answer.body["type"]) == (error.code, code, f"/problems/{code}")


def test_a_fault_of_ours_is_a_problem_without_its_inside(world: World) -> None:
    world.services.__dict__["connectors"] = object()
    answer = world.call("register", "GET", API)
    assert (answer.status, answer.body["code"]) == (500, "internal")
    assert "object" not in answer.body["detail"]


def leading_elsewhere() -> list[str]:
    """Return every variable that leads a client of Google's, as its code has it, or ours to another place than Google's."""
    import google.cloud

    root = Path(__file__).parents[2] / "shared"
    clients = [path for place in google.cloud.__path__ for path in Path(place).rglob("*.py")]
    form = re.compile(r'"([A-Z][A-Z_]*_(?:EMULATOR_HOST|ENDPOINT_OVERRIDE))"')
    found = {name for path in (*root.rglob("*.py"), *clients) for name in form.findall(path.read_text())}
    ours = {f"{name.upper()}_EMULATOR_HOST" for name in GRPC_EMULATORS}
    return sorted({*found, *ours, "RESOLVER_TABLE", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"})


@pytest.mark.parametrize("name", leading_elsewhere())
def test_nothing_that_leads_elsewhere_is_taken_but_locally(name: str) -> None:
    value = "a=127.0.0.1" if name == "RESOLVER_TABLE" else "127.0.0.1:1"
    with pytest.raises(InternalError, match=f"{name} is set but ENVIRONMENT is not local"):
        read_settings({**ENVIRONMENT, "ENVIRONMENT": "production", name: value})
    read_settings({**ENVIRONMENT, name: value})
