"""What lies beyond the contracts: the entries of the closed list, the routes and the error bodies that contracts lack.

Written from the sources named here; nothing is copied from the contracts.
"""

from __future__ import annotations

from typing import Any

TEXT, WHOLE, TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
MOMENT, GUID = {"type": "string", "format": "date-time"}, {"type": "string", "format": "uuid"}

_EXAMPLES = "Microsoft's own examples (x-ms-examples) in microsoft/PowerBI-CSharp:sdk/swaggers/swagger.json"
_BLOG = "powerbi.microsoft.com/blog/newdatasets; DataBooster/PyWebApi:powerbi_push_datasets.py"
_PBIMONITOR = "RuiRomano/pbimonitor#58"
_COMMUNITY = "community.fabric.microsoft.com td-p/4399905"
_ASYNC = "MicrosoftDocs/powerbi-docs:asynchronous-refresh.md"
_REFRESH = "learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset"
_GOOGLE_ERRORS = (
    "googleapis/googleapis:google/rpc/code.proto, error_details.proto; bodies in Sage-Bionetworks/data_curator#110"
)
_PROTOJSON = "protobuf.dev/programming-guides/json (null is the default value); sent by gspread"
_METRICS = "google-auth:google/auth/metrics.py"
_BIGQUERY_CLIENT = (
    "googleapis/google-cloud-python:packages/google-cloud-bigquery/google/cloud/bigquery/client.py, _http.py"
)
_BIGQUERY_ERRORS = "docs.cloud.google.com/bigquery/docs/error-messages"
_MSAL = "msal:msal/application.py, msal/telemetry.py"

_GROUP = "/v1.0/myorg/groups/{groupId}"
_DATASET = f"{_GROUP}/datasets/{{datasetId}}"
_ROWS = f"{_DATASET}/tables/{{tableName}}/rows"
_SEQUENCE = f"{_DATASET}/tables/{{tableName}}/sequenceNumbers"
_REFRESHES = f"{_DATASET}/refreshes"
_BOOK = "/v4/spreadsheets/{spreadsheetId}"

