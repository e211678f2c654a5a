"""The tokens of the local cloud against Google's own verifier and PyJWT."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from google.auth import exceptions
from google.oauth2 import id_token

from infra.local.emulators.identity import TokenSigner

AUDIENCE = "http://127.0.0.1:8004/internal/run"
EMAIL = "bi-tasks@local-project.iam.gserviceaccount.com"


class _Answer:
    status = 200

    def __init__(self, body: Any) -> None:
        self.data = json.dumps(body).encode()
        self.headers = {"content-type": "application/json"}


@pytest.fixture
def signer(tmp_path: Path) -> TokenSigner:
    return TokenSigner(tmp_path / "identity" / "oidc_key.pem")


def fetching(signer: TokenSigner, asked: list[str] | None = None) -> Any:
    """The transport that google-auth calls for the certificates."""

    def request(url: str, method: str = "GET", **kwargs: Any) -> _Answer:
        if asked is not None:
            asked.append(url)
        return _Answer(signer.certificates())

    return request


def test_googles_verifier_accepts_a_token_with_our_certificates(signer: TokenSigner) -> None:
    asked: list[str] = []
    token = signer.id_token(AUDIENCE, EMAIL, datetime.now(UTC))
    claims = id_token.verify_oauth2_token(token, fetching(signer, asked), audience=AUDIENCE)
    assert claims["email"] == EMAIL
    assert claims["email_verified"] is True
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["exp"] - claims["iat"] == 3600
    assert asked == ["https://www.googleapis.com/oauth2/v1/certs"]


def test_verify_token_works_as_well(signer: TokenSigner) -> None:
    token = signer.id_token(AUDIENCE, EMAIL, datetime.now(UTC))
    assert id_token.verify_token(token, fetching(signer), audience=AUDIENCE)["aud"] == AUDIENCE


def test_another_audience_is_refused(signer: TokenSigner) -> None:
    token = signer.id_token("http://127.0.0.1:1/other", EMAIL, datetime.now(UTC))
    with pytest.raises((ValueError, exceptions.GoogleAuthError)):
        id_token.verify_oauth2_token(token, fetching(signer), audience=AUDIENCE)


def test_an_expired_token_is_refused(signer: TokenSigner) -> None:
    token = signer.id_token(AUDIENCE, EMAIL, datetime.now(UTC) - timedelta(hours=2))
    with pytest.raises((ValueError, exceptions.GoogleAuthError)):
        id_token.verify_oauth2_token(token, fetching(signer), audience=AUDIENCE)


def test_a_token_of_another_key_is_refused(signer: TokenSigner, tmp_path: Path) -> None:
    stranger = TokenSigner(tmp_path / "other.pem")
    token = stranger.id_token(AUDIENCE, EMAIL, datetime.now(UTC))
    with pytest.raises((ValueError, exceptions.GoogleAuthError)):
        id_token.verify_oauth2_token(token, fetching(signer), audience=AUDIENCE)


def test_the_key_set_verifies_a_token_too(signer: TokenSigner) -> None:
    token = signer.id_token(AUDIENCE, EMAIL, datetime.now(UTC))
    key = jwt.PyJWKSet.from_dict(signer.jwks())[signer.kid]
    assert jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE)["email"] == EMAIL


def test_a_second_process_signs_with_the_same_key(signer: TokenSigner, tmp_path: Path) -> None:
    again = TokenSigner(tmp_path / "identity" / "oidc_key.pem")
    assert again.kid == signer.kid
    token = again.id_token(AUDIENCE, EMAIL, datetime.now(UTC))
    assert id_token.verify_oauth2_token(token, fetching(signer), audience=AUDIENCE)["email"] == EMAIL


def test_the_key_file_is_readable_by_its_owner_only(signer: TokenSigner, tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    assert stat.S_IMODE((folder / "oidc_key.pem").stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == ["oidc_key.pem"]
