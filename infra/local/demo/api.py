"""The gateway's API as a user's program would call it: plain HTTP and JSON."""

from __future__ import annotations

import uuid
from typing import Any

import requests

FINAL = frozenset({"success", "failed", "cancelled"})
_TIMEOUT_S = 120


class ApiError(Exception):
    """The API refused a request; the message is its problem document in one line."""


class Api:
    """`/api/bi-connectors` behind one gateway."""

    def __init__(self, gateway: str) -> None:
        self._root = f"{gateway}/api/bi-connectors"
        self._session = requests.Session()
        self._session.trust_env = False

    def register(self, body: dict[str, Any]) -> dict[str, Any]:
        """Register a connector; returns it without its secrets."""
        return self._call("POST", "/register", body)

    def test(self, connector: str) -> dict[str, Any]:
        """Test a connection: `{ok, checks, latency_ms}`."""
        return self._call("POST", f"/{connector}/test")

    def export(self, **body: Any) -> dict[str, Any]:
        """Start an export; returns the accepted job."""
        return self._call("POST", "/export", body)

    def job(self, job_id: str, wait_s: int | None = None) -> dict[str, Any]:
        """Read a job; with `wait_s` the answer is held until the job changes."""
        return self._call("GET", f"/export-jobs/{job_id}{_wait(wait_s)}")

    def refresh(self, connector: str) -> dict[str, Any]:
        """Start a refresh; returns the run."""
        return self._call("POST", f"/{connector}/refresh", {})

    def refresh_run(self, run_id: str, wait_s: int | None = None) -> dict[str, Any]:
        """Read a refresh run."""
        return self._call("GET", f"/refresh-runs/{run_id}{_wait(wait_s)}")

    def refresh_runs(self) -> list[dict[str, Any]]:
        """The newest refresh runs."""
        runs: list[dict[str, Any]] = self._call("GET", "/refresh-runs")["refresh_runs"]
        return runs

    def schedule(self, connector: str, cron: str) -> dict[str, Any]:
        """Make a refresh schedule in UTC."""
        return self._call("POST", "/schedules", {"connector_name": connector, "cron_expression": cron})

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule, and with it its Cloud Scheduler job."""
        self._call("DELETE", f"/schedules/{schedule_id}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        answer = self._session.request(method, self._root + path, json=body, headers=headers, timeout=_TIMEOUT_S)
        if not answer.ok:
            raise ApiError(f"{method} {path} answered {answer.status_code}: {_reason(answer)}")
        result: dict[str, Any] = answer.json() if answer.content else {}
        return result


def _wait(seconds: int | None) -> str:
    return "" if seconds is None else f"?wait={seconds}s"


def _reason(answer: requests.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return answer.text[:300]
    return f"{problem.get('code', '')} {problem.get('detail') or problem.get('title', '')}"
