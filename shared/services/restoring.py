"""While documents are restored, nothing is taken and nothing is done: who sees half of them draws wrong conclusions.

A sweep that saw some connectors would destroy the credentials of the others; a call of Cloud Scheduler would start a run whose record
is about to come. So every request that may change something is told to come again; Cloud Tasks and Cloud Scheduler do, and what
they give up on, the sweep and the look of every minute find afterwards.
"""

from __future__ import annotations

from shared.errors import VendorUnavailableError
from shared.ports import Document, Documents

MARK = "maintenance/restore"
"""Is there from a restore's first line until the last is written; it outlives a restore that failed."""
AGAIN_S = 60.0  # our choice: a restore takes minutes


def is_restoring(documents: Documents) -> bool:
    """Whether a restore has begun and has not ended."""
    return documents.get(MARK) is not None


def refuse_while_restoring(mark: Document | None) -> None:
    """Take the document at `MARK`. Raises `VendorUnavailableError`, code `restoring`."""
    if mark is not None:
        message = (
            "this service's documents are being restored from a backup; nothing is lost, ask again in a minute (if it does not "
            "end, an administrator ends it: infra/DEPLOY.md, Restore documents)"
        )
        raise VendorUnavailableError(message, code="restoring", retry_after_s=AGAIN_S)
