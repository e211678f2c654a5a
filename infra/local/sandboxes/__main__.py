"""`python -m infra.local.sandboxes --data DIR --port-base N`: all vendor sandboxes until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from .server import PortInUseError, SandboxServer

STOP_S = 3.0  # our choice: the supervisor's own grace


def main() -> int:
    """Serve; prints `ready` once every port is bound. 0 after a signal, 1 if a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.sandboxes", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the local cloud's data folder; made if missing")
    parser.add_argument("--port-base", type=int, required=True, help="proxy on +16, TLS on +17, admin on +18")
    parser.add_argument("--no-traffic-log", action="store_true", help="count exchanges, do not write them down")
    arguments = parser.parse_args()
    # No Event: set in a handler, it can wait for ever for the lock of the wait that it interrupts.
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    try:
        server = SandboxServer(arguments.data, arguments.port_base, traffic=not arguments.no_traffic_log).start()
    except PortInUseError as error:
        print(error, file=sys.stderr)
        return 1
    print("ready", flush=True)
    while not stopped:
        time.sleep(0.1)
    last = threading.Timer(STOP_S, os._exit, (0,))  # a connection that somebody holds open must not keep us
    last.daemon = True
    last.start()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
