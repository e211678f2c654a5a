"""Run one emulator in a process of its own, so that a test can kill it: `emulator_process.py MODULE FILE PORT`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from infra.local.emulators.clock import Clock
from infra.local.emulators.grpc_server import serve

if __name__ == "__main__":
    module = importlib.import_module(f"infra.local.emulators.{sys.argv[1]}")
    server = serve(int(sys.argv[3]), module.handler(Path(sys.argv[2]), Clock()))
    print(server.bound_port, flush=True)
    server.wait_for_termination()
