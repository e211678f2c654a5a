"""Examples of the API description. Tests hold each to its model; none holds a secret."""

from __future__ import annotations

from typing import Any

_EXPORT = {"connector_name": "ymca_sheets", "table_name": "volunteers"}
_TIMES = {"created_at": "2026-01-05T12:00:00Z", "updated_at": "2026-01-05T12:00:09Z"}
_JOB_ID = "01ke70ehg0c8xt6wmd9ph875gv"
_RUN_ID = "01ke70ehg02h371fz9dq4893yn"

REQUESTS: dict[str, dict[str, Any]] = {
    "register": {
        "google_sheets": {
            "name": "ymca_sheets",
            "connector_type": "google_sheets",
            "spreadsheet_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms",
            "service_account_key": {"type": "service_account", "private_key": "<from the key file>"},
        },
        "power_bi": {
            "name": "ymca_powerbi",
            "connector_type": "power_bi",
            "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "client_id": "8f0b3a52-7c1e-4f2d-9a55-0d1f6b1c2e3f",
            "workspace_id": "f089354e-8366-4e18-aea3-4cb4a3a50b48",
            "refresh_dataset_id": "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
            "client_secret": "<from Entra>",
        },
        "looker": {
            "name": "ymca_looker",
            "connector_type": "looker",
            "base_url": "https://ymca.cloud.looker.com",
            "client_id": "Yx7Kq",
            "connection": "warehouse",
            "warehouse": {"host": "10.20.0.5", "database": "bi", "user": "bi_loader"},
            "datagroup_id": "hourly",
            "credentials_secret": "projects/ymca/secrets/looker/versions/1",
        },
    },
    "change_connector": {"rename_the_client": {"client_id": "8f0b3a52-7c1e-4f2d-9a55-0d1f6b1c2e3f"}},
    "start_export": {
        "by_name": _EXPORT,
        "rows": {**_EXPORT, "rows": [{"id": 1, "name": "Ada", "hours": 1.5}], "columns": {"hours": "decimal(6,2)"}},
        "upsert": {**_EXPORT, "mode": "upsert", "key": ["id"], "source": {"uri": "gs://ymca-tables/volunteers.csv"}},
    },
    "put_table": {"csv": {"source": {"uri": "gs://ymca-tables/volunteers.csv"}, "description": "All volunteers"}},
    "put_channel": {
        "webhook": {
            "type": "webhook",
            "url": "https://hooks.example.org/bi",
            "secret": "<openssl rand -hex 32, and keep it>",
        },
        "slack": {"type": "slack", "url": "https://hooks.slack.com/services/<from Slack>"},
    },
    "apply": {
        "one_of_each": {
            "connectors": [
                {
                    "name": "ymca_sheets",
                    "connector_type": "google_sheets",
                    "spreadsheet_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms",
                    "credentials_secret": "projects/ymca/secrets/sheets/versions/1",
                }
            ],
            "tables": [{"name": "volunteers", "source": {"bigquery": {"table": "ymca.volunteers"}}}],
            "schedules": [
                {
                    "name": "nightly",
                    "connector_name": "ymca_sheets",
                    "cron_expression": "30 5 * * *",
                    "action": "export_and_refresh",
                    "export": _EXPORT,
                }
            ],
        }
    },
    "start_refresh": {"plain": {}},
    "create_schedule": {
        "refresh": {"connector_name": "ymca_powerbi", "cron_expression": "0 */6 * * *", "timezone": "Europe/Berlin"},
        "export": {
            "connector_name": "ymca_sheets",
            "cron_expression": "30 5 * * 1-5",
            "action": "export_and_refresh",
            "export": _EXPORT,
        },
    },
    "change_schedule": {"earlier": {"cron_expression": "0 5 * * 1-5", "max_age": "26h"}},
}
"""By operation."""