# vendor, side, kind, operation, at, what, source, schema of the value
ENTRIES: list[tuple[Any, ...]] = [
    ("power_bi", "request", "route", f"GET {_SEQUENCE}", "", "the last sequence number of each client", _BLOG),
    ("power_bi", "request", "header", f"POST {_ROWS}", "x-powerbi-pushdata-sequencenumber",
     "makes a repeated POST of rows harmless", _BLOG, {"type": "string", "pattern": r"^[1-9]\d*$"}),
    ("power_bi", "request", "member", f"POST {_REFRESHES}", "timeout", "hh:mm:ss an attempt may take; newer than the contract",
     _REFRESH, {"type": "string", "pattern": r"^([01]?\d|2[0-3]):[0-5]\d:[0-5]\d$"}),
    ("power_bi", "request", "required", f"POST {_REFRESHES}", "notifyOption",
     "required by the schema, and must be excluded from an enhanced refresh by the text of the operation", _REFRESH),
    ("power_bi", "answer", "header", "*", "requestid", "id of the answer; of a standard refresh, its id in the history",
     f"{_PBIMONITOR}; apache/airflow hooks/powerbi.py", GUID),
    ("power_bi", "answer", "header", "*", "home-cluster-uri", "the cluster that answered", _PBIMONITOR,
     {"type": "string", "format": "url"}),
    ("power_bi", "answer", "header", f"POST {_REFRESHES}", "x-ms-request-id",
     "a GUID, as its description and example say; its format in the contract says URL", _EXAMPLES, GUID),
    ("power_bi", "answer", "member", "GET *", "@odata.context", "spelled so; the schemas call it odata.context", _EXAMPLES, TEXT),
    *(
        ("power_bi", "answer", "member", operation, f"{prefix}{name}", f"spelled so; the schema calls it {schema_name}", _EXAMPLES, kind)
        for name, schema_name, kind in (
            ("createdDate", "CreatedDate", MOMENT),
            ("isRefreshable", "IsRefreshable", TRUTH),
            ("isEffectiveIdentityRequired", "IsEffectiveIdentityRequired", TRUTH),
            ("isEffectiveIdentityRolesRequired", "IsEffectiveIdentityRolesRequired", TRUTH),
            ("isOnPremGatewayRequired", "IsOnPremGatewayRequired", TRUTH),
        )
        for operation, prefix in ((f"GET {_GROUP}/datasets", "value[]."), (f"GET {_DATASET}", ""))
    ),
    ("power_bi", "answer", "member", f"POST {_GROUP}/datasets", "defaultRetentionPolicy", "the policy asked for", _EXAMPLES,
     {"type": "string", "enum": ["None", "basicFIFO"]}),
    *(
        ("power_bi", "answer", "status", operation, status, what, source)
        for operation, status, what, source in (
            ("*", "400", "a rule is broken; a standard refresh while another runs; the daily number of refreshes",
             "MicrosoftDocs/BusinessApplicationPlatform-Connectors-public#450"),
            ("*", "401", "no token, or no rights in the workspace", _COMMUNITY),
            ("*", "403", "the token has expired; a URL that a service principal may not use", _COMMUNITY),
            ("*", "404", "no such workspace, dataset or table; not a push dataset", "microsoft/PowerBI-CSharp#105"),
            (f"POST {_REFRESHES}", "409", "an enhanced refresh while another runs", _ASYNC),
            ("*", "429", "too many calls, with Retry-After", _PBIMONITOR),
        )
    ),
    ("power_bi", "answer", "error form", "*", "error", "`{error: {code, message}}`", "microsoft/PowerBI-CSharp#105"),
    ("power_bi", "answer", "error form", "*", "pbi.error", "`{error: {code, pbi.error: {…, details}}}`, no message",
     f"migueesc123/PowerBIRESTAPI#39; {_COMMUNITY}"),
    ("power_bi", "answer", "error form", "*", "message", "`{message}` of a throttled call", _PBIMONITOR),
    ("power_bi", "answer", "error form", "*", "Message", "`{Message}`: API is not accessible for application", _COMMUNITY),
    ("looker", "request", "header", "*", "x-looker-appid", "names the SDK", "looker-sdk:looker_sdk/rtl/transport.py"),
    ("looker", "request", "route", "DELETE /api/logout", "", "where the SDK signs out (the contract: /api/4.0/logout)",
     "looker-sdk:looker_sdk/rtl/auth_session.py"),
    ("looker", "answer", "raw text", "*/run/{result_format}", "", "the contract says string: the text of the JSON",
     "looker-sdk:looker_sdk/sdk/api40/methods.py (run_inline_query: str or bytes)"),
    ("looker", "answer", "status", "*", "401", "no token, or one that has ended", "looker-open-source/looker_deployer#146"),
    ("looker", "answer", "error form", "*", "Error", "the contract's Error under that status",
     "looker-open-source/looker_deployer#146"),
    ("google_sheets", "request", "header", "*", "x-goog-api-client", "names google-auth and the kind of credential", _METRICS),
    ("google_sheets", "request", "null", f"PUT {_BOOK}/values/{{range}}", "majorDimension", "null means unset", _PROTOJSON),
    ("google_sheets", "request", "null", f"POST {_BOOK}/values:batchUpdate", "*", "null means unset", _PROTOJSON),
    ("google_sheets", "request", "query", f"POST {_BOOK}/values/{{range}}:append", "includeValuesInResponse",
     "`False` with a capital is taken", "burnash/gspread:tests/cassettes/WorksheetTest.test_append_row.json",
     {"type": "string", "enum": ["True", "False"]}),
    *(
        ("google_sheets", "answer", "status", "*", status, what, source)
        for status, what, source in (
            ("400", "INVALID_ARGUMENT", "home-assistant/core#104198"),
            ("401", "UNAUTHENTICATED", _GOOGLE_ERRORS),
            ("403", "PERMISSION_DENIED", "burnash/gspread#1592"),
            ("404", "NOT_FOUND", "burnash/gspread:tests/cassettes/ClientTest.test_access_non_existing_spreadsheet.json"),
            ("429", "RESOURCE_EXHAUSTED, without Retry-After", "Sage-Bionetworks/data_curator#110"),
        )
    ),
    ("google_sheets", "answer", "error form", "*", "google.rpc.Status", "`{error: {code, message, status, details}}`",
     _GOOGLE_ERRORS),
    ("bigquery", "request", "header", "*", "x-goog-api-client", "names the client and its versions", _METRICS),
    ("bigquery", "request", "header", "*", "x-server-timeout", "how long the client waits, in seconds", _BIGQUERY_CLIENT),
    ("bigquery", "request", "query", "GET /bigquery/v2/projects/{projectId}/jobs/{jobId}", "projection",
     "sent by the client though it is a parameter of jobs.list", _BIGQUERY_CLIENT, {"type": "string", "enum": ["full"]}),
    *(
        ("bigquery", "answer", "status", "*", status, what, _BIGQUERY_ERRORS)
        for status, what in (
            ("400", "invalidQuery, invalid"),
            ("403", "accessDenied"),
            ("404", "notFound"),
            ("409", "duplicate: the job's id is taken"),
        )
    ),
    ("bigquery", "answer", "error form", "*", "errors", "`{error: {code, message, errors: [{reason, …}], status}}`",
     _BIGQUERY_ERRORS),
    ("entra_id", "request", "route", "GET /{tenant}/v2.0/.well-known/openid-configuration", "",
     "Entra ID has no machine-readable contract; its answer names the token endpoint",
     "msal:msal/authority.py; an answer recorded in Azure/azure-sdk-for-python#18884"),
    ("entra_id", "request", "route", "POST /{tenant}/oauth2/v2.0/token", "", "client credentials; token or error",
     "learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow"),
    ("entra_id", "request", "header", "*", "x-client-*", "name msal and its platform", _MSAL),
    ("entra_id", "request", "header", "*", "x-ms-lib-capability", "what msal can do", _MSAL),
    ("entra_id", "request", "header", "*", "client-request-id", "correlation id of msal", _MSAL, GUID),
    ("entra_id", "answer", "header", "*", "x-ms-request-id", "id of the answer",
     "token answers recorded in the tests of the Azure SDK for JavaScript", GUID),
    ("google_identity", "request", "route", "POST /token", "",
     "Google's token endpoint has no discovery document; signed assertion for a token",
     "developers.google.com/accounts/docs/OAuth2ServiceAccount; google-auth:google/oauth2/_client.py"),
    ("google_identity", "request", "route", "POST /v1/projects/-/serviceAccounts/{email}:signBlob", "",
     "its discovery document is not here; signs bytes for the calling account",
     "docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob"),
    ("google_identity", "request", "route", "GET /v1/projects/-/serviceAccounts/{email}/allowedLocations", "",
     "google-auth asks where an account may be used, and goes on without an answer: 501",
     "google-auth:google/auth/_regional_access_boundary_utils.py"),
    ("google_identity", "request", "header", "*", "x-goog-api-client", "names google-auth", _METRICS),
]  # fmt: skip


