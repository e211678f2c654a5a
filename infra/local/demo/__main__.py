"""`python -m infra.local.demo`: the whole story in an empty data folder of its own; 0 only if every cell agrees."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import requests

from infra.local import canaries
from infra.local.cloud_storage import MissingProgramError
from infra.local.demo.api import ApiError
from infra.local.demo.screen import Screen
from infra.local.demo.story import DemoFailedError, Story
from infra.local.demo.vendors import VendorAnswerError
from infra.local.ports import PortInUseError, free_base
from infra.local.processes import PartFailedError
from infra.local.stop_signals import StoppedError, stop_signals
from infra.local.supervisor import DataFolderInUseError, LocalCloud, remove_data

_FAILURES = (
    ApiError,
    DemoFailedError,
    VendorAnswerError,
    PartFailedError,
    PortInUseError,
    DataFolderInUseError,
    MissingProgramError,
    requests.RequestException,
)


def main() -> int:
    """Run the demo. Its data folder is kept with `KEEP=1`, and when the demo fails."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    data = Path(".local") / f"demo-{os.getpid()}"
    keep = bool(os.environ.get("KEEP"))
    try:
        agreed = _run(data, screen)
    except (KeyboardInterrupt, StoppedError):
        screen.step("interrupted; everything is stopped")
        remove_data(data)
        return 130
    if agreed and not keep:
        remove_data(data)
    elif data.exists():
        screen.say(f"data and logs are kept in {data}")
    if not agreed:
        screen.step("the demo FAILED; everything is stopped")
        return 1
    screen.step("every vendor holds exactly the rows of its source; everything is stopped")
    return 0


def _run(data: Path, screen: Screen) -> bool:
    try:
        cloud = LocalCloud(data, free_base(), screen.say)
        screen.step(f"starting the local cloud in {data} on ports {cloud.layout.ports.base} and up")
        stop_requested = threading.Event()
        try:
            with stop_signals(stop_requested):
                cloud.start(stop_requested)
            agreed = Story(cloud, screen).run()
            found = canaries.leaks(cloud.accounts, cloud.layout.data)
            if not canaries.finds_what_is_planted(cloud.accounts, cloud.layout.data / "logs"):
                found.append("the search for secrets does not find one that was planted")
            screen.step(
                "; ".join(found)
                if found
                else "no secret in any log, document, table or file, nor in a command line; one planted in each spelling was found"
            )
            return agreed and not found
        finally:
            with stop_signals(stop_requested):
                cloud.stop()
    except _FAILURES as exc:
        screen.say(str(exc))
        return False


if __name__ == "__main__":
    sys.exit(main())
