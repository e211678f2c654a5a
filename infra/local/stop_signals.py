"""Ctrl-C, SIGTERM and a closed terminal as an event to look at, never as an exception in the middle of something."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """A stop was requested before the work was done."""


@contextlib.contextmanager
def stop_signals(stop_requested: threading.Event) -> Iterator[None]:
    """While the block runs, let the stop signals set the event. For the main thread."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop_requested.set()

    previous = {number: signal.signal(number, handle) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
