"""When a target without atomic replace is repaired."""

from __future__ import annotations

from typing import Any

import pytest

from shared.models import JobStatus
from shared.services.repairs import Repairs


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.HELD])
def test_a_job_that_another_worker_still_drives_is_not_repaired(status: JobStatus) -> None:
    """The overtaken worker would put the rows of the job before behind it, and they would replace its own."""
    nothing: Any = None  # whatever is asked of it fails
    job = {"id": "j", "connector_type": "power_bi", "mode": "replace", "touched": True, "status": status.value}
    Repairs(nothing, nothing, nothing).see_to(job)
