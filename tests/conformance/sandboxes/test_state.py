"""What the sandboxes keep and how their process lives: certificates, clock, tokens, accounts, ports, signals."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509

from infra.local.accounts import load_accounts
from infra.local.ports import free_base
from infra.local.sandboxes._base import Request
from infra.local.sandboxes.certificates import ensure_certificates
from infra.local.sandboxes.clock import SandboxClock
from infra.local.sandboxes.server import SandboxServer
from infra.local.sandboxes.token_book import TokenBook
from infra.local.sandboxes.traffic import Exchange, TrafficLog

# --- certificates


def test_certificates_are_kept_until_a_host_is_missing(tmp_path: Path) -> None:
    ca, leaf = ensure_certificates(tmp_path, ["a.example"])
    before = ca.read_bytes(), leaf.read_bytes()
    ensure_certificates(tmp_path, ["a.example"])
    same = (ca.read_bytes(), leaf.read_bytes()) == before
    ensure_certificates(tmp_path, ["a.example", "b.example"])
    assert (same, leaf.read_bytes() == before[1]) == (True, False)


def test_certificates_that_are_damaged_or_foreign_are_made_anew(tmp_path: Path) -> None:
    ca, leaf = ensure_certificates(tmp_path / "one", ["a.example"])
    other_ca, _ = ensure_certificates(tmp_path / "two", ["a.example"])
    for damage in (b"nonsense", other_ca.read_bytes()):
        ca.write_bytes(damage)
        ensure_certificates(tmp_path / "one", ["a.example"])
        signed_by = x509.load_pem_x509_certificate(ca.read_bytes())
        x509.load_pem_x509_certificate(leaf.read_bytes()).verify_directly_issued_by(signed_by)


def test_the_certificate_is_valid_for_825_days_and_its_key_is_private(tmp_path: Path) -> None:
    _, leaf = ensure_certificates(tmp_path, ["a.example"])
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=825)
    assert stat.S_IMODE(leaf.stat().st_mode) == 0o600


# --- clock and tokens


def test_advancing_the_clock_wakes_a_sleeper(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock.json")
    sleeper = threading.Thread(target=clock.sleep, args=(3600,), daemon=True)
    sleeper.start()
    clock.advance(1800)
    sleeper.join(0.2)
    half_way = sleeper.is_alive()
    clock.advance(1801)
    sleeper.join(5)
    assert (half_way, sleeper.is_alive()) == (True, False)


def test_the_clock_keeps_its_offset_over_a_restart_and_never_goes_back(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock.json")
    clock.advance(3600)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    assert SandboxClock(tmp_path / "clock.json").offset_s == 3600


def test_a_token_is_known_to_its_vendor_only_until_it_ends(tmp_path: Path) -> None:
    clock = SandboxClock()
    book = TokenBook(tmp_path / "tokens.sqlite", clock)
    token = book.issue("looker", "client", "api", 60)
    known = [book.check("looker", token), book.check("looker", f"token {token}"), book.check("google", token)]
    clock.advance(61)
    assert (known, book.check("looker", token), book.check("looker", None)) == (["client", "client", None], None, None)


def test_tokens_outlive_a_restart_and_are_not_stored_in_clear(tmp_path: Path) -> None:
    path, clock = tmp_path / "tokens.sqlite", SandboxClock()
    book = TokenBook(path, clock)
    token = book.issue("google", "me", "scope", 60)
    book.close()
    assert TokenBook(path, clock).check("google", token) == "me"
    assert token.encode() not in path.read_bytes()


def test_expire_all_and_revoke_end_tokens_at_once(tmp_path: Path) -> None:
    book = TokenBook(tmp_path / "tokens.sqlite", SandboxClock())
    one, two, other = (book.issue(vendor, "me", "", 60) for vendor in ("entra", "entra", "google"))
    revoked = book.revoke("entra", one), book.revoke("entra", one)
    left = book.expire_all("entra")
    assert (revoked, left) == ((True, False), 1)
    assert (book.check("entra", two), book.check("google", other)) == (None, "me")


# --- accounts


def test_accounts_are_made_once_readable_by_the_owner_only(tmp_path: Path) -> None:
    made = load_accounts(tmp_path / "data", 21000)
    assert load_accounts(tmp_path / "data") == made
    assert made.warehouse.port == 21015
    assert load_accounts(tmp_path / "data", 22000).warehouse.port == 22015
    assert stat.S_IMODE((tmp_path / "data" / "accounts.json").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["accounts.json"]


def test_many_processes_at_once_agree_on_the_accounts(tmp_path: Path) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(load_accounts(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [load_accounts(tmp_path)] * 4


def test_accounts_hide_their_secrets_in_a_repr(tmp_path: Path) -> None:
    accounts = load_accounts(tmp_path)
    secrets = [accounts.entra.client_secret, accounts.looker.client_secret, "PRIVATE KEY", accounts.warehouse.password]
    assert not [secret for secret in secrets if secret in repr(accounts)]


def test_a_damaged_accounts_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text("{}")
    with pytest.raises(ValueError, match=r"accounts\.json is not an accounts file"):
        load_accounts(tmp_path)


# --- traffic


class StoppedClock(SandboxClock):
    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)


def test_two_exchanges_of_one_instant_are_still_told_apart(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path / "traffic.jsonl", StoppedClock())
    for path in ("/one", "/two"):
        log.record(Exchange("weather", f"GET {path}", Request("GET", "h", path), 200, {}, b"", None))
    first, second = log.read()
    assert (first["at"], second["at"]) == ("2026-01-02T00:00:00.000000Z", "2026-01-02T00:00:00.000001Z")
    assert [line["path"] for line in log.read(since=first["at"])] == ["/two"]


# --- the process


def spawn(data: Path, base: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infra.local.sandboxes", "--data", str(data), "--port-base", str(base)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_process_says_ready_once_and_ends_on_sigterm_with_clients_connected(tmp_path: Path) -> None:
    base = free_base()
    process = spawn(tmp_path / "data", base)
    assert process.stdout is not None
    first = process.stdout.readline()
    with socket.create_connection(("127.0.0.1", base + 16)), socket.create_connection(("127.0.0.1", base + 17)):
        hosts = requests.get(f"http://127.0.0.1:{base + 18}/", timeout=10).json()["sandboxes"]["entra_id"]
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=120)
    assert (first, output, errors, process.returncode) == ("ready\n", "", "", 0)
    assert hosts == ["login.microsoftonline.com"]


def test_a_taken_port_is_one_line_that_names_part_and_port(tmp_path: Path) -> None:
    base = free_base()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", base + 16))
        taken.listen()
        process = spawn(tmp_path / "data", base)
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, len(errors.splitlines())) == (1, "", 1)
    assert f"the CONNECT proxy cannot listen on 127.0.0.1:{base + 16}" in errors


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with SandboxServer(tmp_path, classes=[]) as server:
        client, token, ca = (
            server.accounts.entra,
            server.tokens.issue("entra", "me", "", 60),
            server.ca_file.read_bytes(),
        )
    with SandboxServer(tmp_path, classes=[]) as server:
        assert server.accounts.entra == client
        assert server.tokens.check("entra", token) == "me"
        assert server.ca_file.read_bytes() == ca
