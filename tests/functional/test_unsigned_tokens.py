"""ID tokens as they arrive behind Cloud Run, which checks the caller's token and removes its signature."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import flask
import pytest
from werkzeug.test import create_environ

from shared.api.auth import GCLOUD_AUDIENCE
from shared.config import read_settings
from shared.errors import InternalError
from tests.functional.conftest import ENVIRONMENT, ON_CLOUD_RUN, World, unsigned

API = "/api/bi-connectors"
SERVERLESS = "X-Serverless-Authorization"


def claims(email: str = "ada@example.org", **changes: Any) -> dict[str, Any]:
    found = {"aud": "http://register", "iss": "https://accounts.google.com", "email": email, "email_verified": True}
    return {**found, **changes}


@pytest.fixture
def behind(make_world: Callable[..., World]) -> World:
    """The functions behind Cloud Run: Ada is an administrator, Ben may read; `signed-…` are tokens with their signature."""
    world = make_world(**ON_CLOUD_RUN, BI_ADMINS="ada@example.org", BI_VIEWERS="ben@example.org")
    world.claims |= {"signed-ada": claims(), "signed-ben": claims("ben@example.org")}
    return world


def ask(world: World, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Ask for the connectors, or (POST) for a test of all, which a viewer may not; the status, and what is wrong in words."""
    path = API if method == "GET" else f"{API}/test-all"
    answer = world.call("register", method, path, **headers)
    return answer.status, answer.body.get("detail", "")


def bearer(token: str | Mapping[str, Any]) -> str:
    return f"Bearer {token if isinstance(token, str) else unsigned(token)}"


def test_a_token_that_cloud_run_checked_says_who_calls(behind: World) -> None:
    assert ask(behind, Authorization=bearer(claims())) == (200, "")
    assert ask(behind, "POST", Authorization=bearer(claims("ben@example.org")))[0] == 403
    assert ask(behind, Authorization=bearer(claims(aud=GCLOUD_AUDIENCE))) == (200, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "http://export"},
        {"aud": ["http://register"]},
        {"aud": None},
        {"iss": "https://accounts.example.org"},
        {"email_verified": False},
        {"email_verified": "false"},
        {"email": None},
        {"exp": 1_700_000_000, "iat": 1_699_999_000},
        {"exp": "9999999999"},
        {"exp": None},
        {"iat": 9_000_000_000, "exp": 9_000_003_600},
        {"iat": None},
        {"email": "robot@p.iam.gserviceaccount.com", "aud": GCLOUD_AUDIENCE},
    ],
    ids=str,
)
def test_all_but_the_signature_is_still_checked(behind: World, changes: dict[str, Any]) -> None:
    status, detail = ask(behind, Authorization=bearer(claims(**changes)))
    assert status == 401
    assert "ada@example.org" not in detail


@pytest.mark.parametrize("payload", ["", "e30", "W10", "!!", "bm90IGpzb24", "W1tb" * 1500, "/w"])
def test_what_is_no_token_is_refused(behind: World, payload: str) -> None:
    token = f"eyJ.{payload}.SIGNATURE_REMOVED_BY_GOOGLE"
    assert ask(behind, Authorization=bearer(token))[0] == 401


@pytest.mark.parametrize("other", ["", "x", "SIGNATURE_REMOVED_BY_GOOGLEx", "signature_removed_by_google"])
def test_a_token_with_any_other_signature_is_verified(behind: World, other: str) -> None:
    token = unsigned(claims()).rpartition(".")[0] + f".{other}"
    assert ask(behind, Authorization=bearer(token)) == (401, "the ID token does not verify")
    assert ask(behind, Authorization=bearer(f"{token}.SIGNATURE_REMOVED_BY_GOOGLE"))[0] == 401


def test_where_nothing_says_that_cloud_run_checks_the_answer_says_what_to_set(make_world: Callable[..., World]) -> None:
    world = make_world(ENVIRONMENT="production", K_SERVICE="fake", BI_ADMINS="ada@example.org")
    for header in ("Authorization", SERVERLESS):
        status, detail = ask(world, **{header: bearer(claims())})
        assert status == 401
        assert "CLOUD_RUN_CHECKS_CALLERS=true" in detail


def test_the_setting_counts_only_where_cloud_run_is_in_front(make_world: Callable[..., World]) -> None:
    outside = {**ON_CLOUD_RUN, "K_SERVICE": ""}
    assert ask(make_world(**outside, BI_ADMINS="ada@example.org"), Authorization=bearer(claims()))[0] == 401
    with pytest.raises(InternalError, match="'yes'; expected true or false"):
        read_settings({**ENVIRONMENT, **ON_CLOUD_RUN, "CLOUD_RUN_CHECKS_CALLERS": "yes"})
    assert read_settings({**ENVIRONMENT, **ON_CLOUD_RUN}).cloud_run_checks_callers
    assert not read_settings({**ENVIRONMENT, **outside}).cloud_run_checks_callers
    assert not read_settings({**ENVIRONMENT, "ENVIRONMENT": "production"}).cloud_run_checks_callers


def test_the_serverless_header_is_who_calls_whatever_the_other_says(behind: World) -> None:
    """Cloud Run has checked the one, and passes the other on as it came."""
    ben, ada = claims("ben@example.org"), claims()
    for other in ("signed-ada", "opaque", "Basic eDp5"):
        sent = other if " " in other else bearer(other)
        headers = {SERVERLESS: bearer(ben), "Authorization": sent}
        assert ask(behind, **headers) == (200, "")
        assert ask(behind, "POST", **headers)[0] == 403
    assert ask(behind, "POST", **{SERVERLESS: bearer("signed-ben"), "Authorization": bearer(ada)})[0] == 403


def test_of_two_tokens_without_a_signature_neither_is_believed(behind: World) -> None:
    """Cloud Run removes one signature: the other token came without, and from here either could be it."""
    ben, ada = bearer(claims("ben@example.org")), bearer(claims())
    assert ask(behind, **{SERVERLESS: ben, "Authorization": ada})[0] == 401
    assert ask(behind, **{SERVERLESS: ada, "Authorization": ben})[0] == 401


@pytest.mark.parametrize("header", ["Authorization", SERVERLESS])
@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "{token}",
        "Bearer  {token}",
        "Bearer {token} ",
        "Bearer\t{token}",
        "Bearer {token},Bearer {token}",
        "Bearer {token}, Bearer {token}",
        "Bearer {token} {token}",
        "Bearer {token},",
    ],
)
def test_a_header_that_is_not_one_token_is_refused(behind: World, header: str, value: str) -> None:
    """A header that came twice is joined by a comma on the way; the valid token in the other header does not help."""
    sent = {header: value.format(token=unsigned(claims()))}
    environ = create_environ(API)
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in sent.items()}
    if header == SERVERLESS:
        environ["HTTP_AUTHORIZATION"] = bearer("signed-ada")
    answer = behind._functions["register"](flask.Request(environ))
    assert (answer.status_code, json.loads(answer.get_data())["code"]) == (401, "unauthenticated")


def test_an_empty_header_is_not_the_developer(world: World) -> None:
    assert ask(world, **{SERVERLESS: ""})[0] == 401
    assert ask(world, Authorization="")[0] == 401
