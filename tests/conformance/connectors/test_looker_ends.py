"""Every end that the build of a Looker PDT can come to is reported as what it is: over the wire to the sandbox, on its clock."""

from __future__ import annotations

import pytest

from tests.conformance.connectors.linked_world import API, LinkedWorld, end
from tests.conformance.sandboxes.looker_support import Cloud, looker_cloud, looker_parts  # noqa: F401

PDT = {"trigger": "pdt"}


@pytest.fixture
def world(cloud: Cloud) -> LinkedWorld:
    cloud.sql("CREATE TABLE IF NOT EXISTS bi.planes (tailnum text)")
    return LinkedWorld(cloud.server, "looker")


def test_a_build_that_succeeds(world: LinkedWorld) -> None:
    run = world.ended(PDT)
    assert (end(run), run["vendor_status"]) == (("success", None), "complete")


def test_a_build_that_fails_carries_lookers_reason(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.sql("DROP TABLE bi.planes")
    run = world.ended(PDT)
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_failed"), "error")
    assert 'ERROR: relation "bi.planes" does not exist' in run["error_message"]


def test_a_datagroup_whose_check_fails_carries_lookers_reason(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.server.settings("looker", trigger_error="permission denied for schema bi")
    run = world.ended({"trigger": "datagroup"})
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_failed"), "trigger_error")
    assert "permission denied for schema bi" in run["error_message"]


def test_a_build_that_we_cancel_is_cancelled_by_request(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.server.settings("looker", pdt_seconds=600)
    run_id = world.start(PDT)
    world.work_once()
    assert world.call("refresh", "POST", f"{API}/refresh-runs/{run_id}:cancel").status == 200
    world.work()
    run = world.run(run_id)
    assert (end(run), run["vendor_status"]) == (("cancelled", "refresh_cancelled"), "killed")
    assert run["error_message"] == "cancelled by request"


def test_a_build_that_somebody_kills_in_looker_is_not_ours(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.server.settings("looker", pdt_outcome="killed")
    run = world.ended(PDT)
    assert (end(run), run["vendor_status"]) == (("cancelled", "refresh_cancelled"), "killed")
    assert run["error_message"] == "the refresh was cancelled at the vendor"


def test_a_build_over_its_time_is_stopped_and_called_timed_out(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.server.settings("looker", pdt_seconds=7_200)
    run = world.ended(PDT, "10m")
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_timeout"), "killed")
    assert run["error_message"] == "it had not ended after 0:10:00 and was cancelled at the vendor"


def test_a_datagroup_that_is_never_checked_is_timed_out(world: LinkedWorld, cloud: Cloud) -> None:
    cloud.server.settings("looker", datagroup_seconds=7_200)
    run = world.ended({"trigger": "datagroup"}, "10m")
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_timeout"), "triggered, not checked yet")
    assert "it cannot be cancelled: a datagroup's trigger cannot be taken back" in run["error_message"]


def test_a_build_that_looker_never_shows_is_said_so_after_an_hour(world: LinkedWorld, cloud: Cloud) -> None:
    run_id = world.start(PDT)
    world.work_once()
    cloud.server.fault(
        vendor="looker", kind="status", status=404, path="/status$", times=-1, body={"message": "Not found"}
    )
    world.work()
    run = world.run(run_id)
    assert (end(run), run["vendor_status"]) == (("failed", "refresh_not_seen"), "not shown")
    assert "has not shown it in its history for 1:00:00" in run["error_message"]


def test_a_build_that_looker_shows_late_is_followed_to_its_end(world: LinkedWorld, cloud: Cloud) -> None:
    run_id = world.start(PDT)
    world.work_once()
    cloud.server.fault(
        vendor="looker", kind="status", status=404, path="/status$", times=4, body={"message": "Not found"}
    )
    world.work()
    assert end(world.run(run_id)) == ("success", None)
