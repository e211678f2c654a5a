"""Keeps a lease alive while its worker is in a step that outlives it: a large file, a long read-back, a wait for quota.

A thread, because such a step is one call into a library or a vendor. It ends with the box of work, and by itself when Cloud
Tasks has given the box up, so that a worker that hangs for ever does not keep its job for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from shared.pipeline.lease import RENEWED_AFTER, Lease, LostLeaseError
from shared.telemetry import log_event

MOST_BEATS = 30  # our choice: 15 minutes, the deadline of a task


@contextmanager
def beating(lease: Lease, every_s: float = RENEWED_AFTER.total_seconds()) -> Iterator[None]:
    """Renew the lease every so often (real seconds) until the block ends; no thread is left then."""
    ended = threading.Event()

    def beat() -> None:
        for _ in range(MOST_BEATS):
            if ended.wait(every_s):
                return
            try:
                lease.renew()
            except LostLeaseError:
                return  # the worker finds out at its next checkpoint
            except Exception as error:  # noqa: BLE001 - whatever the store's trouble, the next beat tries again
                log_event("lease_not_renewed", severity="WARNING", path=lease.path, reason=type(error).__name__)

    thread = threading.Thread(target=copy_context().run, args=(beat,), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
