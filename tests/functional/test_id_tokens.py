"""Google's ID tokens as they are verified on Google Cloud: signature, issuer, audience, times and e-mail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import flask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from werkzeug.test import create_environ

from shared.api.auth import GCLOUD_AUDIENCE, Authenticator
from shared.api.dispatch import Function
from shared.api.routes import ROUTES
from shared.bootstrap import Services
from shared.config import read_settings
from shared.errors import UnauthenticatedError
from tests.fakes.stores import InMemoryStores
from tests.functional.conftest import ENVIRONMENT

ROUTE = next(route for route in ROUTES if route.handler.endswith(":list_connectors"))


class _Signer:
    """A key of ours, and its certificate as Google would publish it."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._signer = crypt.RSASigner.from_string(pem, "k1")

    def __call__(self, **changes: Any) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": "https://accounts.google.com",
            "aud": "http://register",
            "email": "boss@example.org",
        }
        claims |= {"email_verified": True, "iat": now, "exp": now + 3600, **changes}
        token: bytes = jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]  # the library is half typed
        return token.decode()


@pytest.fixture(scope="module")
def signer() -> _Signer:
    return _Signer()


@pytest.fixture
def check(signer: _Signer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return what tells who a token is, with the certificates of `signer` at Google's address."""

    class Answer:
        status = 200
        data = json.dumps({"k1": signer.certificate}).encode()

    monkeypatch.setattr("google.auth.transport.requests.Request.__call__", lambda *_, **__: Answer())
    settings = read_settings({**ENVIRONMENT, "ENVIRONMENT": "production", "BI_ADMINS": "boss@example.org"})
    authenticator = Authenticator(settings, "http://register")
    return lambda token: authenticator.require(ROUTE, {"Authorization": f"Bearer {token}"}).email


def test_a_token_that_google_signed_for_this_function_is_taken(check: Callable[[str], str], signer: _Signer) -> None:
    assert check(signer()) == "boss@example.org"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "http://export"},
        {"aud": None},
        {"iss": "https://accounts.example.org"},
        {"exp": 1_700_000_000, "iat": 1_699_999_000},
        {"email_verified": False},
        {"email": None},
    ],
    ids=lambda changes: str(next(iter(changes))),
)
def test_a_token_for_another_or_of_another_is_refused(
    check: Callable[[str], str], signer: _Signer, changes: dict[str, Any]
) -> None:
    with pytest.raises(UnauthenticatedError):
        check(signer(**changes))


def test_a_persons_token_of_gcloud_is_taken(check: Callable[[str], str], signer: _Signer) -> None:
    assert check(signer(aud=GCLOUD_AUDIENCE)) == "boss@example.org"


def test_a_token_of_another_key_is_refused(check: Callable[[str], str]) -> None:
    with pytest.raises(UnauthenticatedError):
        check(_Signer()())


@pytest.mark.parametrize("name", ["register", "export", "export_worker", "refresh"])
def test_each_function_takes_tokens_for_its_own_url_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("google.oauth2.id_token.verify_token", lambda *_, audience, **__: asked.append(audience) or {})
    services = Services(
        read_settings({**ENVIRONMENT, "ENVIRONMENT": "production", "BI_ADMINS": "boss@example.org"}),
        InMemoryStores().stores(),
    )
    environ = create_environ("/ready", headers={"Authorization": "Bearer x"})
    assert Function(name, lambda: services)(flask.Request(environ)).status_code == 401
    own = {"export_worker": "http://worker"}
    assert asked == [[own.get(name, f"http://{name}"), GCLOUD_AUDIENCE]]