REPLIES: dict[str, Any] = {
    "Health": {"status": "ok", "function": "register", "version": "0.1.0"},
    "Ready": {"status": "ok", "function": "register", "checked_at": "2026-01-05T12:00:00Z"},
    "Connector": {
        "name": "ymca_sheets",
        "connector_type": "google_sheets",
        "config": {"connector_type": "google_sheets", "spreadsheet_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms"},
        "capabilities": {"modes": ["append", "replace", "upsert"], "atomic_replace": True, "refresh": False},
        "credentials": "projects/ymca/secrets/bi-connector-ymca_sheets/versions/1",
        **_TIMES,
    },
    "TestResult": {
        "connector_name": "ymca_sheets",
        "ok": False,
        "checks": [
            {"name": "spreadsheet", "ok": False, "latency_ms": 212.0, "message": "share it with the key's e-mail"}
        ],
        "latency_ms": 230.5,
        "tested_at": "2026-01-05T12:00:00Z",
    },
    "Job": {
        "id": _JOB_ID,
        **_EXPORT,
        "connector_type": "google_sheets",
        "mode": "replace",
        "status": "success",
        "phase": "finished",
        "requested_by": "ada@example.org",
        "record_count": 1200,
        "file_size_bytes": 48000,
        **_TIMES,
    },
    "RefreshRun": {
        "id": _RUN_ID,
        "connector_name": "ymca_powerbi",
        "connector_type": "power_bi",
        "status": "running",
        "trigger": "manual",
        "requested_by": "ada@example.org",
        **_TIMES,
    },
    "Applied": {
        "ok": True,
        "dry_run": True,
        "items": [
            {"kind": "table", "name": "volunteers", "action": "change", "outcome": "planned", "changes": ["source"]}
        ],
    },
    "Channel": {"name": "on_call", "type": "webhook", "host": "hooks.example.org", **_TIMES},
    "ChannelTest": {
        "channel": "on_call",
        "ok": False,
        "message": "hooks.example.org answered 404: no such hook",
        "latency_ms": 84.2,
        "tested_at": "2026-01-05T12:00:00Z",
    },
    "NoticePage": {
        "notices": [
            {
                "id": "01ke70ehg03b9xt6wmd9ph875g",
                "event": "freshness.late",
                "at": "2026-01-05T12:00:00Z",
                "message": "what readers see of table 'volunteers' on 'ymca_sheets' is 1561 minutes old",
                "subject": {
                    "schedule_id": "01ke70ehg0cnc",
                    "connector_name": "ymca_sheets",
                    "table_name": "volunteers",
                },
                "deliveries": {"on_call": {"status": "sent", "attempts": 1, "ended_at": "2026-01-05T12:00:01Z"}},
            }
        ]
    },
    "AuditPage": {
        "entries": [
            {
                "id": "01ke70ehg0a1xt6wmd9ph875gv",
                "at": "2026-01-05T12:00:00Z",
                "actor": "ada@example.org",
                "action": "job.start",
                "resource": f"export_jobs/{_JOB_ID}",
                "outcome": "done",
                "request_id": "70984057387d4075998c900c3481473c",
                "after": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            }
        ]
    },
}
"""By model."""


def _of(status: int, title: str, code: str, detail: str, *, retryable: bool = False, **more: Any) -> dict[str, Any]:
    head = {"type": f"/problems/{code}", "title": title, "status": status}
    return {**head, "code": code, "detail": detail, "retryable": retryable, **more}


PROBLEMS: dict[int, dict[str, Any]] = {
    400: _of(
        400, "Bad Request", "invalid_request", "Expected `str`, got `int` (at $.table_name)", field="$.table_name"
    ),
    401: _of(401, "Unauthorized", "unauthenticated", "send a Google-signed ID token: Authorization: Bearer <token>"),
    403: _of(403, "Forbidden", "forbidden", "eve@example.org is viewer; this needs operator; ask an administrator"),
    404: _of(404, "Not Found", "not_found", "connector 'ymca' does not exist; check the name, or list what there is"),
    409: _of(409, "Conflict", "in_use", "export jobs are not finished; wait for them, or delete with ?force=true"),
    412: _of(412, "Precondition Failed", "precondition_failed", "it changed since it was read; read it again"),
    413: _of(413, "Request Entity Too Large", "body_too_large", "the body is over 1048576 bytes; send a file instead"),
    415: _of(415, "Unsupported Media Type", "not_json", "Content-Type is text/plain; expected application/json"),
    422: _of(422, "Unprocessable Entity", "mode_unsupported", "power_bi cannot upsert; it can append, replace"),
    428: _of(428, "Precondition Required", "if_match_required", "send If-Match with the ETag that you read"),
    500: _of(500, "Internal Server Error", "internal", "a fault of this service; report it with the request id"),
    503: _of(
        503, "Service Unavailable", "vendor_unavailable", "Google's certificates could not be fetched", retryable=True
    ),
}
"""By status."""