def _closed(required: str, optional: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": {**properties, **(optional or {})}}


_PBI_DETAIL = _closed("code detail", code=TEXT, detail=_closed("type value", type=WHOLE, value=TEXT))
_PBI_ERROR = _closed(
    "code",
    code=TEXT,
    parameters={"type": "object"},
    details={"type": "array", "items": _PBI_DETAIL},
    exceptionCulprit=WHOLE,
)
_GOOGLE_DETAIL = _closed(
    "@type",
    {"@type": {"type": "string", "pattern": r"^type\.googleapis\.com/google\.rpc\.(ErrorInfo|BadRequest)$"}},
    reason=TEXT,
    domain=TEXT,
    metadata={"type": "object", "additionalProperties": TEXT},
    fieldViolations={"type": "array", "items": _closed("description", field=TEXT, description=TEXT)},
)
_GOOGLE_STATUS = ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED"]

_BIGQUERY_DETAIL = _closed(
    "message domain reason", message=TEXT, domain=TEXT, reason=TEXT, location=TEXT, locationType=TEXT
)
_BIGQUERY_STATUS = ["INVALID_ARGUMENT", "PERMISSION_DENIED", "NOT_FOUND", "ALREADY_EXISTS"]

ERROR_FORMS: dict[str, dict[str, Any]] = {
    "bigquery": {
        "errors": _closed(
            "error",
            error=_closed(
                "code message errors status",
                code=WHOLE,
                message=TEXT,
                errors={"type": "array", "items": _BIGQUERY_DETAIL},
                status={"type": "string", "enum": _BIGQUERY_STATUS},
            ),
        )
    },
    "power_bi": {
        "error": _closed("error", error=_closed("code message", code=TEXT, message=TEXT)),
        "pbi.error": _closed("error", error=_closed("code pbi.error", {"pbi.error": _PBI_ERROR}, code=TEXT)),
        "message": _closed("message", message=TEXT),
        "Message": _closed("Message", Message=TEXT),
    },
    "looker": {"Error": _closed("message documentation_url", message=TEXT, documentation_url=TEXT)},
    "google_sheets": {
        "google.rpc.Status": _closed(
            "error",
            error=_closed(
                "code message status",
                code=WHOLE,
                message=TEXT,
                status={"type": "string", "enum": _GOOGLE_STATUS},
                details={"type": "array", "items": _GOOGLE_DETAIL},
            ),
        )
    },
}


def _parameters(*names: str) -> list[dict[str, Any]]:
    guids = {"groupId", "datasetId"}
    return [{"name": name, "in": "path", "required": True, "schema": GUID if name in guids else TEXT} for name in names]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}


