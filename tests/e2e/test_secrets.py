"""No secret in Firestore, logs, frozen data or answers: the demo accounts' own secrets are the canaries."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from infra.local.canaries import canaries, leaks
from infra.local.demo.api import Api
from infra.local.supervisor import LocalCloud

from .conftest import ROWS, fetch, finish

API = "/api/bi-connectors"


def test_no_secret_is_stored_logged_or_answered(
    cloud: LocalCloud, api: Api, connectors: dict[str, str], bodies: dict[str, dict[str, Any]]
) -> None:
    for kind, name in connectors.items():
        api.test(name)
        finish(api, api.export(connector_name=name, table_name=f"secrets_{kind}", rows=ROWS))
    wrong_form = bodies["power_bi"] | {"name": "Not A Name", "unknown_field": bodies["power_bi"]["client_secret"]}
    answers = [
        fetch(cloud, "POST", f"{API}/register", wrong_form).text,
        fetch(cloud, "POST", f"{API}/register", bodies["looker"] | {"warehouse": "x"}).text,
        *(fetch(cloud, "GET", path).text for path in (API, f"{API}/sheets", f"{API}/powerbi", f"{API}/export-jobs")),
        *(fetch(cloud, "POST", f"{API}/{name}/test").text for name in connectors.values()),
    ]

    found = leaks(cloud.accounts, cloud.layout.data)
    found += [
        f"{canary} in an answer"
        for text in answers
        for canary, secret in canaries(cloud.accounts).items()
        if secret.decode() in text
    ]

    assert found == []


def test_the_search_does_find_a_planted_secret(cloud: LocalCloud) -> None:
    secret = canaries(cloud.accounts)["Looker client secret"]
    planted = cloud.layout.data / "logs" / "planted.log"
    planted.write_bytes(b"x" * 1000 + secret)

    assert leaks(cloud.accounts, cloud.layout.data) == ["Looker client secret in logs/planted.log"]
    planted.unlink()


def test_the_search_does_find_a_secret_in_a_command_line(cloud: LocalCloud) -> None:
    secret = canaries(cloud.accounts)["Looker client secret"].decode()
    with subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE) as process:
        found = leaks(cloud.accounts, cloud.layout.data)
        process.communicate(b"\n")
    assert found == [f"Looker client secret in the command line of process {process.pid}"]


def test_files_that_hold_secrets_are_for_their_owner_only(cloud: LocalCloud) -> None:
    data = cloud.layout.data

    assert [(data / name).stat().st_mode & 0o077 for name in ("accounts.json", "endpoints.json")] == [0, 0]
