"""What survives the end of the emulator's process, clean or by kill -9."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter

from tests.conformance.emulators.conftest import Connect

pytestmark = pytest.mark.usefixtures("own_emulator")

ROOT = Path(__file__).parents[3]


class Emulator:
    """The emulator in a process of its own over one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        command = [
            sys.executable,
            "-m",
            "tests.conformance.emulators.emulator_process",
            "firestore",
            str(self._file),
            "0",
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return f"127.0.0.1:{int(self._process.stdout.readline())}"

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(20)
            self._process.stdout.close()  # type: ignore[union-attr]
            self._process = None


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "firestore.sqlite")
    yield running
    running.end()


def test_everything_is_there_after_a_clean_restart(emulator: Emulator, connect: Connect) -> None:
    db = connect(host=emulator.start())
    then = db.document("things/one").set({"n": 1}).update_time
    db.document("things/one").set({"n": 2})
    db.document("things/two").set({"n": 2})
    db.document("things/gone").set({"n": 2})
    db.document("things/gone").delete()
    before = db.document("things/one").get()
    emulator.end(signal.SIGTERM)
    db = connect(host=emulator.start())
    after = db.document("things/one").get()
    assert after.to_dict() == {"n": 2}
    assert (after.create_time, after.update_time) == (before.create_time, before.update_time)
    assert [s.id for s in db.collection("things").where(filter=FieldFilter("n", "==", 2)).stream()] == ["one", "two"]
    assert db.document("things/one").get(read_time=then).to_dict() == {"n": 1}


@pytest.mark.parametrize("pause_s", [0.3, 0.7])
def test_kill_9_in_a_storm_of_writes_loses_no_acknowledged_one(
    emulator: Emulator, connect: Connect, pause_s: float
) -> None:
    db = connect(host=emulator.start())
    acknowledged: list[tuple[str, int]] = []
    numbers = itertools.count()

    def storm(worker: int) -> None:
        for turn in itertools.count():
            batch = db.batch()
            number = next(numbers)
            batch.set(db.document(f"pairs/{number}-a"), {"n": number})
            batch.set(db.document(f"pairs/{number}-b"), {"n": number})
            batch.set(db.document(f"last/{worker}"), {"turn": turn})
            try:
                batch.commit(retry=None, timeout=5)
            except (exceptions.GoogleAPICallError, exceptions.RetryError):
                return
            acknowledged.append((f"last/{worker}", turn))
            acknowledged.append((f"pairs/{number}", number))

    threads = [threading.Thread(target=storm, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(pause_s)
    emulator.end(signal.SIGKILL)
    for thread in threads:
        thread.join(20)
    assert len(acknowledged) > 50

    db = connect(host=emulator.start())
    found = {s.id: s.get("n") for s in db.collection("pairs").stream()}
    pairs = [(path.removeprefix("pairs/"), n) for path, n in acknowledged if path.startswith("pairs/")]
    assert [one for one, n in pairs if found.get(f"{one}-a") != n or found.get(f"{one}-b") != n] == []
    assert {key[:-1] + "a" for key in found} == {key[:-1] + "a" for key in found if key[:-1] + "b" in found}
    for worker in range(6):
        last = max(turn for path, turn in acknowledged if path == f"last/{worker}")
        assert db.document(f"last/{worker}").get().get("turn") >= last
    sample = pairs[len(pairs) // 2][1]
    assert len(db.collection("pairs").where(filter=FieldFilter("n", "==", sample)).get()) == 2
