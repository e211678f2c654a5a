"""`python -m infra.local --data DIR --port-base N`: the whole local cloud until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

from infra.local.cloud_storage import MissingProgramError
from infra.local.ports import PortInUseError
from infra.local.processes import PartFailedError
from infra.local.stop_signals import StoppedError, stop_signals
from infra.local.supervisor import DataFolderInUseError, LocalCloud
from infra.local.try_it import introduction, write_examples


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
    with stop_signals(stop_requested):
        try:
            cloud.start(stop_requested)
            examples = write_examples(cloud.layout, cloud.accounts)
            say(introduction(cloud.layout, examples, time.monotonic() - started))
            cloud.wait(stop_requested)
            say("\nstopping")
        except StoppedError:
            say("\nstopping")
        except (PortInUseError, DataFolderInUseError, MissingProgramError, PartFailedError) as exc:
            print(f"\nmake run: {exc}", file=sys.stderr, flush=True)
            return 1
        finally:
            cloud.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
