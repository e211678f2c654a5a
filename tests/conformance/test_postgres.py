"""The embedded Postgres: passwords and loopback only, survives kills, leaves nothing running, touches only its folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from infra.local.accounts import WarehouseAccount, load_accounts
from infra.local.ports import free_base
from infra.local.postgres import EmbeddedPostgres
from infra.local.postgres_account import PostgresError

ROOT = Path(__file__).resolve().parents[2]
Foreground = Callable[[Path, int], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    data = tmp_path_factory.mktemp("postgres")
    base = free_base(26000)
    with EmbeddedPostgres(data / "postgres", base + 15, load_accounts(data, base).warehouse) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def foreground() -> Iterator[Foreground]:
    """Start `python -m infra.local.postgres`; what is left of it is killed, and its pipes closed, after the test."""
    with contextlib.ExitStack() as stack:

        def start(data: Path, base: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "infra.local.postgres", "--data", str(data), "--port-base", str(base)]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def until(is_true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def server_pid(data: Path) -> int:
    return int((data / "postgres/cluster/postmaster.pid").read_text(encoding="utf-8").splitlines()[0])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def account(data: Path, base: int) -> WarehouseAccount:
    return load_accounts(data, base).warehouse


def test_loader_creates_and_reader_reads_by_default_privileges(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn("bi_loader")) as loader:
        loader.execute("CREATE TABLE bi.colours (name text)")
        loader.execute("INSERT INTO bi.colours VALUES ('green')")
    with psycopg.connect(server.dsn("looker_reader"), autocommit=True) as reader:
        assert reader.execute("SELECT name FROM bi.colours").fetchall() == [("green",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM bi.colours")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("CREATE TABLE bi.mine (name text)")


def test_neither_role_is_more_than_it_needs(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn("postgres")) as admin:
        roles = admin.execute(
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, left(rolpassword, 13) FROM pg_authid"
            " WHERE rolcanlogin AND rolname <> 'postgres' ORDER BY 1"
        ).fetchall()
    assert roles == [
        ("bi_loader", False, False, False, "SCRAM-SHA-256"),
        ("looker_reader", False, False, False, "SCRAM-SHA-256"),
    ]


@pytest.mark.parametrize("user", ["postgres", "bi_loader", "looker_reader"])
def test_wrong_password_is_refused(server: EmbeddedPostgres, user: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=server.port, user=user, password="guess", dbname="analytics")


def test_it_listens_on_loopback_only_and_on_no_socket_file(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn("postgres")) as admin:
        assert admin.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert admin.execute("SHOW unix_socket_directories").fetchone() == ("",)
    assert [path for path in server.data.rglob("*") if path.is_socket()] == []


def test_committed_rows_survive_kill_9_of_the_server(data: Path) -> None:
    base = free_base(26100)
    server = EmbeddedPostgres(data / "postgres", base + 15, account(data, base)).start()
    try:
        with psycopg.connect(server.dsn("bi_loader")) as loader:
            loader.execute("CREATE TABLE bi.kept AS SELECT generate_series(1, 1000) AS n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert until(lambda: server.exit_code() is not None)
        server.stop()
        server.start()
        with psycopg.connect(server.dsn("looker_reader")) as reader:
            assert reader.execute("SELECT count(*) FROM bi.kept").fetchone() == (1000,)
    finally:
        server.stop()


def test_stale_pid_file_that_names_a_foreign_process_is_no_obstacle(data: Path) -> None:
    base = free_base(26200)
    server = EmbeddedPostgres(data / "postgres", base + 15, account(data, base)).start()
    server.stop()
    (data / "postgres/cluster/postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n1\n", encoding="utf-8")
    with server:
        assert server.pid is not None


def test_terminating_the_foreground_process_ends_the_server_and_keeps_the_data(
    data: Path, foreground: Foreground
) -> None:
    base = free_base(26300)
    process = foreground(data, base)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    pid = server_pid(data)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not is_running(pid)
    again = foreground(data, base)
    assert again.stdout is not None
    assert again.stdout.readline() == "ready\n"
    again.send_signal(signal.SIGINT)
    assert again.wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_kill_9_of_the_foreground_process_takes_the_server_down_and_a_restart_works(
    data: Path, foreground: Foreground
) -> None:
    base = free_base(26400)
    process = foreground(data, base)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    pid = server_pid(data)
    process.kill()
    process.wait()
    with EmbeddedPostgres(data / "postgres", base + 15, account(data, base)) as server:
        assert server.pid not in (None, pid)
    assert until(lambda: not is_running(pid))


def test_port_in_use_is_named(data: Path, foreground: Foreground) -> None:
    base = free_base(26500)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 15))
        taken.listen()
        process = foreground(data, base)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert f"port {base + 15} on 127.0.0.1 is in use" in err


def test_second_server_on_the_same_folder_is_refused(server: EmbeddedPostgres) -> None:
    rival = EmbeddedPostgres(server.data, free_base(26600) + 15, server.accounts)
    with pytest.raises(PostgresError, match="another process runs the Postgres of"):
        rival.start()


def test_lost_accounts_are_explained(data: Path) -> None:
    base = free_base(26700)
    EmbeddedPostgres(data / "postgres", base + 15, account(data, base)).start().stop()
    (data / "accounts.json").unlink()
    with pytest.raises(PostgresError, match="made with other passwords than"):
        EmbeddedPostgres(data / "postgres", base + 15, account(data, base)).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_as_root_below_a_closed_folder_nothing_outside_the_data_changes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    beside = closed / "beside"
    beside.mkdir(mode=0o750)
    before = {path: (path.stat().st_mode, path.stat().st_uid) for path in (tmp_path, closed, beside)}
    base = free_base(26800)
    data = closed / "data"
    with EmbeddedPostgres(data / "postgres", base + 15, account(data, base)) as server:
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
        assert "Uid:\t0" not in status
    assert {path: (path.stat().st_mode, path.stat().st_uid) for path in before} == before
    assert stat.S_IMODE((data / "postgres").stat().st_mode) == 0o700
    assert (data / "accounts.json").stat().st_uid == 0
