"""The search for secrets finds what is planted, and leaves out only the places where secrets belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.local.accounts import load_accounts
from infra.local.canaries import canaries, leaks


def test_planted_secrets_are_found_and_the_holders_are_not(tmp_path: Path) -> None:
    accounts = load_accounts(tmp_path, None)
    secret = canaries(accounts)["Looker client secret"]
    for name in ("logs/register.log", "emulators/firestore.sqlite", "gcs/frozen/part.jsonl", "identity/key"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x" * 1000 + secret)
    assert sorted(leaks(accounts, tmp_path)) == [
        "Looker client secret in emulators/firestore.sqlite",
        "Looker client secret in gcs/frozen/part.jsonl",
        "Looker client secret in logs/register.log",
    ]


def test_a_secret_in_a_command_line_is_found(tmp_path: Path) -> None:
    accounts = load_accounts(tmp_path, None)
    secret = canaries(accounts)["Entra client secret"].decode()
    with subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE) as process:
        found = leaks(accounts, tmp_path)
        process.communicate(b"\n")
    assert found == [f"Entra client secret in the command line of process {process.pid}"]
