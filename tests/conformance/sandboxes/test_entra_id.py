"""The Entra ID sandbox, driven by msal as it is and by plain requests."""

from __future__ import annotations

import uuid

import msal
import pytest
import requests

from infra.local.sandboxes.server import SandboxServer

SCOPE = "https://analysis.windows.net/powerbi/api/.default"
UNKNOWN_ID = "11111111-2222-3333-4444-555555555555"


def application(
    server: SandboxServer, *, tenant: str | None = None, client: str | None = None, secret: str | None = None
) -> msal.ConfidentialClientApplication:
    entra = server.accounts.entra
    return msal.ConfidentialClientApplication(
        client or entra.client_id,
        secret or entra.client_secret,
        authority=f"https://login.microsoftonline.com/{tenant or entra.tenant_id}",
        timeout=10,
    )


def post_token(server: SandboxServer, **changes: str | None) -> requests.Response:
    entra = server.accounts.entra
    form: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_id": entra.client_id,
        "client_secret": entra.client_secret,
        "scope": SCOPE,
        **changes,
    }
    sent = {name: value for name, value in form.items() if value is not None}
    url = f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/token"
    return requests.post(url, data=sent, timeout=10)


def test_msal_gets_a_token_that_the_book_knows(vendors: SandboxServer) -> None:
    answer = application(vendors).acquire_token_for_client([SCOPE])
    grant = vendors.tokens.grant("entra", answer["access_token"])
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    assert grant is not None
    assert (grant.subject, grant.scope) == (vendors.accounts.entra.client_id, SCOPE)


def test_msal_sends_one_discovery_and_one_token_request_then_uses_its_cache(vendors: SandboxServer) -> None:
    before = vendors.calls("entra_id")["total"]
    client = application(vendors)
    tokens = {client.acquire_token_for_client([SCOPE])["access_token"] for _ in range(3)}
    assert len(tokens) == 1
    assert vendors.calls("entra_id")["total"] - before == 2


def test_msal_accepts_the_authority_through_instance_discovery(vendors: SandboxServer) -> None:
    entra = vendors.accounts.entra
    client = msal.ConfidentialClientApplication(
        entra.client_id,
        entra.client_secret,
        authority=f"https://login.microsoftonline.com/{entra.tenant_id}",
        instance_discovery=True,
    )
    client.acquire_token_for_client([SCOPE])
    assert client.get_accounts() == []
    url = "https://login.microsoftonline.com/common/discovery/instance"
    endpoint = f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/authorize"
    answer = requests.get(url, {"authorization_endpoint": endpoint, "api-version": "1.1"}, timeout=10).json()
    assert answer["tenant_discovery_endpoint"].endswith(f"/{entra.tenant_id}/v2.0/.well-known/openid-configuration")
    assert "login.microsoftonline.com" in answer["metadata"][0]["aliases"]


def test_instance_discovery_refuses_a_foreign_host(vendors: SandboxServer) -> None:
    url = "https://login.microsoftonline.com/common/discovery/instance"
    answer = requests.get(url, {"authorization_endpoint": "https://evil.example/x/oauth2/authorize"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_instance")


def test_msal_accepts_the_issuer_of_the_discovery_document(vendors: SandboxServer) -> None:
    entra = vendors.accounts.entra
    client = msal.ConfidentialClientApplication(
        entra.client_id,
        entra.client_secret,
        oidc_authority=f"https://login.microsoftonline.com/{entra.tenant_id}/v2.0",
    )
    assert "access_token" in client.acquire_token_for_client([SCOPE])


def test_msal_names_an_unknown_tenant_in_its_constructor(vendors: SandboxServer) -> None:
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        application(vendors, tenant=UNKNOWN_ID)


def test_an_unknown_tenant_is_aadsts90002(vendors: SandboxServer) -> None:
    url = f"https://login.microsoftonline.com/{UNKNOWN_ID}/v2.0/.well-known/openid-configuration"
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (
        400,
        "invalid_tenant",
        [90002],
    )


def test_msal_reports_a_wrong_secret(vendors: SandboxServer) -> None:
    answer = application(vendors, secret="wrong").acquire_token_for_client([SCOPE])
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])


def test_msal_reports_an_unknown_client(vendors: SandboxServer) -> None:
    answer = application(vendors, client=UNKNOWN_ID).acquire_token_for_client([SCOPE])
    assert (answer["error"], answer["error_codes"]) == ("unauthorized_client", [700016])


def test_msal_reports_an_expired_secret(vendors: SandboxServer) -> None:
    vendors.settings("entra_id", secret_expired=True)
    answer = application(vendors).acquire_token_for_client([SCOPE])
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000222])


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000218),
        ({"client_id": UNKNOWN_ID}, 400, "unauthorized_client", 700016),
        ({"grant_type": None}, 400, "invalid_request", 900144),
        ({"client_id": None}, 400, "invalid_request", 900144),
        ({"scope": None}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "https://analysis.windows.net/powerbi/api/Dataset.Read.All"}, 400, "invalid_scope", 70011),
        ({"scope": f"{SCOPE} {SCOPE}"}, 400, "invalid_scope", 70011),
        ({"scope": "https://nobody.example/.default"}, 400, "invalid_resource", 500011),
    ],
)
def test_a_wrong_token_request_is_refused_with_its_code(
    vendors: SandboxServer, changes: dict[str, str | None], status: int, error: str, code: int
) -> None:
    answer = post_token(vendors, **changes)
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert body["error_uri"] == f"https://login.microsoftonline.com/error?code={code}"
    assert uuid.UUID(body["trace_id"])
    assert uuid.UUID(body["correlation_id"])
    assert body["timestamp"].endswith("Z")


def test_a_refusal_never_repeats_the_secret(vendors: SandboxServer) -> None:
    assert "canary-secret" not in post_token(vendors, client_secret="canary-secret").text


def test_a_token_ends_when_the_sandbox_clock_passes_its_lifetime(vendors: SandboxServer) -> None:
    vendors.settings("entra_id", expires_in_s=600)
    body = post_token(vendors).json()
    vendors.clock.advance(599)
    before = vendors.tokens.check("entra", body["access_token"])
    vendors.clock.advance(2)
    after = vendors.tokens.check("entra", body["access_token"])
    assert (body["expires_in"], before, after) == (600, vendors.accounts.entra.client_id, None)


def test_an_added_application_and_a_rotated_secret_work_and_revoked_ones_do_not(vendors: SandboxServer) -> None:
    base = f"{vendors.admin_url}/entra_id/applications"
    made = requests.post(base, timeout=10).json()
    rotated = requests.post(f"{base}/{made['client_id']}/secrets", json={"expires_in_s": 60}, timeout=10).json()

    def status(secret: str) -> int:
        return post_token(vendors, client_id=made["client_id"], client_secret=secret).status_code

    both = status(made["client_secret"]), status(rotated["client_secret"])
    vendors.clock.advance(61)
    later = status(made["client_secret"]), status(rotated["client_secret"])
    requests.delete(f"{base}/{made['client_id']}/secrets", timeout=10)
    assert (both, later, status(made["client_secret"])) == ((200, 200), (200, 401), 401)
