"""What goes wrong ends as a clear failed job or a 4xx, and the target is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.demo.api import Api
from infra.local.demo.comparison import Row
from infra.local.supervisor import LocalCloud

from .conftest import HELD, ROWS, Sandbox, fetch, finish, finish_refresh

WRONG = "wrong-secret-0123456789"
Held = Callable[[str, str], list[Row]]


def spoil(kind: str, bodies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The register body of a kind with one credential replaced by a wrong one of the right form."""
    body = bodies["looker" if kind == "postgres" else kind] | {"name": f"wrong-{kind.replace('_', '-')}"}
    match kind:
        case "power_bi" | "looker":
            body["client_secret"] = WRONG
        case "postgres":
            body["warehouse_password"] = WRONG
        case "google_sheets":
            from infra.local.accounts import service_account_key

            key = body["service_account_key"]
            other = service_account_key(key["client_email"], key["project_id"])
            body["service_account_key"] = key | {"private_key": other["private_key"]}
    return body


@pytest.mark.parametrize("kind", ["power_bi", "looker", "google_sheets", "postgres"])
def test_a_wrong_credential_fails_the_test_and_the_job_and_leaves_the_target(
    api: Api, connectors: dict[str, str], bodies: dict[str, dict[str, Any]], held: Held, kind: str
) -> None:
    target = "looker" if kind == "postgres" else kind
    table = f"credential_{kind}"
    finish(api, api.export(connector_name=connectors[target], table_name=table, rows=ROWS))
    name = api.register(spoil(kind, bodies))["name"]

    tested = api.test(name)
    job = finish(api, api.export(connector_name=name, table_name=table, rows=ROWS[:2])) if kind != "looker" else None

    assert tested["ok"] is False
    assert any(not check["ok"] and check["message"] for check in tested["checks"])
    if job is not None:
        assert (job["status"], job["error"]["code"]) == ("failed", "credential_refused")
        assert WRONG not in str(job)
    assert WRONG not in str(tested)
    assert held(target, table) == HELD


def test_a_wrong_looker_key_fails_the_refresh(api: Api, bodies: dict[str, dict[str, Any]]) -> None:
    name = api.register(spoil("looker", bodies))["name"]

    run = finish_refresh(api, api.refresh(name))

    assert run["status"] == "failed"
    assert run["error"]["code"] == "credential_refused"
    assert WRONG not in str(run)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("broken_parquet.parquet", b"PAR1 this is not parquet PAR1", "source_damaged"),
        ("broken_xlsx.xlsx", b"PK\x03\x04 not a workbook", "source_damaged"),
        ("broken_json.json", b'[{"id": 1}, {"id": ', "source_damaged"),
        ("broken_csv.csv", b'id,name\n1,"open quote\n', "source_damaged"),
        ("ragged_csv.csv", b"id,name\n1,a\n2,b,c\n", "row_ragged"),
        ("not_utf8.csv", b"id,name\n1,\xff\xfe\n", "encoding_invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_malformed_file_is_a_failed_job_that_says_so(
    api: Api,
    connectors: dict[str, str],
    upload: Callable[[str, bytes], None],
    held: Held,
    name: str,
    content: bytes,
    code: str,
) -> None:
    table = name.split(".")[0]
    finish(api, api.export(connector_name=connectors["google_sheets"], table_name=table, rows=ROWS))
    upload(name, content)

    job = finish(api, api.export(connector_name=connectors["google_sheets"], table_name=table))

    assert (job["status"], job["error"]["code"]) == ("failed", code), job["error_message"]
    assert job["error_message"]
    assert held("google_sheets", table) == HELD


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("google_sheets", {"vendor": "google_sheets", "method": "POST", "kind": "status", "status": 403}),
        ("power_bi", {"vendor": "power_bi", "kind": "status", "status": 403}),
    ],
)
def test_a_vendor_that_refuses_every_write_fails_the_job_and_leaves_the_target(
    api: Api, connectors: dict[str, str], sandbox: Sandbox, held: Held, kind: str, fault: dict[str, Any]
) -> None:
    table = f"refused_{kind}"
    finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS))
    sandbox.fault(**fault, times=-1, body={"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}})

    job = finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS[:2]))

    sandbox.clear_faults()
    assert job["status"] == "failed"
    assert job["error_message"]
    assert held(kind, table) == HELD


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset_before", "times": 2},
        {"kind": "lost_reply", "method": "POST", "times": 1},
        {"kind": "status", "status": 503, "times": 2},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "times": 2},
        {"kind": "html_5xx", "times": 1},
    ],
    ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}",
)
@pytest.mark.parametrize("kind", ["google_sheets", "power_bi"])
def test_a_passing_fault_is_survived_and_no_row_is_doubled(
    api: Api, connectors: dict[str, str], sandbox: Sandbox, held: Held, kind: str, fault: dict[str, Any]
) -> None:
    table = f"survived_{kind}"
    sandbox.fault(vendor=kind, **fault)

    job = finish(api, api.export(connector_name=connectors[kind], table_name=table, rows=ROWS))

    assert (job["status"], job["error_message"]) == ("success", None)
    assert held(kind, table) == HELD


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"connector_name": "sheets"}, 400),
        ({"connector_name": "sheets", "table_name": "t", "rows": ROWS, "unknown": 1}, 400),
        ({"connector_name": "powerbi", "table_name": "t", "rows": ROWS, "mode": "upsert"}, 422),
        ({"connector_name": "sheets", "table_name": "t", "source": {"uri": "http://elsewhere/x.csv"}}, 400),
    ],
)
def test_a_wrong_request_is_a_problem_document(
    cloud: LocalCloud, connectors: dict[str, str], body: dict[str, Any], status: int
) -> None:
    answer = fetch(cloud, "POST", "/api/bi-connectors/export", body)

    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"code", "retryable"} <= answer.json().keys()
