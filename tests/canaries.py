"""Secrets of the tests, and the search for them in what a test printed or a run left.

Looked for are what test bodies send as credentials, and the accounts of every local cloud below a folder; each as it is, as a
URL spells it and inside Base64 (`infra.local.canaries`).
"""

from __future__ import annotations

from pathlib import Path

from infra.local.accounts import load_accounts
from infra.local.canaries import HOLDERS, canaries, files, found_in, spellings

CANARIES = ("s3cret-value-of-the-app", "canary-of-the-key-file", "canary-of-looker", "canary-of-the-warehouse",
            "canary-of-a-channel", "canary-of-slack")  # fmt: skip
"""Values that test bodies send as credentials."""
SPELLED = {canary: spellings(canary.encode()) for canary in CANARIES}


def shown_in(text: str) -> list[str]:
    """Return the canaries in a text, in whatever spelling."""
    content = text.encode(errors="surrogateescape")
    return [canary for canary, forms in SPELLED.items() if any(form in content for form in forms)]


def left_in(folder: Path) -> list[str]:
    """Return in words each secret in a file below a folder that may hold none: logs, databases, objects, traffic.

    What holds secrets by its purpose, beside a cloud's `accounts.json`, is left out, see `HOLDERS`.
    """
    clouds = [path.parent for path in folder.rglob("accounts.json")]
    found = [
        f"{canary} in {place}"
        for place in sorted(folder.rglob("*"))
        if place.is_file() and not place.is_symlink() and not _holds_secrets(place, clouds)
        for canary in found_in(place, SPELLED)
    ]
    for data in clouds:
        try:
            accounts = load_accounts(data, None)
        except ValueError:
            continue  # a test's own, which are none
        wanted = {name: spellings(secret) for name, secret in canaries(accounts).items()}
        found += [f"{canary} in {place}" for _, place in files(data) for canary in found_in(place, wanted)]
    return found


def _holds_secrets(path: Path, clouds: list[Path]) -> bool:
    names = [path.relative_to(data).as_posix() for data in clouds if path.is_relative_to(data)]
    return any(name.startswith(HOLDERS) for name in names)
