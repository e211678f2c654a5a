"""Who may call what: every route against every kind of caller, from the route table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.api.auth import GCLOUD_AUDIENCE, RANKS
from shared.api.routes import ROUTES, Permission, Route
from tests.functional.conftest import ON_CLOUD_RUN, World, unsigned

URLS = {
    "register": "http://register",
    "export": "http://export",
    "export_worker": "http://worker",
    "refresh": "http://refresh",
}
PEOPLE = {"viewer": Permission.VIEWER, "operator": Permission.OPERATOR, "admin": Permission.ADMIN}
SERVICES = {"tasks": Permission.TASKS, "scheduler": Permission.SCHEDULER}
REFUSED = ("no token", "wrong audience", "wrong issuer", "unverified e-mail", "forged")
CALLERS = (*REFUSED, "stranger", "gcloud", *PEOPLE, *SERVICES)
ROWS = [(route, caller) for route in ROUTES for caller in CALLERS]


def expected(route: Route, caller: str) -> int | None:
    """Return the status that refuses the caller, None if he may."""
    if route.permission is Permission.PUBLIC:
        return None
    if caller in REFUSED or (caller == "gcloud" and route.permission in SERVICES.values()):
        return 401
    if caller == "gcloud":
        caller = "admin"
    if route.permission in RANKS:
        role = PEOPLE.get(caller)
        return None if role is not None and RANKS[role] >= RANKS[route.permission] else 403
    return None if SERVICES.get(caller) is route.permission else 403


def token(audience: str, caller: str) -> dict[str, Any]:
    email = f"{caller}@fake.iam" if caller in SERVICES else f"{caller.replace(' ', '-')}@example.org"
    if caller in (*REFUSED, "gcloud"):
        email = "admin@example.org"
    return {
        "aud": {"wrong audience": "http://elsewhere", "gcloud": GCLOUD_AUDIENCE}.get(caller, audience),
        "iss": "https://evil.example" if caller == "wrong issuer" else "https://accounts.google.com",
        "email": email,
        "email_verified": caller != "unverified e-mail",
    }


ROLES = {
    "BI_ADMINS": "admin@example.org",
    "BI_OPERATORS": "operator@example.org",
    "BI_VIEWERS": "viewer@example.org",
}


@pytest.fixture
def deployed(make_world: Callable[..., World]) -> World:
    return make_world(ENVIRONMENT="production", **ROLES)


@pytest.mark.parametrize(("route", "caller"), ROWS, ids=lambda value: getattr(value, "path", value))
def test_every_route_takes_exactly_its_callers(deployed: World, route: Route, caller: str) -> None:
    """Straight at the function, where nothing says that Cloud Run has checked anybody: a token without a signature is forged."""
    function = "register" if route.function == "*" else route.function
    headers = {}
    if caller == "forged":
        headers["Authorization"] = f"Bearer {unsigned(token(URLS[function], caller))}"
    elif caller != "no token":
        deployed.claims["t"] = token(URLS[function], caller)
        headers["Authorization"] = "Bearer t"
    is_as_expected(deployed, route, caller, headers)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_behind_cloud_run_every_route_takes_exactly_its_callers(make_world: Callable[..., World], route: Route) -> None:
    """As it is deployed: the signature is gone, and whoever has no token that Cloud Run takes can only add one of his own."""
    world = make_world(**ON_CLOUD_RUN, **ROLES)
    audience = URLS["register" if route.function == "*" else route.function]
    names = ("Authorization", "X-Serverless-Authorization")
    for caller in CALLERS:
        for header, other in (names, names[::-1]):
            headers = {} if caller == "no token" else {header: f"Bearer {unsigned(token(audience, caller))}"}
            if caller == "forged":
                headers[other] = f"Bearer {unsigned(token(audience, 'stranger'))}"
            is_as_expected(world, route, caller, headers)


def is_as_expected(world: World, route: Route, caller: str, headers: dict[str, str]) -> None:
    function = "register" if route.function == "*" else route.function
    path = route.path.replace("{name}", "ymca").replace("{id}", "x1").replace("{code}", "internal")
    status = world.status(function, route.method, path, {} if route.request else None, **headers)
    refused = expected(route, caller)
    if refused is None:
        assert status not in (401, 403), caller
    else:
        assert status == refused, caller


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize(
    ("email", "status"),
    [("admin@example.org", None), ("robot@p.iam.gserviceaccount.com", 401)],
    ids=["person", "robot"],
)
def test_gclouds_audience_is_for_people_on_their_own_routes(
    make_world: Callable[..., World], route: Route, email: str, status: int | None
) -> None:
    """Both are administrators, and both are who calls the internal routes: only the audience refuses them."""
    accounts = {"TASKS_SERVICE_ACCOUNT": email, "SCHEDULER_SERVICE_ACCOUNT": email}
    deployed = make_world(ENVIRONMENT="production", BI_ADMINS=email, **accounts)
    function = "register" if route.function == "*" else route.function
    path = route.path.replace("{name}", "ymca").replace("{id}", "x1").replace("{code}", "internal")

    def ask(audience: str) -> int:
        deployed.claims["t"] = {**token(audience, "admin"), "email": email}
        return deployed.status(function, route.method, path, {} if route.request else None, Authorization="Bearer t")

    assert ask(URLS[function]) not in (401, 403)
    if route.permission in SERVICES.values():
        status = 401
    if route.permission is Permission.PUBLIC:
        status = None
    found = ask(GCLOUD_AUDIENCE)
    assert found == status if status else found not in (401, 403)


def test_no_route_is_without_a_permission() -> None:
    assert [route.path for route in ROUTES if not isinstance(route.permission, Permission)] == []
    public = {route.path for route in ROUTES if route.permission is Permission.PUBLIC}
    assert public == {
        "/health",
        "/files/{id}",
    }  # the latter's word is the permission: see shared/services/file_links.py


def test_internal_routes_are_for_service_accounts_alone() -> None:
    internal = {route.path for route in ROUTES if route.path.startswith("/internal/")}
    assert internal == {route.path for route in ROUTES if route.permission in SERVICES.values()}


def test_no_function_answers_outside_the_table() -> None:
    """A function's main.py hands every request to the dispatcher, so a route can only be made in the table."""
    for path in Path("functions").glob("*/main.py"):
        source = path.read_text()
        answers = ["return _function(request)", f"return {path.parent.name}(flask.request)"]
        assert [line.strip() for line in source.splitlines() if line.strip().startswith("return ")] == answers
        assert source.count("def ") == 2


def test_locally_a_missing_token_is_the_developer_but_a_wrong_one_is_refused(world: World) -> None:
    assert world.call("register", "GET", "/api/bi-connectors").status == 200
    assert world.call("register", "GET", "/api/bi-connectors", Authorization="Bearer nonsense").status == 401
    assert world.call("export_worker", "POST", "/internal/sweep", {}).status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "[::", "10.0.0.5"])
def test_a_name_that_was_made_to_lead_here_is_not_the_developers(world: World, host: str) -> None:
    """A page of a name that its owner lets lead to 127.0.0.1 is of the same origin to a browser, which sends no Origin with a GET."""
    answer = world.call("register", "GET", "/api/bi-connectors", Host=host)
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    for own in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert world.call("register", "GET", "/api/bi-connectors", Host=own).status == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/ymca/test"), ("DELETE", "/ymca"), ("PATCH", "/ymca")])
def test_a_page_of_another_origin_cannot_use_the_developers_identity(world: World, method: str, path: str) -> None:
    """A browser sends Origin with every such call; a developer's curl sends none, the console its own."""
    answer = world.call("register", method, f"/api/bi-connectors{path}", {}, Origin="https://evil.example")
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
