"""`python -m infra.local --data DIR --port-base N`: the whole local cloud until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from infra.local.cloud_storage import MissingProgramError
from infra.local.ports import PortInUseError
from infra.local.processes import PartFailedError
from infra.local.supervisor import DataFolderInUseError, LocalCloud
from infra.local.try_it import introduction, write_examples


class _StoppedError(BaseException):
    """A signal came while the parts were starting. Not an `Exception`: nothing on the way up may handle it."""


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped. Returns 0 after a signal, 1 if a part could not start or ended by itself."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path(".local"), help="everything is kept here (default %(default)s)"
    )
    parser.add_argument("--port-base", type=int, default=8080, help="first of 20 ports (default %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    cloud = LocalCloud(options.data, options.port_base, say)
    stop_requested = threading.Event()
    started = time.monotonic()
    try:
        with _signals(stop_requested, interrupt=True):
            cloud.start()
            examples = write_examples(cloud.layout, cloud.accounts)
        with _signals(stop_requested, interrupt=False):
            say(introduction(cloud.layout, examples, time.monotonic() - started))
            cloud.wait(stop_requested)
        say("\nstopping")
    except _StoppedError:
        say("\nstopping")
    except (PortInUseError, DataFolderInUseError, MissingProgramError, PartFailedError) as exc:
        print(f"\nmake run: {exc}", file=sys.stderr, flush=True)
        return 1
    finally:
        with _signals(stop_requested, interrupt=False):
            cloud.stop()
    return 0


@contextlib.contextmanager
def _signals(stop_requested: threading.Event, *, interrupt: bool) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP set the event; with `interrupt` they also break into what is running."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        first = not stop_requested.is_set()
        stop_requested.set()
        if interrupt and first:
            raise _StoppedError

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
