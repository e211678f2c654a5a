"""Looker's URL is a user's: the guard around its calls, against the sandbox, over the proxy and with real TLS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import requests

from infra.local.sandboxes.proxy import SANDBOX_ADDRESS
from shared.connectors._base import Runtime
from shared.connectors._outgoing import guarded_session
from shared.connectors.looker.connector import LookerConnector
from shared.errors import TargetError
from shared.stores.resolver import TableResolver
from tests.conformance.connectors.looker_support import LOOKER, connector
from tests.conformance.sandboxes.looker_support import Cloud, QuickClock, looker_cloud, looker_parts  # noqa: F401


def guarded(**changes: Any) -> requests.Session:
    return guarded_session("looker", replace(LOOKER, **changes))


def test_a_redirect_is_not_followed(cloud: Cloud) -> None:
    cloud.server.fault(
        vendor="looker", kind="status", status=302, headers={"Location": "http://169.254.169.254/"}, times=1
    )
    with pytest.raises(TargetError) as caught:
        guarded().get("https://demo.cloud.looker.com/api/4.0/user", timeout=30)
    assert caught.value.code == "redirected"


def test_an_answer_without_end_is_not_read(cloud: Cloud) -> None:
    cloud.server.fault(vendor="looker", kind="status", status=200, body="x" * 200_000, times=1)
    with pytest.raises(TargetError) as caught:
        guarded(most_answer_bytes=100_000).get("https://demo.cloud.looker.com/api/4.0/user", timeout=30)
    assert caught.value.code == "answer_too_large"


def test_the_dialled_address_must_hold_the_certificate_of_the_name(cloud: Cloud) -> None:
    resolver = TableResolver({"other.looker.com": SANDBOX_ADDRESS})
    with pytest.raises(requests.exceptions.SSLError, match=r"other\.looker\.com"):
        guarded(resolver=resolver).get("https://other.looker.com/api/4.0/user", timeout=30)


def test_a_looker_host_off_the_list_is_never_called(cloud: Cloud) -> None:
    before = cloud.server.calls("looker")["total"]
    config = connector(cloud)._config
    elsewhere = replace(LOOKER, hosts=("looker.acme.org",))
    live = LookerConnector(
        config, {"client_secret": "x" * 9, "warehouse_password": "y" * 9}, Runtime(QuickClock(), looker=elsewhere)
    )
    with pytest.raises(TargetError, match="LOOKER_HOSTS"):
        live.start_refresh("run", {})
    assert cloud.server.calls("looker")["total"] == before
