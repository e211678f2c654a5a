"""Looks for the demo accounts' secrets where they do not belong: files of a data folder, and command lines of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.local.accounts import Accounts

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


def canaries(accounts: Accounts) -> dict[str, bytes]:
    """Return the accounts' secrets by what they are."""
    pem = accounts.google.service_account_key["private_key"]
    return {
        "Entra client secret": accounts.entra.client_secret.encode(),
        "Looker client secret": accounts.looker.client_secret.encode(),
        "warehouse password": accounts.warehouse.password.encode(),
        "Google private key": pem.splitlines()[5].encode(),
    }


def files(data: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of every file that may hold no secret: logs, documents, frozen and kept rows, traffic."""
    for path in data.rglob("*"):
        name = path.relative_to(data).as_posix()
        if path.is_file() and not path.is_symlink() and not name.startswith(HOLDERS):
            yield name, path


def leaks(accounts: Accounts, data: Path) -> list[str]:
    """Return in words where a secret was found: in files, and in the command line of any process of this machine."""
    places = [(name, path) for name, path in files(data)]
    places += [
        (f"the command line of process {path.parent.name}", path) for path in Path("/proc").glob("[0-9]*/cmdline")
    ]
    return [
        f"{canary} in {name}"
        for name, path in places
        for canary, secret in canaries(accounts).items()
        if secret in _content(path)
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a file that was just removed, a process that just ended
