"""Brings everything stored to the present form at once. Without it, jobs that have not ended are lifted when a worker meets them."""

from __future__ import annotations

from shared.data.backup import every
from shared.models import SCHEMA
from shared.ports import Documents
from shared.services.lifting import Lifting


def migrate(documents: Documents, lifting: Lifting) -> int:
    """Lift every job, in the order that they were made in; return how many there were to lift. Repeatable."""
    return sum(lifting.lift_job(job.path) for job in every(documents, "export_jobs") if job.data["schema"] < SCHEMA)
