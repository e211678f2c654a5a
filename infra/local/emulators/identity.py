"""OIDC identity tokens as Google's: signed with one RSA key that the local cloud makes for itself.

Two processes read the same file, `DIR/identity/oidc_key.pem`: the emulators sign the tokens of Cloud Tasks and Cloud
Scheduler with it, and the sandboxes serve `certificates()` at `https://www.googleapis.com/oauth2/v1/certs` and `jwks()`
at `/oauth2/v3/certs`. So `google.oauth2.id_token.verify_oauth2_token` runs unchanged. Whoever starts first makes the key.

Claims as in https://docs.cloud.google.com/docs/authentication/token-types#id; a token lives one hour.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://accounts.google.com"
LIFETIME_S = 3600
KEY_BITS = 2048
CERTIFICATE_FROM = datetime(2020, 1, 1, tzinfo=UTC)  # our choice: wide, so that a moved clock stays inside
CERTIFICATE_UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


class TokenSigner:
    """Signs identity tokens with the RSA key in `key_path`, which is made (mode 0600) when it is missing."""

    def __init__(self, key_path: Path) -> None:
        self._key = _load_or_make(key_path)
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.kid = hashlib.sha1(public, usedforsecurity=False).hexdigest()

    def id_token(self, audience: str, email: str, now: datetime) -> str:
        """A signed JWT for service account `email`, valid from `now` for one hour.

        Give the *real* time: the functions that check the token live on the real clock, not on the emulators'.
        """
        issued = int(now.timestamp())
        subject = str(int(hashlib.sha256(email.encode()).hexdigest(), 16))[:21]
        claims = {
            "aud": audience,
            "azp": subject,
            "email": email,
            "email_verified": True,
            "exp": issued + LIFETIME_S,
            "iat": issued,
            "iss": ISSUER,
            "sub": subject,
        }
        signed = f"{_part({'alg': 'RS256', 'kid': self.kid, 'typ': 'JWT'})}.{_part(claims)}"
        return f"{signed}.{_base64url(self.signature(signed.encode()))}"

    def signature(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 over SHA-256."""
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def certificates(self) -> dict[str, str]:
        """Key id to self-signed X.509 certificate in PEM: the body of `/oauth2/v1/certs`."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.system.gserviceaccount.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(CERTIFICATE_FROM)
            .not_valid_after(CERTIFICATE_UNTIL)
            .sign(self._key, hashes.SHA256())
        )
        return {self.kid: certificate.public_bytes(serialization.Encoding.PEM).decode()}

    def jwks(self) -> dict[str, Any]:
        """The same key as a JSON Web Key set: the body of `/oauth2/v3/certs`."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "alg": "RS256",
            "e": _base64url(_big_endian(numbers.e)),
            "kid": self.kid,
            "kty": "RSA",
            "n": _base64url(_big_endian(numbers.n)),
            "use": "sig",
        }
        return {"keys": [key]}


def _load_or_make(path: Path) -> rsa.RSAPrivateKey:
    if not path.exists():
        _make(path)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path} holds a key that is not RSA; delete it, a new one is made at the next start")
    return key


def _make(path: Path) -> None:
    """Write a new key whole or not at all; if another process was faster, leave its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # the other process's key is complete: linking is atomic
    finally:
        draft.unlink()


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
