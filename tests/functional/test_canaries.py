"""The scanners find a planted secret, so their silence means something."""

from __future__ import annotations

import base64
from functools import partial
from urllib.parse import quote

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.connectors._checks import run_checks
from shared.errors import TargetError, VendorUnavailableError
from shared.redaction import remember
from shared.telemetry import log_event
from tests.canaries import CANARIES, shown_in
from tests.functional.conftest import ENVIRONMENT, POWER_BI, SHEETS, World

API = "/api/bi-connectors"


def test_a_planted_canary_is_found_wherever_a_world_keeps_things() -> None:
    world = World(dict(ENVIRONMENT))
    assert shown_in(world.left()) == []
    world.fakes.documents.create("export_jobs/x", {"error_message": f"refused {CANARIES[0]}"})
    world.fakes.objects.put("frozen", "x", CANARIES[1].encode())
    world.answers.append(CANARIES[2])
    assert shown_in(world.left()) == list(CANARIES[:3])


def test_the_canaries_are_what_the_tests_send() -> None:
    assert shown_in(f"{POWER_BI} {SHEETS}") == list(CANARIES[:2])


SECRET = "quoted-by-the-vendor-7"
FORMS = [SECRET, quote(SECRET + "/+"), base64.b64encode(f"user:{SECRET}".encode()).decode()]


def clean(world: World) -> bool:
    """Whether nothing that the world keeps or answered shows the secret, as it is or inside Base64."""
    inside = base64.b64encode(b"  " + SECRET.encode()).decode()[4:-4]
    return SECRET not in world.left() and inside not in world.left()


@pytest.fixture
def knowing(registered: World) -> World:
    """A service that has read a secret which the vendor quotes in whatever it says."""
    remember({"client_secret": SECRET})
    return registered


@pytest.mark.parametrize("form", FORMS)
def test_a_vendor_that_quotes_a_secret_puts_it_into_no_record_of_a_job(
    knowing: World, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    knowing.vendor.errors = [("publish", TargetError(f"refused {form} for good", hint=[{"was": form}]))]
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"id": 1}]}
    job_id = knowing.call("export", "POST", f"{API}/export", body).body["id"]
    knowing.work()
    job = knowing.call("export", "GET", f"{API}/export-jobs/{job_id}").body
    assert (job["status"], "[redacted]" in job["error_message"]) == ("failed", True)
    assert clean(knowing)
    assert SECRET not in capsys.readouterr().out


def test_a_reason_of_the_vendor_puts_no_secret_into_the_record_of_a_refresh(knowing: World) -> None:
    knowing.vendor.refreshes = [VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason=f"no: {SECRET}")]
    run_id = knowing.call("refresh", "POST", f"{API}/ymca_powerbi/refresh").body["id"]
    knowing.work()
    assert knowing.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body["status"] == "failed"
    assert clean(knowing)


@pytest.mark.parametrize("form", ["/files/{}", "//files/{}", "/files/{}/", "/files/{}/x", "/x/{}", "/%66iles/{}x"])
@pytest.mark.parametrize("function", ["export", "refresh"])
def test_the_word_of_a_link_is_in_no_log_line(
    registered: World, form: str, function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the log could follow the link for ten minutes."""
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": [{"id": 1}], "export_format": "csv"}
    job_id = registered.call("export", "POST", f"{API}/export", body).body["id"]
    registered.work()
    word = registered.call("export", "POST", f"{API}/export-jobs/{job_id}:linkFile").body["url"].rsplit("/", 1)[1]
    capsys.readouterr()
    registered.status(function, "GET", form.format(word), None)
    logged = capsys.readouterr().out
    assert '"message":"request"' in logged
    assert word not in logged


def test_a_refusal_repeats_no_secret_of_the_request(knowing: World) -> None:
    """In a path, a query, a body: our own words and the framework's alike."""
    assert knowing.call("register", "GET", f"/{SECRET}").status == 404
    assert knowing.call("register", "GET", f"{API}?{SECRET}=1").status == 400
    assert knowing.call("register", "GET", f"{API}/x{SECRET}").status == 404
    assert knowing.call("export", "POST", f"{API}/export", {"connector_name": SECRET, "table_name": "t"}).status == 404
    assert clean(knowing)


def test_a_log_line_shows_no_secret_wherever_it_stands(knowing: World, capsys: pytest.CaptureFixture[str]) -> None:
    log_event("seen", path=f"/x/{SECRET}", deep={"list": [SECRET]})
    assert capsys.readouterr().out.count("[redacted]") == 2


def test_what_a_connection_test_found_shows_no_secret(knowing: World) -> None:
    (check,) = run_checks([("sign in", lambda: f"signed in with {SECRET}")])
    assert (check.ok, check.message) == (True, "signed in with [redacted]")


def test_details_of_an_error_show_no_secret(knowing: World) -> None:
    error = TargetError("no", hint=[{"was": SECRET}], row=7)
    assert error.details == {"hint": [{"was": "[redacted]"}], "row": 7}


def test_a_secret_is_known_before_it_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secret Manager, or whatever stands before it, may quote what it was to keep."""
    secret = "quoted-while-it-is-kept-8"

    def add(secret_id: str, payload: bytes) -> str:
        raise VendorUnavailableError(f"503 for {payload.decode()}")

    monkeypatch.setattr(world.fakes.secrets, "add", add)
    answer = world.call("register", "POST", f"{API}/register", {**POWER_BI, "client_secret": secret})
    assert (answer.status, "[redacted]" in answer.body["detail"]) == (503, True)
    assert secret not in world.left()


def test_a_secret_that_somebody_else_wrote_is_known_once_it_is_read(world: World) -> None:
    """It was never sent to us: it is named, and read when the vendor is called."""
    secret = "written-by-its-owner-9"
    version = world.fakes.secrets.add("own", f'{{"client_secret": "{secret}"}}'.encode())
    body = {name: value for name, value in POWER_BI.items() if name != "client_secret"}
    assert world.call("register", "POST", f"{API}/register", {**body, "credentials_secret": version}).status == 201
    export = {"connector_name": "ymca_powerbi", "table_name": "people", "rows": [{"id": 1}]}
    job_id = world.call("export", "POST", f"{API}/export", export).body["id"]
    refused = partial(TargetError, f"refused {secret} for good")
    world.vendor.during["publish"] = lambda: world.vendor.errors.append(("publish", refused()))
    world.work()
    job = world.call("export", "GET", f"{API}/export-jobs/{job_id}").body
    assert job["error_message"] == "refused [redacted] for good"
    assert secret not in world.left()
