"""No secret in Firestore, logs, frozen data or answers: the demo accounts' own secrets are the canaries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.local.demo.api import Api
from infra.local.supervisor import LocalCloud

from .conftest import ROWS, fetch, finish

API = "/api/bi-connectors"
HOLDERS = (
    "accounts.json",
    "endpoints.json",
    "identity/",
    "emulators/secret_manager.sqlite",
    "sandboxes/entra",
    "sandboxes/google_identity",
    "sandboxes/looker",
    "sandboxes/token",
    "try/",
)
"""Where secrets belong: the accounts themselves, Secret Manager, and what a vendor knows of its own clients."""


def canaries(cloud: LocalCloud) -> dict[str, bytes]:
    accounts = cloud.accounts
    pem = accounts.google.service_account_key["private_key"]
    return {
        "Entra client secret": accounts.entra.client_secret.encode(),
        "Looker client secret": accounts.looker.client_secret.encode(),
        "warehouse password": accounts.warehouse.password.encode(),
        "Google private key": pem.splitlines()[5].encode(),
    }


def files(cloud: LocalCloud) -> Iterator[tuple[str, Path]]:
    data = cloud.layout.data
    for path in data.rglob("*"):
        name = path.relative_to(data).as_posix()
        if path.is_file() and not path.is_symlink() and not name.startswith(HOLDERS):
            yield name, path


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

    found = [
        f"{canary} in {name}"
        for name, path in files(cloud)
        for canary, secret in canaries(cloud).items()
        if secret in path.read_bytes()
    ]
    found += [
        f"{canary} in an answer"
        for text in answers
        for canary, secret in canaries(cloud).items()
        if secret.decode() in text
    ]

    assert found == []


def test_the_search_does_find_a_planted_secret(cloud: LocalCloud) -> None:
    secret = canaries(cloud)["Looker client secret"]
    planted = cloud.layout.data / "logs" / "planted.log"
    planted.write_bytes(b"x" * 1000 + secret)

    assert [name for name, path in files(cloud) if secret in path.read_bytes()] == ["logs/planted.log"]
    planted.unlink()


def test_files_that_hold_secrets_are_for_their_owner_only(cloud: LocalCloud) -> None:
    data = cloud.layout.data

    assert [(data / name).stat().st_mode & 0o077 for name in ("accounts.json", "endpoints.json")] == [0, 0]
