"""The Google token sandbox, driven by google-auth as it is and by forged assertions."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import google.auth.exceptions
import google.auth.jwt
import google.auth.transport.requests
import jwt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth import crypt
from google.oauth2 import id_token, service_account

from infra.local.accounts import service_account_key
from infra.local.emulators.identity import TokenSigner
from infra.local.sandboxes.server import SandboxServer
from shared.errors import CredentialError, UnsupportedError
from shared.ports import ObjectInfo
from shared.stores.cloud_storage import CloudStorageObjects, own_identity

SHEETS = "https://www.googleapis.com/auth/spreadsheets"
TOKEN_URL = "https://oauth2.googleapis.com/token"
TIMEFRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)


def refreshed(key: dict[str, str], scopes: list[str] | None = None) -> service_account.Credentials:
    credentials = service_account.Credentials.from_service_account_info(key, scopes=scopes or [SHEETS])
    credentials.refresh(google.auth.transport.requests.Request())
    return credentials


def assertion(key: dict[str, str], **changes: Any) -> bytes:
    now = int(time.time())
    claims = {"iss": key["client_email"], "aud": TOKEN_URL, "scope": SHEETS, "iat": now, "exp": now + 3600, **changes}
    signer = crypt.RSASigner.from_service_account_info(key)
    return google.auth.jwt.encode(signer, {name: value for name, value in claims.items() if value is not None})


def exchange(token: bytes | str, grant_type: str = "urn:ietf:params:oauth:grant-type:jwt-bearer") -> tuple[int, Any]:
    answer = requests.post(TOKEN_URL, data={"grant_type": grant_type, "assertion": token}, timeout=10)
    return answer.status_code, answer.json()


def test_google_auth_refreshes_into_a_token_that_the_book_knows(vendors: SandboxServer) -> None:
    key = vendors.accounts.google.service_account_key
    credentials = refreshed(key)
    grant = vendors.tokens.grant("google", credentials.token)
    assert credentials.valid
    assert grant is not None
    assert (grant.subject, grant.scope) == (key["client_email"], SHEETS)


def test_a_token_holds_every_requested_scope(vendors: SandboxServer) -> None:
    drive = "https://www.googleapis.com/auth/drive"
    grant = vendors.tokens.grant(
        "google", refreshed(vendors.accounts.google.service_account_key, [SHEETS, drive]).token
    )
    assert grant is not None
    assert (grant.has_scope(drive), grant.has_scope(f"{drive}.readonly")) == (True, False)


def test_google_auth_reports_a_foreign_private_key(vendors: SandboxServer) -> None:
    mine = vendors.accounts.google.service_account_key
    foreign = service_account_key(mine["client_email"], "local-project")
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant: Invalid JWT Signature"):
        refreshed({**foreign, "private_key_id": mine["private_key_id"]})


def test_a_known_key_under_another_key_id_is_refused(vendors: SandboxServer) -> None:
    key = {**vendors.accounts.google.service_account_key, "private_key_id": "0" * 40}
    with pytest.raises(google.auth.exceptions.RefreshError, match="Invalid JWT Signature"):
        refreshed(key)


def test_google_auth_reports_an_unknown_account(vendors: SandboxServer) -> None:
    stranger = service_account_key("nobody@local-project.iam.gserviceaccount.com", "local-project")
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant: Invalid grant: account not found"):
        refreshed(stranger)


def test_google_auth_retries_the_token_endpoint_after_a_503(vendors: SandboxServer) -> None:
    vendors.fault(
        vendor="google_identity", path="^/token$", kind="status", status=503, body={"error": "internal_failure"}
    )
    assert refreshed(vendors.accounts.google.service_account_key).token


@pytest.mark.parametrize(
    ("changes", "status", "error", "description"),
    [
        ({"iat": 1_000_000_000, "exp": 1_000_003_600}, 400, "invalid_grant", TIMEFRAME),
        ({"iat": 4_000_000_000, "exp": 4_000_003_600}, 400, "invalid_grant", TIMEFRAME),
        ({"exp": 4_000_000_000}, 400, "invalid_grant", TIMEFRAME),
        ({"exp": None}, 400, "invalid_grant", TIMEFRAME),
        ({"iat": "now"}, 400, "invalid_grant", TIMEFRAME),
        (
            {"aud": "https://evil.example/token"},
            400,
            "invalid_grant",
            "Invalid JWT: Failed audience check. The right audience is https://oauth2.googleapis.com/token",
        ),
        ({"scope": None}, 400, "invalid_scope", "Invalid OAuth scope or ID token audience provided."),
        ({"scope": "sheets"}, 400, "invalid_scope", "Invalid OAuth scope or ID token audience provided."),
    ],
)
def test_a_wrong_assertion_is_refused(
    vendors: SandboxServer, changes: dict[str, Any], status: int, error: str, description: str
) -> None:
    token = assertion(vendors.accounts.google.service_account_key, **changes)
    assert exchange(token) == (status, {"error": error, "error_description": description})


def test_acting_for_a_user_is_refused(vendors: SandboxServer) -> None:
    token = assertion(vendors.accounts.google.service_account_key, sub="boss@example.com")
    status, body = exchange(token)
    assert (status, body["error"]) == (401, "unauthorized_client")


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30", "!!.!!.!!", "W10.W10.W10"])
def test_garbage_is_refused(vendors: SandboxServer, token: str) -> None:
    status, body = exchange(token)
    assert (status, body["error"]) == (400, "invalid_grant")


def test_an_unsigned_or_symmetric_assertion_is_refused(vendors: SandboxServer) -> None:
    now = int(time.time())
    email = vendors.accounts.google.service_account_key["client_email"]
    claims = {"iss": email, "aud": TOKEN_URL, "scope": SHEETS, "iat": now, "exp": now + 60}
    unsigned = jwt.encode(claims, None, algorithm="none")
    symmetric = jwt.encode(claims, "k" * 32, algorithm="HS256")
    assert [exchange(token)[0] for token in (unsigned, symmetric)] == [400, 400]


def test_another_grant_type_is_refused(vendors: SandboxServer) -> None:
    assert exchange("x", "password")[1]["error"] == "unsupported_grant_type"


def test_a_moved_sandbox_clock_ends_tokens_but_refuses_no_assertion(vendors: SandboxServer) -> None:
    key = vendors.accounts.google.service_account_key
    old = refreshed(key).token
    vendors.clock.advance(7200)
    assert vendors.tokens.check("google", old) is None
    assert vendors.tokens.check("google", refreshed(key).token) == key["client_email"]


def test_an_added_service_account_works_until_it_is_removed(vendors: SandboxServer) -> None:
    base = f"{vendors.admin_url}/google_identity/service_accounts"
    key = requests.post(base, json={"email": "two@local-project.iam.gserviceaccount.com"}, timeout=10).json()
    assert refreshed(key).token
    requests.delete(f"{base}/{key['client_email']}", timeout=10)
    with pytest.raises(google.auth.exceptions.RefreshError, match="account not found"):
        refreshed(key)


def test_verify_oauth2_token_accepts_what_the_emulators_sign(vendors: SandboxServer) -> None:
    signer = TokenSigner(vendors.data / "identity" / "oidc_key.pem")
    token = signer.id_token(
        "https://refresh.example", "bi-tasks@local-project.iam.gserviceaccount.com", datetime.now(UTC)
    )
    claims = id_token.verify_oauth2_token(token, google.auth.transport.requests.Request(), "https://refresh.example")
    assert claims["email"] == "bi-tasks@local-project.iam.gserviceaccount.com"


def test_verify_oauth2_token_refuses_another_signer_and_another_audience(
    vendors: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    foreign = TokenSigner(tmp_path_factory.mktemp("foreign") / "key.pem")
    own = TokenSigner(vendors.data / "identity" / "oidc_key.pem")
    request = google.auth.transport.requests.Request()
    for signer, audience in ((foreign, "https://a.example"), (own, "https://b.example")):
        token = signer.id_token(audience, "x@local-project.iam.gserviceaccount.com", datetime.now(UTC))
        with pytest.raises((ValueError, google.auth.exceptions.GoogleAuthError)):
            id_token.verify_oauth2_token(token, request, "https://a.example")


def test_the_key_set_verifies_the_same_token(vendors: SandboxServer) -> None:
    signer = TokenSigner(vendors.data / "identity" / "oidc_key.pem")
    token = signer.id_token("https://a.example", "x@local-project.iam.gserviceaccount.com", datetime.now(UTC))
    keys = jwt.PyJWKSet.from_dict(requests.get("https://www.googleapis.com/oauth2/v3/certs", timeout=10).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["RS256"], audience="https://a.example")["iss"] == "https://accounts.google.com"


SIGNING = "https://www.googleapis.com/auth/iam"
SIGN_URL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:signBlob"


def signing_key(vendors: SandboxServer) -> TokenSigner:
    return TokenSigner(vendors.data / "identity" / "oidc_key.pem")


def test_a_signed_url_of_ours_holds_to_google_s_rules_for_version_4(
    vendors: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken apart and computed again as cloud.google.com/storage/docs/access-control/signing-urls-manually says."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
    key = vendors.accounts.google.service_account_key
    objects = CloudStorageObjects("local-project", lambda: (key["client_email"], refreshed(key, [SIGNING]).token))
    info = ObjectInfo("exports", "people/a b.csv", 7, 10)
    url = urlsplit(objects.signed_url(info, "a.csv", timedelta(minutes=10)))
    query = dict(parse_qsl(url.query))
    assert (url.scheme, url.netloc, url.path) == ("https", "storage.googleapis.com", "/exports/people/a%20b.csv")
    assert (query["X-Goog-Expires"], query["generation"]) == ("600", "7")
    assert query["response-content-disposition"] == 'attachment; filename="a.csv"'
    account, scope = query["X-Goog-Credential"].split("/", 1)
    assert (account, scope) == (key["client_email"], f"{query['X-Goog-Date'][:8]}/auto/storage/goog4_request")
    signature = bytes.fromhex(query.pop("X-Goog-Signature"))
    asked = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
    request = f"GET\n{url.path}\n{asked}\nhost:{url.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = f"GOOG4-RSA-SHA256\n{query['X-Goog-Date']}\n{scope}\n{digest}"
    [certificate] = signing_key(vendors).certificates().values()
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, to_sign.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_iam_signs_for_the_account_that_calls_and_for_no_other(vendors: SandboxServer) -> None:
    key = vendors.accounts.google.service_account_key
    own = SIGN_URL.format(key["client_email"])
    payload = {"payload": base64.b64encode(b"x").decode()}

    def sign(url: str, body: dict[str, str], scope: str = SIGNING) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {refreshed(key, [scope]).token}"}
        answer = requests.post(url, json=body, headers=headers, timeout=10)
        return answer.status_code, answer.json()

    assert sign(own, payload)[1].keys() == {"keyId", "signedBlob"}
    assert sign(SIGN_URL.format("other@local-project.iam.gserviceaccount.com"), payload)[0] == 403
    assert sign(own, payload, SHEETS)[1]["error"]["status"] == "PERMISSION_DENIED"
    assert sign(own, {"payload": "?"})[0] == 400
    assert sign(own, {**payload, "bytesToSign": "eA=="})[0] == 400
    assert requests.post(own, json=payload, timeout=10).status_code == 401


def test_a_refusal_of_iam_says_which_grant_is_missing(vendors: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
    token = refreshed(vendors.accounts.google.service_account_key, [SIGNING]).token
    objects = CloudStorageObjects("local-project", lambda: ("other@local-project.iam.gserviceaccount.com", token))
    with pytest.raises(CredentialError, match=r"iam\.serviceAccounts\.signBlob on itself") as refused:
        objects.signed_url(ObjectInfo("exports", "a.csv", 7, 10), "a.csv", timedelta(minutes=10))
    assert refused.value.code == "signing_refused"


def test_a_function_that_runs_as_a_service_account_signs_as_that(
    vendors: SandboxServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = vendors.accounts.google.service_account_key
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    email, token = own_identity()
    grant = vendors.tokens.grant("google", token)
    assert grant is not None
    assert (email, grant.scope) == (key["client_email"], SIGNING)


def test_a_person_s_own_credentials_sign_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    (tmp_path / "person.json").write_text(json.dumps(person))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "person.json"))
    with pytest.raises((UnsupportedError, CredentialError)):
        CloudStorageObjects("local-project", own_identity).signed_url(
            ObjectInfo("exports", "a.csv", 7, 10), "a.csv", timedelta(minutes=10)
        )
