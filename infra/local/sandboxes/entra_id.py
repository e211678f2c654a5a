"""Sandbox of Microsoft Entra ID: discovery, and tokens by client credentials with a client secret.

Error bodies or texts as in public threads (each code is followed by where it was read):
90002 Azure/azure-cli#22145 · 700016 12Knocksinna/Office365itpros#23 · 7000215 Azure/sap-automation#418 ·
7000222 liprec/vsts-release-aas#119 · 7000218 Azure-Samples/ms-identity-javascript-v2#18 · 900144 n8n-io/n8n#33881 ·
70011 MicrosoftDocs/azure-docs#36432. Unverified: the codes 70003, 500011 and 50049, and the status of 700016 (400).
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from infra.local.accounts import Accounts, random_entra_secret

from ._base import Request, Response, Sandbox, SandboxContext, VendorError, route

HOST = "login.microsoftonline.com"
ALIASES = [HOST, "login.windows.net", "login.microsoft.com", "sts.windows.net"]
RESOURCES = frozenset(
    {"https://analysis.windows.net/powerbi/api", "https://api.fabric.microsoft.com", "https://storage.azure.com"}
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS applications (client_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS secrets (
    client_id TEXT NOT NULL REFERENCES applications, digest TEXT NOT NULL, expires_at REAL,
    PRIMARY KEY (client_id, digest)
);
"""


