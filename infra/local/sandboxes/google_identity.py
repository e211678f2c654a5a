"""Sandbox of Google's token endpoint for service accounts, of the certificates that identity tokens verify with, and of IAM's
`signBlob`, which signs with one key for every account.

Error texts as in public threads: signature googleapis/google-cloud-python#10004 · account google/oculi#5 ·
timeframe SteveWinward/GoogleSheetsWrapper#42 · audience requests/requests-oauthlib#247. The codes `invalid_scope`,
`unauthorized_client`, `unsupported_grant_type` and the texts with them are unverified. signBlob:
docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob; its error texts are unverified.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from infra.local.accounts import Accounts, service_account_key
from infra.local.emulators.identity import TokenSigner

from ._base import Request, Response, Sandbox, SandboxContext, VendorError, route

AUDIENCE = "https://oauth2.googleapis.com/token"  # google-auth signs for this one whatever the key's token_uri says
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SIGNING_SCOPES = ("https://www.googleapis.com/auth/iam", "https://www.googleapis.com/auth/cloud-platform")
MAX_LIFETIME_S = 3600
CLOCK_SKEW_S = 300  # our choice: Google only says "a reasonable timeframe"
_TIMEFRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)
_UNAUTHORIZED = (
    "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the "
    "scopes requested."
)
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (email TEXT, kid TEXT, public_key TEXT NOT NULL, PRIMARY KEY (email, kid))"


class GoogleIdentitySandbox(Sandbox):
    """Exchanges signed assertions of known service accounts for the book's "google" tokens; subject is the email.

    An assertion's times are checked on the real clock, where its client lives; tokens expire on the sandbox clock.
    """

    name = "google_identity"
    hosts = ("oauth2.googleapis.com", "www.googleapis.com", "iamcredentials.googleapis.com")
    default_settings: ClassVar[Mapping[str, Any]] = {"expires_in_s": 3599}

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self._signer = TokenSigner(context.data / "identity" / "oidc_key.pem")
        self.db.execute(_SCHEMA)

    def seed(self, accounts: Accounts) -> None:
        """Know the demo service account's key."""
        self._register(accounts.google.service_account_key)

    def admin(self, request: Request, path: str) -> Response | None:
        """POST `service_accounts` (body `{"email"?}`), DELETE `service_accounts/<email>`."""
        kind, _, email = path.partition("/")
        if kind != "service_accounts":
            return None
        if request.method == "POST" and not email:
            with self.lock:
                count = self.db.execute("SELECT count(*) FROM keys").fetchone()[0]
            asked = request.json().get("email") if request.body else None
            key = service_account_key(
                asked or f"stranger-{count}@local-project.iam.gserviceaccount.com", "local-project"
            )
            self._register(key)
            return Response(201, key)
        if request.method == "DELETE" and email:
            with self.transaction() as db:
                removed = db.execute("DELETE FROM keys WHERE email = ?", (email,)).rowcount
            return Response(204) if removed else Response(404, {"error": f"no service account {email}"})
        return None

    def not_imitated(self, route: str) -> Response:
        """A 501 in Google's form, which its clients read."""
        message = f"not imitated by this sandbox: {route}"
        return Response(501, {"error": {"code": 501, "message": message, "status": "UNIMPLEMENTED"}, "route": route})

    def bad_request(self, message: str) -> Response:
        """`invalid_request`."""
        return _error("invalid_request", f"Could not parse the request: {message}")

    @route("GET", "/oauth2/v1/certs")
    def certificates(self, request: Request) -> Response:
        """X.509 certificates by key id."""
        del request
        return Response(200, self._signer.certificates(), {"Cache-Control": "public, max-age=21600, must-revalidate"})

    @route("GET", "/oauth2/v3/certs")
    def jwks(self, request: Request) -> Response:
        """The same keys as a JSON Web Key set."""
        del request
        return Response(200, self._signer.jwks(), {"Cache-Control": "public, max-age=21600, must-revalidate"})

    @route("POST", "/token")
    def token(self, request: Request) -> Response:
        """Exchange an assertion for an access token."""
        form = request.form()
        grant_type = form.get("grant_type")
        if not grant_type:
            return _error("invalid_request", "Required parameter is missing: grant_type")
        if grant_type != GRANT_TYPE:
            return _error("unsupported_grant_type", f"Invalid grant_type: {grant_type}")
        if not form.get("assertion"):
            return _error("invalid_request", "Required parameter is missing: assertion")
        claims = self._verified_claims(form["assertion"])
        _check_times(claims, self.clock.real_time())
        if claims.get("aud") != AUDIENCE:
            return _error("invalid_grant", f"Invalid JWT: Failed audience check. The right audience is {AUDIENCE}")
        if claims.get("sub", claims["iss"]) != claims["iss"]:
            return _error("unauthorized_client", _UNAUTHORIZED, status=401)
        if "target_audience" in claims:
            return Response(501, {"error": "not imitated", "route": f"POST {request.path} with target_audience"})
        scope = claims.get("scope")
        if not isinstance(scope, str) or not scope.strip() or not _are_scopes(scope):
            return _error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        lifetime_s = int(self.settings["expires_in_s"])
        token = self.context.tokens.issue("google", claims["iss"], scope, lifetime_s)
        return Response(200, {"access_token": token, "expires_in": lifetime_s, "token_type": "Bearer"})

    @route("POST", "/v1/projects/-/serviceAccounts/<email>:signBlob")
    def sign_blob(self, request: Request, email: str) -> Response:
        """Sign bytes for the account that calls; for another it would need a grant on that one, which nobody has here."""
        grant = self.context.tokens.grant("google", request.bearer)
        if grant is None:
            return _status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not grant.has_scope(*SIGNING_SCOPES):
            return _status(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        if grant.subject != email:
            what = f"Permission 'iam.serviceAccounts.signBlob' denied on resource 'projects/-/serviceAccounts/{email}'"
            return _status(403, "PERMISSION_DENIED", f"{what} (or it may not exist).")
        body = request.json()
        if unknown := sorted(set(body) - {"payload", "delegates"}):
            return _status(400, "INVALID_ARGUMENT", f'Invalid JSON payload received. Unknown name "{unknown[0]}"')
        try:
            payload = base64.b64decode(body.get("payload") or "", validate=True)
        except (binascii.Error, TypeError):
            payload = b""
        if not payload:
            return _status(400, "INVALID_ARGUMENT", "The payload is required, in Base64.")
        signed = base64.b64encode(self._signer.signature(payload)).decode()
        return Response(200, {"keyId": self._signer.kid, "signedBlob": signed})

    def _verified_claims(self, assertion: str) -> dict[str, Any]:
        try:
            signed, _, signature = assertion.rpartition(".")
            raw_header, raw_claims = signed.split(".")
            header, claims = json.loads(_decode(raw_header)), json.loads(_decode(raw_claims))
            email, kid = claims["iss"], header.get("kid")
            if header["alg"] != "RS256" or not isinstance(email, str):
                raise ValueError("not an RS256 token of a service account")
            raw_signature = _decode(signature)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise VendorError(_error("invalid_grant", "Invalid JWT: Could not parse the assertion.")) from exc
        with self.lock:
            rows = self.db.execute("SELECT kid, public_key FROM keys WHERE email = ?", (email,)).fetchall()
        if not rows:
            raise VendorError(_error("invalid_grant", "Invalid grant: account not found"))
        keys = [row["public_key"] for row in rows if kid is None or row["kid"] == kid]
        if not any(_verifies(key, raw_signature, signed.encode()) for key in keys):
            raise VendorError(_error("invalid_grant", "Invalid JWT Signature."))
        return dict(claims)

    def _register(self, key: Mapping[str, str]) -> None:
        private = serialization.load_pem_private_key(key["private_key"].encode(), password=None)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        row = (key["client_email"], key["private_key_id"], public.decode())
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", row)


def _status(code: int, status: str, message: str) -> Response:
    return Response(code, {"error": {"code": code, "message": message, "status": status}})


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if isinstance(issued, int | float) and isinstance(expires, int | float):
        is_short = 0 < expires - issued <= MAX_LIFETIME_S
        if is_short and issued - CLOCK_SKEW_S <= now <= expires + CLOCK_SKEW_S:
            return
    raise VendorError(_error("invalid_grant", _TIMEFRAME))


def _are_scopes(scope: str) -> bool:
    return all(part.startswith("https://") or part in {"openid", "email", "profile"} for part in scope.split())


def _verifies(public_key: str, signature: bytes, signed: bytes) -> bool:
    key = serialization.load_pem_public_key(public_key.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc


def _error(error: str, description: str, status: int = 400) -> Response:
    return Response(status, {"error": error, "error_description": description})
