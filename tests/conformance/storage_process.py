"""fake-gcs-server for a test session."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local import cloud_storage
from infra.local.ports import Ports


@contextmanager
def running_storage(data: Path, ports: Ports, *buckets: str) -> Iterator[Ports]:
    """Serve objects below `data` while the block runs, with these buckets."""
    (data / "gcs").mkdir()
    child = subprocess.Popen(cloud_storage.command(data, ports), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if cloud_storage.is_ready(ports):
                    break
            except OSError:
                time.sleep(0.05)
        cloud_storage.make_buckets(ports, buckets)
        yield ports
    finally:
        child.terminate()
        child.wait(10)