class EntraIdSandbox(Sandbox):
    """One tenant with app registrations. Tokens are the book's "entra"; their subject is the client id."""

    name = "entra_id"
    hosts = (HOST,)
    default_settings: ClassVar[Mapping[str, Any]] = {"expires_in_s": 3599, "secret_expired": False}

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self._tenant = context.accounts.entra.tenant_id
        self.db.executescript(_SCHEMA)

    def seed(self, accounts: Accounts) -> None:
        """Register the demo application unless it is there: what a test did to its secrets stays."""
        entra = accounts.entra
        if not self._is_registered(entra.client_id):
            self._register(entra.client_id, entra.client_secret)

    def admin(self, request: Request, path: str) -> Response | None:
        """POST `applications`; POST and DELETE `applications/<client_id>/secrets`."""
        parts = path.split("/")
        if (request.method, path) == ("POST", "applications"):
            client_id, secret = str(uuid.uuid4()), random_entra_secret()
            self._register(client_id, secret)
            return Response(201, {"tenant_id": self._tenant, "client_id": client_id, "client_secret": secret})
        if len(parts) == 3 and parts[0] == "applications" and parts[2] == "secrets":
            return self._change_secrets(request, parts[1])
        return None

    def not_imitated(self, route: str) -> Response:
        """A 501 in the form of OAuth errors."""
        return Response(501, {"error": "not_imitated", "error_description": f"not imitated: {route}", "route": route})

    def bad_request(self, message: str) -> Response:
        """AADSTS900144 with `invalid_request`, which is what a token request without readable fields gets."""
        del message
        return self._error(400, "invalid_request", 900144, _missing("grant_type"))

    @route("GET", "/common/discovery/instance")
    def discover_instance(self, request: Request) -> Response:
        """Say which hosts are this cloud's."""
        endpoint = urlsplit(request.query.get("authorization_endpoint", ""))
        if endpoint.hostname not in ALIASES:
            return self._error(400, "invalid_instance", 50049, "Unknown or invalid instance.")
        tenant = endpoint.path.strip("/").partition("/")[0] or "common"
        metadata = {"preferred_network": HOST, "preferred_cache": "login.windows.net", "aliases": ALIASES}
        return Response(
            200,
            {
                "tenant_discovery_endpoint": f"https://{HOST}/{tenant}/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [metadata],
            },
        )

    @route("GET", "/<tenant>/v2.0/.well-known/openid-configuration")
    def openid_configuration(self, request: Request, tenant: str) -> Response:
        """The tenant's endpoints."""
        del request
        self._check_tenant(tenant, "invalid_tenant")
        base = f"https://{HOST}/{self._tenant}"
        return Response(
            200,
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "tenant_region_scope": "EU",
                "cloud_instance_name": "microsoftonline.com",
                "cloud_graph_host_name": "graph.windows.net",
                "msgraph_host": "graph.microsoft.com",
                "rbac_url": "https://pas.windows.net",
            },
        )

    @route("POST", "/<tenant>/oauth2/v2.0/token")
    def token(self, request: Request, tenant: str) -> Response:
        """Issue a token for one resource's `/.default` scope."""
        form = request.form()
        for name in ("grant_type", "client_id", "scope"):
            if not form.get(name):
                return self._error(400, "invalid_request", 900144, _missing(name))
        if form["grant_type"] != "client_credentials":
            text = f"The app requested an unsupported grant type '{form['grant_type']}'."
            return self._error(400, "unsupported_grant_type", 70003, text)
        if "client_assertion" in form:
            return Response(501, {"error": "not imitated", "route": f"POST {request.path} with client_assertion"})
        self._check_tenant(tenant, "invalid_request")
        self._check_client(form["client_id"], form.get("client_secret", ""))
        self._check_scope(form["scope"])
        lifetime_s = int(self.settings["expires_in_s"])
        token = self.context.tokens.issue("entra", form["client_id"], form["scope"], lifetime_s)
        body = {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token}
        return Response(200, body, self._headers())

    def _check_tenant(self, tenant: str, error: str) -> None:
        if tenant.lower() != self._tenant:
            text = (
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
                "the correct cloud. Check with your subscription administrator, this may happen if there are no "
                "active subscriptions for the tenant."
            )
            raise VendorError(self._error(400, error, 90002, text))

    def _check_client(self, client_id: str, secret: str) -> None:
        if not self._is_registered(client_id):
            text = (
                f"Application with identifier '{client_id}' was not found in the directory '{self._tenant}'. This can "
                "happen if the application has not been installed by the administrator of the tenant or consented to "
                "by any user in the tenant. You may have sent your authentication request to the wrong tenant."
            )
            raise VendorError(self._error(400, "unauthorized_client", 700016, text))
        if not secret:
            text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise VendorError(self._error(401, "invalid_client", 7000218, text))
        with self.lock:
            rows = self.db.execute(
                "SELECT digest, expires_at FROM secrets WHERE client_id = ?", (client_id,)
            ).fetchall()
        found = next((row for row in rows if hmac.compare_digest(row["digest"], _digest(secret))), None)
        if found is None:
            text = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{client_id}'."
            )
            raise VendorError(self._error(401, "invalid_client", 7000215, text))
        ended = found["expires_at"] is not None and found["expires_at"] <= self.clock.time()
        if ended or self.settings["secret_expired"]:
            text = (
                f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create "
                "new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for "
                "added security: https://aka.ms/certCreds."
            )
            raise VendorError(self._error(401, "invalid_client", 7000222, text))

    def _check_scope(self, scope: str) -> None:
        resource, default, rest = scope.partition("/.default")
        if not default or rest or not resource or " " in scope:
            text = (
                "The provided request must include a 'scope' input parameter. The provided value for the input "
                f"parameter 'scope' is not valid. The scope {scope} is not valid."
            )
            raise VendorError(self._error(400, "invalid_scope", 70011, text))
        if resource.rstrip("/") not in RESOURCES:
            text = f"The resource principal named {resource} was not found in the tenant named {self._tenant}."
            raise VendorError(self._error(400, "invalid_resource", 500011, text))

    def _error(self, status: int, error: str, code: int, text: str) -> Response:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        timestamp = self.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        details = f"\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}"
        body = {
            "error": error,
            "error_description": f"AADSTS{code}: {text}{details}",
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://{HOST}/error?code={code}",
        }
        return Response(status, body, self._headers())

    @staticmethod
    def _headers() -> dict[str, str]:
        return {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "x-ms-request-id": str(uuid.uuid4())}

    def _is_registered(self, client_id: str) -> bool:
        with self.lock:
            found = self.db.execute("SELECT 1 FROM applications WHERE client_id = ?", (client_id,)).fetchone()
        return found is not None

    def _register(self, client_id: str, secret: str) -> None:
        with self.transaction() as db:
            db.execute("INSERT INTO applications VALUES (?)", (client_id,))
            db.execute("INSERT INTO secrets VALUES (?, ?, NULL)", (client_id, _digest(secret)))

    def _change_secrets(self, request: Request, client_id: str) -> Response | None:
        if not self._is_registered(client_id):
            return Response(404, {"error": f"no application {client_id}"})
        if request.method == "DELETE":
            with self.transaction() as db:
                db.execute("DELETE FROM secrets WHERE client_id = ?", (client_id,))
            return Response(204)
        if request.method != "POST":
            return None
        lifetime_s = request.json().get("expires_in_s") if request.body else None
        expires_at = None if lifetime_s is None else self.clock.time() + float(lifetime_s)
        secret = random_entra_secret()
        with self.transaction() as db:
            db.execute("INSERT INTO secrets VALUES (?, ?, ?)", (client_id, _digest(secret), expires_at))
        return Response(201, {"client_id": client_id, "client_secret": secret})


def _missing(name: str) -> str:
    return f"The request body must contain the following parameter: '{name}'."


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
