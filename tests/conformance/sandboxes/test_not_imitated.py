"""What a sandbox does not imitate is refused in a form that the vendor's own client reads, naming the route."""

from __future__ import annotations

import gspread
import looker_sdk
import pytest
import requests
from looker_sdk import error

from infra.local.sandboxes.server import SandboxServer
from tests.conformance.sandboxes.conftest import sandboxes, vendors  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("vendors")


def test_gspread_says_which_route_is_missing(sandboxes: SandboxServer) -> None:  # noqa: F811 - the fixture
    client = gspread.service_account_from_dict(dict(sandboxes.accounts.google.service_account_key))
    with pytest.raises(gspread.exceptions.APIError, match=r"501.*not imitated by this sandbox: GET /drive/v3/files"):
        client.openall()


def test_looker_sdk_says_which_route_is_missing(
    sandboxes: SandboxServer,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = sandboxes.accounts.looker
    for name in ("base_url", "client_id", "client_secret"):
        monkeypatch.setenv(f"LOOKERSDK_{name.upper()}", getattr(account, name))
    with pytest.raises(error.SDKError, match=r"not imitated by this sandbox: GET /api/4\.0/themes"):
        looker_sdk.init40().all_themes()


@pytest.mark.parametrize(
    "host", ["api.powerbi.com", "login.microsoftonline.com", "sheets.googleapis.com", "bigquery.googleapis.com"]
)
def test_every_vendor_answers_501_with_the_route(sandboxes: SandboxServer, host: str) -> None:  # noqa: F811 - the fixture
    answer = requests.get(f"https://{host}/no/such/route", timeout=10)
    assert (answer.status_code, answer.json()["route"]) == (501, "GET /no/such/route")
