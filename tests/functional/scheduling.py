"""What the tests of schedules and of their occurrences share."""

from __future__ import annotations

from typing import Any

from shared.connectors._base import RefreshStatus, VendorRefresh
from tests.functional.conftest import Answer, World

API = "/api/bi-connectors"
DONE = VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")
RUNNING = VendorRefresh("v", RefreshStatus.RUNNING, "Unknown")
FAILED = VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason="ModelRefreshFailed")
SCHEDULE = {"connector_name": "ymca_powerbi", "cron_expression": "0 */6 * * *", "timezone": "Europe/Berlin"}
HOURLY = {
    "connector_name": "ymca_sheets",
    "cron_expression": "@hourly",
    "action": "export_and_refresh",
    "export": {"connector_name": "ymca_sheets", "table_name": "people"},
}


def create(world: World, body: dict[str, Any] = SCHEDULE, **more: Any) -> str:
    answer = world.call("refresh", "POST", f"{API}/schedules", {**body, **more})
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


def get(world: World, schedule_id: str) -> Answer:
    return world.call("refresh", "GET", f"{API}/schedules/{schedule_id}")


def occurrences(world: World, schedule_id: str) -> list[tuple[str, str, str | None]]:
    found = world.call("refresh", "GET", f"{API}/schedules/{schedule_id}/occurrences").body["occurrences"]
    return [(one["planned_at"], one["status"], one["reason"]) for one in reversed(found)]


def statuses(world: World, schedule_id: str) -> list[tuple[str, str]]:
    return [(at[11:16], status) for at, status, _ in occurrences(world, schedule_id)]


def jobs(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.call("export", "GET", f"{API}/export-jobs").body["jobs"]
    return found
