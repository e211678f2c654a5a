"""Who calls, through what stands for Cloud Run: tokens of the local cloud's own issuer, at the gateway and at the functions' URLs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import requests

from infra.local.cloud_run import GCLOUD_AUDIENCE
from infra.local.emulators.identity import TokenSigner
from infra.local.settings import SCHEDULER_SERVICE_ACCOUNT, TASKS_SERVICE_ACCOUNT
from infra.local.supervisor import LocalCloud

API = "/api/bi-connectors"
SERVERLESS = "X-Serverless-Authorization"
Token = Callable[..., str]


@pytest.fixture
def token(cloud: LocalCloud) -> Token:
    signer = TokenSigner(cloud.layout.data / "identity" / "oidc_key.pem")
    return lambda email, audience=GCLOUD_AUDIENCE: signer.id_token(audience, email, datetime.now(UTC))


def forged(token: str) -> str:
    return f"{token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"


def status(url: str, method: str = "GET", path: str = API, **tokens: str) -> int:
    headers = {name.replace("_", "-"): f"Bearer {token}" for name, token in tokens.items()}
    body = {} if path.startswith("/internal") else None
    return requests.request(method, url + path, json=body, headers=headers, timeout=60).status_code


@pytest.mark.parametrize("place", ["gateway", "register"])
def test_a_person_may_do_what_his_role_allows(cloud: LocalCloud, token: Token, place: str) -> None:
    endpoints = cloud.endpoints
    url = endpoints["gateway"] if place == "gateway" else endpoints["functions"][place]
    viewer, admin, stranger = (token(f"{name}@example.org") for name in ("viewer", "admin", "stranger"))
    assert status(url, Authorization=viewer) == 200
    assert status(url, "POST", f"{API}/test-all", Authorization=viewer) == 403
    assert status(url, "POST", f"{API}/test-all", Authorization=admin) == 200
    assert status(url, Authorization=stranger) == 403
    assert status(url, Authorization=token("admin@example.org", endpoints["functions"]["register"])) == 200
    assert status(url, Authorization=token("admin@example.org", endpoints["functions"]["export"])) == 401


@pytest.mark.parametrize("place", ["gateway", "register"])
def test_a_forged_token_is_refused_or_does_not_count(cloud: LocalCloud, token: Token, place: str) -> None:
    endpoints = cloud.endpoints
    url = endpoints["gateway"] if place == "gateway" else endpoints["functions"][place]
    viewer, admin = (token(f"{name}@example.org") for name in ("viewer", "admin"))
    test_all = ("POST", f"{API}/test-all")
    assert status(url, Authorization=forged(admin)) == 401
    assert status(url, **{SERVERLESS: forged(admin)}) == 401
    assert status(url, *test_all, **{SERVERLESS: viewer, "Authorization": forged(admin)}) == 401
    assert status(url, *test_all, **{SERVERLESS: viewer, "Authorization": admin}) == 403
    assert status(url, *test_all, **{SERVERLESS: admin, "Authorization": viewer}) == 200


def test_internal_routes_take_their_service_account_alone(cloud: LocalCloud, token: Token) -> None:
    worker = cloud.endpoints["functions"]["export_worker"]
    tasks, scheduler = (token(email, worker) for email in (TASKS_SERVICE_ACCOUNT, SCHEDULER_SERVICE_ACCOUNT))
    run, sweep = ("POST", "/internal/export-jobs/x:run"), ("POST", "/internal/sweep")
    assert status(worker, *run, Authorization=tasks) == 404
    assert status(worker, *run, Authorization=scheduler) == 403
    assert status(worker, *sweep, Authorization=scheduler) == 204
    assert status(worker, *sweep, Authorization=token(SCHEDULER_SERVICE_ACCOUNT)) == 401
    assert status(worker, *run, Authorization=forged(tasks)) == 401
    assert status(worker, *run, Authorization=token("admin@example.org", worker)) == 403
