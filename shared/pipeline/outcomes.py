"""What one box of work on a job came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Finished:
    """Nothing more to do for this task."""

    goes_on = False
    at = None


@dataclass(frozen=True)
class Continue:
    """Enqueue another task for the job, at `at` (None: at once)."""

    at: datetime | None = None
    goes_on = True


Outcome = Finished | Continue
