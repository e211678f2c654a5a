"""`make conformance`: the suites on our emulators and sandboxes, then Firestore's on Google's own emulator where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from infra.local.ports import free_base

ROOT = Path(__file__).resolve().parents[1]
JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
START = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
SUITES = [f"tests/conformance/emulators/test_firestore_{name}.py" for name in ("documents", "queries", "listing")]
ORACLE = "tests/conformance/emulators/test_firestore_oracle.py"
READY_S = 60


def official_emulator() -> Path | None:
    """Return the jar of Google's emulator, None if the machine has none (or no Java to run it)."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    roots = [Path("/usr/lib/google-cloud-sdk"), *([Path(gcloud).resolve().parents[1]] if gcloud else [])]
    found = [root / JAR for root in roots if (root / JAR).is_file()]
    return found[0] if found and java else None


def run_on_official(jar: Path) -> int:
    """Start Google's emulator on loopback, run Firestore's suites on it, stop it; return pytest's exit code."""
    port = free_base()
    command = ["java", "-Duser.language=en", "-cp", str(jar), START, "start", "--host=127.0.0.1", f"--port={port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        host = f"127.0.0.1:{port}"
        same = _pytest(SUITES, FIRESTORE_UNDER_TEST=host)
        return same or _pytest([ORACLE], FIRESTORE_ORACLE=host)
    finally:
        server.terminate()
        server.wait(30)


def _pytest(paths: list[str], **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", *paths]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


def _wait(port: int) -> None:
    ends = time.monotonic() + READY_S
    while time.monotonic() < ends:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"Google's Firestore emulator did not listen on port {port} within {READY_S} s")


def main() -> int:
    """Run all; return the first exit code that is not 0."""
    ours = subprocess.run([sys.executable, "-m", "pytest", "tests/conformance"], cwd=ROOT, check=False).returncode
    jar = official_emulator()
    if jar is None:
        sys.stdout.write(
            "SKIPPED: Google's own Firestore emulator is not on this machine; the suites ran on ours only\n"
        )
        return ours
    sys.stdout.write(f"Firestore's suites on Google's own emulator: {jar}\n")
    sys.stdout.flush()
    return ours or run_on_official(jar)


if __name__ == "__main__":
    sys.exit(main())
