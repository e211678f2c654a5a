"""`python -m infra.local` as a person meets it: ports in use, a killed part, Ctrl-C, kill -9."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.ports import Ports, free_base

ROOT = Path(__file__).parents[2]
KEYS = {
    *(
        "gateway",
        "functions",
        "containers",
        "project",
        "location",
        "firestore",
        "secret_manager",
        "cloud_scheduler",
        "cloud_tasks",
    ),
    *("gcs", "postgres", "postgres_reader", "sandbox", "accounts", "emulator_admin"),
}
Start = Callable[..., "subprocess.Popen[str]"]


def processes_of(data: Path) -> list[str]:
    """Command lines of the processes (no zombies) that name the data folder or were started for it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if (
            command
            and int(folder.name) != os.getpid()
            and (str(data) in command or f"HOME={data}\0".encode() in environment)
        ):
            found.append(command)
    return found


def wait_until_gone(data: Path, timeout_s: float = 60.0) -> list[str]:
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture
def base() -> int:
    return free_base(start=29_000)


@pytest.fixture
def start(tmp_path: Path, base: int) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def launch(data: Path = tmp_path / "data", port_base: int = base) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "--data", str(data), "--port-base", str(port_base)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_until_up(process: subprocess.Popen[str], data: Path) -> None:
    deadline = time.monotonic() + 60
    while not (data / "endpoints.json").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_part_is_named_and_everything_else_is_stopped(start: Start, tmp_path: Path, base: int) -> None:
    data = tmp_path / "data"
    process = start()
    wait_until_up(process, data)
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    second = start(port_base=base + 20)
    second_said = second.communicate(timeout=30)[0]
    gcs = next(int(f.name) for f in Path("/proc").glob("[0-9]*") if _is_gcs(f, data))

    os.kill(gcs, signal.SIGKILL)
    said = process.communicate(timeout=60)[0]

    assert endpoints.keys() == KEYS
    assert endpoints["functions"].keys() == {"register", "export", "export_worker", "refresh"}
    assert endpoints["containers"].keys() == endpoints["functions"].keys()
    assert endpoints["sandbox"].keys() == {"proxy", "ca_file", "admin"}
    assert second.returncode == 1
    assert "another local cloud runs on" in second_said
    assert process.returncode == 1
    assert "gcs ended by signal SIGKILL" in said
    assert wait_until_gone(data) == []
    assert not (data / "endpoints.json").exists()


def _is_gcs(folder: Path, data: Path) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return False
    return b"fake-gcs-server-" in command.split(b"\0")[0] and str(data).encode() in command


def test_sigterm_stops_everything(start: Start, tmp_path: Path) -> None:
    process = start()
    wait_until_up(process, tmp_path / "data")

    process.terminate()
    said = process.communicate(timeout=60)[0]

    assert process.returncode == 0, said
    assert wait_until_gone(tmp_path / "data") == []
    assert "curl -s http://127.0.0.1:" in said.replace(" --noproxy '*'", "")


def test_a_killed_supervisor_leaves_nothing_running(start: Start, tmp_path: Path) -> None:
    process = start()
    wait_until_up(process, tmp_path / "data")

    process.kill()
    process.communicate()

    assert wait_until_gone(tmp_path / "data") == []


def test_a_signal_while_starting_stops_what_was_started(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start()
    deadline = time.monotonic() + 60
    while len(processes_of(data)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)

    said = process.communicate(timeout=60)[0]

    assert process.returncode == 0, said
    assert wait_until_gone(data, 1) == []


def test_a_port_in_use_is_named_before_anything_starts(start: Start, tmp_path: Path, base: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", Ports(base).of("firestore")))
        taken.listen()

        process = start()
        said = process.communicate(timeout=30)[0]

    assert process.returncode == 1
    assert f"port {base + 10} (firestore) on 127.0.0.1 is in use" in said
    assert "make run PORT_BASE=" in said
    assert not (tmp_path / "data" / "logs").exists()