_TEXTS = {"type": "array", "items": TEXT}
_URL = {"type": "string", "format": "url"}
_URLS_OF = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "jwks_uri",
    "rbac_url",
)
_LISTS_OF = (
    "token_endpoint_auth_methods_supported",
    "response_modes_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "response_types_supported",
    "scopes_supported",
)
_CONFIGURATION = _closed(
    "issuer authorization_endpoint token_endpoint jwks_uri response_types_supported subject_types_supported",
    dict.fromkeys(("tenant_region_scope", "cloud_instance_name", "cloud_graph_host_name", "msgraph_host"), TEXT),
    **dict.fromkeys(_URLS_OF, _URL),
    **dict.fromkeys(_LISTS_OF, _TEXTS),
)
_ENTRA_TOKEN = _closed(
    "token_type expires_in access_token",
    token_type={"type": "string", "enum": ["Bearer"]},
    expires_in=WHOLE,
    ext_expires_in=WHOLE,
    access_token=TEXT,
)
_ENTRA_ERROR = _closed(
    "error error_description error_codes timestamp trace_id correlation_id",
    error=TEXT,
    error_description=TEXT,
    error_codes={"type": "array", "items": WHOLE},
    timestamp=TEXT,
    trace_id=GUID,
    correlation_id=GUID,
    error_uri=_URL,
)
_ENTRA_FORM = _closed(
    "client_id client_secret scope grant_type",
    client_id=TEXT,
    client_secret=TEXT,
    scope=TEXT,
    grant_type={"type": "string", "enum": ["client_credentials"]},
    client_info=TEXT,
)
_GOOGLE_TOKEN = _closed(
    "access_token expires_in token_type",
    access_token=TEXT,
    expires_in=WHOLE,
    token_type={"type": "string", "enum": ["Bearer"]},
)
_GOOGLE_FORM = _closed(
    "grant_type assertion",
    grant_type={"type": "string", "enum": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]},
    assertion=TEXT,
)
_GOOGLE_ERROR = _closed("error", error=TEXT, error_description=TEXT)
_SIGN_BLOB = _closed("payload", payload={"type": "string", "format": "byte"}, delegates=_TEXTS)
_SIGNED_BLOB = _closed("keyId signedBlob", keyId=TEXT, signedBlob={"type": "string", "format": "byte"})
_IAM_ERROR = _closed("error", error=_closed("code message status", code=WHOLE, message=TEXT, status=TEXT))
_NUMBERS = _closed(
    "value",
    {"@odata.context": TEXT},
    value={
        "type": "array",
        "items": _closed(
            "clientId sequenceNumber", clientId=TEXT, sequenceNumber={"type": "integer", "format": "int64"}
        ),
    },
)

ROUTES: dict[str, dict[str, Any]] = {
    "power_bi": {
        _SEQUENCE: {
            "get": {
                "parameters": _parameters("groupId", "datasetId", "tableName"),
                "responses": {"200": _json(_NUMBERS)},
            }
        }
    },
    "looker": {"/api/logout": {"delete": {"responses": {"204": {}}}}},
    "entra_id": {
        "/{tenant}/v2.0/.well-known/openid-configuration": {
            "get": {
                "parameters": _parameters("tenant"),
                "responses": {"200": _json(_CONFIGURATION), "400": _json(_ENTRA_ERROR)},
            }
        },
        "/{tenant}/oauth2/v2.0/token": {
            "post": {
                "parameters": _parameters("tenant"),
                "requestBody": _form(_ENTRA_FORM),
                "responses": {"200": _json(_ENTRA_TOKEN), "400": _json(_ENTRA_ERROR), "401": _json(_ENTRA_ERROR)},
            }
        },
    },
    "google_identity": {
        "/token": {
            "post": {
                "requestBody": _form(_GOOGLE_FORM),
                "responses": {"200": _json(_GOOGLE_TOKEN), "400": _json(_GOOGLE_ERROR), "401": _json(_GOOGLE_ERROR)},
            }
        },
        "/v1/projects/-/serviceAccounts/{email}/allowedLocations": {
            "get": {"parameters": _parameters("email"), "responses": {"501": _json({})}}
        },
        "/v1/projects/-/serviceAccounts/{email}:signBlob": {
            "post": {
                "parameters": [*_parameters("email"), {"name": "alt", "in": "query", "schema": {"enum": ["json"]}}],
                "requestBody": {"required": True, **_json(_SIGN_BLOB)},
                "responses": {
                    "200": _json(_SIGNED_BLOB),
                    **{code: _json(_IAM_ERROR) for code in ("400", "401", "403")},
                },
            }
        },
    },
}
"""OpenAPI 3 `paths` of routes that the contracts lack, by sandbox."""
