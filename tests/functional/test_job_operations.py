"""Cancel, hold, approve, reject, retry, republish, erase, turns on a target, the sweeper: over HTTP on fakes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.errors import TargetError, VendorUnavailableError
from tests.functional.conftest import Answer, World
from tests.functional.test_exports import API, EXPORT, ROWS, job, start


def do(world: World, job_id: str, verb: str, **headers: str) -> Answer:
    return world.call("export", "POST", f"{API}/export-jobs/{job_id}:{verb}", **headers)


def at_step(world: World, name: str, act: Callable[[], object]) -> None:
    """Do something the first time that the vendor is asked for a step."""
    original, done = world.vendor.step, []

    def step(called: str) -> None:
        if called == name and not done:
            done.append(1)
            act()
        original(called)

    world.vendor.step = step  # type: ignore[method-assign]


def test_a_job_nobody_works_on_is_cancelled_at_once(registered: World) -> None:
    job_id = start(registered)
    assert do(registered, job_id, "cancel").body["status"] == "cancelled"
    registered.work()
    assert registered.vendor.calls == []
    again = do(registered, job_id, "cancel")
    assert (again.status, again.body["code"]) == (409, "job_ended")


def test_a_running_job_stops_at_its_next_checkpoint_and_leaves_no_staging(registered: World) -> None:
    start(registered)
    registered.work()
    registered.vendor.calls.clear()
    job_id = start(registered, rows=[{"id": n, "name": "x"} for n in range(10)])
    at_step(registered, "write", lambda: do(registered, job_id, "cancel"))
    registered.work()
    ended = job(registered, job_id)
    assert (ended["status"], ended["error_message"]) == ("cancelled", "cancelled by request")
    assert registered.vendor.calls.count("write") == 1
    assert registered.vendor.live == {"people": ROWS}
    assert registered.vendor.staging == {}


def test_a_job_that_waits_for_the_vendor_is_cancelled_without_waiting(registered: World) -> None:
    registered.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=3600.0))]
    job_id = start(registered)
    task = registered.fakes.tasks.pending.pop(0)
    registered.fakes.tasks.pending.append(task)
    registered.work_once()
    assert "until" in str(job(registered, job_id)["waiting"])
    do(registered, job_id, "cancel")
    registered.work_once(newest=True)
    assert job(registered, job_id)["status"] == "cancelled"


def test_a_job_that_publishes_cannot_be_cancelled(registered: World) -> None:
    job_id = start(registered)
    answers: list[Answer] = []
    at_step(registered, "publish", lambda: answers.append(do(registered, job_id, "cancel")))
    registered.work()
    assert (answers[0].status, answers[0].body["code"]) == (409, "job_publishing")
    assert job(registered, job_id)["status"] == "success"


@pytest.mark.parametrize("rows", [[], [{"id": 1, "name": "Ann"}]])
def test_a_replace_that_takes_too_much_away_is_held_until_approved(
    registered: World, rows: list[dict[str, object]]
) -> None:
    start(registered)
    registered.work()
    job_id = start(registered, rows=rows)
    registered.work()
    held = job(registered, job_id)
    assert held["status"] == "held"
    assert "the target holds 3" in str(held["held_reason"])
    assert registered.vendor.live == {"people": ROWS}
    assert do(registered, job_id, "approve").status == 202
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert registered.vendor.live == {"people": rows}


def test_rows_that_a_person_put_there_are_held_against_a_first_replace(registered: World) -> None:
    registered.vendor.live["people"] = [{"id": n, "name": "by hand"} for n in range(200)]
    job_id = start(registered, rows=[])
    registered.work()
    held = job(registered, job_id)
    assert (held["status"], "the target holds 200" in str(held["held_reason"])) == ("held", True)
    assert len(registered.vendor.live["people"]) == 200


def test_a_held_job_lets_others_pass_and_is_then_superseded(registered: World) -> None:
    start(registered)
    registered.work()
    held = start(registered, rows=[])
    registered.work()
    registered.fakes.clock.sleep(1)
    start(registered, rows=[*ROWS, {"id": 4, "name": "Di"}])
    registered.work()
    assert len(registered.vendor.live["people"]) == 4
    refused = do(registered, held, "approve")
    assert (refused.status, refused.body["code"]) == (409, "superseded")
    assert registered.call("export", "POST", f"{API}/export-jobs/{held}:approve?force=true").status == 202
    registered.work()
    assert registered.vendor.live["people"] == []


def test_a_rejected_job_ends_and_touches_nothing(registered: World) -> None:
    start(registered)
    registered.work()
    held = start(registered, rows=[])
    registered.work()
    assert do(registered, held, "reject").body["status"] == "cancelled"
    assert do(registered, held, "approve").body["code"] == "wrong_state"
    registered.work()
    assert registered.vendor.live == {"people": ROWS}


def test_appends_are_never_held_and_count_towards_the_next_guard(registered: World) -> None:
    start(registered)
    registered.work()
    start(registered, mode="append", rows=[{"id": n, "name": "x"} for n in range(9)])
    registered.work()
    held = start(registered, rows=ROWS)
    registered.work()
    assert "the target holds 12" in str(job(registered, held)["held_reason"])


def test_retry_starts_a_new_job_from_the_same_rows(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    registered.vendor.errors = [("publish", TargetError("no"))]
    failed = start(registered, rows=None)
    registered.work()
    registered.fakes.objects.put("tables", "people.csv", b"id\n2\n")
    answer = do(registered, failed, "retry", Idempotency_Key="r1")
    assert (answer.status, answer.body["retry_of"]) == (202, failed)
    assert do(registered, failed, "retry", Idempotency_Key="r1").body["id"] == answer.body["id"]
    registered.work()
    assert job(registered, answer.body["id"])["status"] == "success"
    assert registered.vendor.live["people"] == [{"id": 1}]
    assert do(registered, answer.body["id"], "retry").body["code"] == "wrong_state"


def test_republish_brings_back_what_a_past_job_froze(registered: World) -> None:
    first = start(registered)
    registered.work()
    start(registered, rows=[{"id": n, "name": "later"} for n in range(5)])
    registered.work()
    again = do(registered, first, "republish")
    registered.work()
    assert job(registered, again.body["id"])["status"] == "success"
    assert registered.vendor.live == {"people": ROWS}


def test_erase_leaves_nothing_of_a_job(registered: World) -> None:
    job_id = start(registered, export_format="csv")
    refused = registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}")
    assert refused.status == 409
    assert refused.body["code"] == "job_running"
    registered.work()
    assert registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}").status == 204
    assert registered.call("export", "GET", f"{API}/export-jobs/{job_id}").status == 404
    assert [path for path in registered.fakes.documents._documents if job_id in path] == []
    assert [name for bucket, name in registered.fakes.objects._live if job_id in name] == []


def test_jobs_on_one_target_take_turns_in_order_of_acceptance(registered: World) -> None:
    first = start(registered)
    registered.fakes.clock.sleep(1)
    second = start(registered, rows=[{"id": n, "name": "second"} for n in range(4)])
    registered.fakes.tasks.pending.reverse()  # Cloud Tasks keeps no order
    registered.work()
    assert [job(registered, job_id)["status"] for job_id in (first, second)] == ["success", "success"]
    assert [row["name"] for row in registered.vendor.live["people"]] == ["second"] * 4


def test_the_sweeper_wakes_a_job_whose_task_was_lost_and_leaves_waiting_ones(registered: World) -> None:
    lost = start(registered)
    registered.fakes.tasks.pending.clear()
    registered.sweep()
    assert registered.fakes.tasks.pending == []  # its time has not come
    registered.fakes.clock.sleep(61)
    registered.sweep()
    registered.work()
    assert job(registered, lost)["status"] == "success"
    registered.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=3600.0))]
    start(registered, rows=ROWS)
    registered.work_once()
    registered.fakes.clock.sleep(600)
    before = len(registered.fakes.tasks.pending)
    registered.sweep()
    assert len(registered.fakes.tasks.pending) == before


def test_the_sweeper_forgets_rows_past_their_time(registered: World) -> None:
    job_id = start(registered)
    registered.work()
    registered.fakes.clock.sleep(timedelta(days=7, minutes=1).total_seconds())
    registered.sweep()
    assert registered.fakes.objects.stat("frozen", f"jobs/{job_id}/source.jsonl") is None
    assert do(registered, job_id, "republish").body["code"] == "rows_erased"


@pytest.mark.parametrize(
    ("connector", "more"),
    [
        ("ymca_sheets", 0),
        ("ymca_powerbi", 1),  # that the target is touched from now on
    ],
)
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_document_writes_of_a_job_are_few(registered: World, connector: str, more: int, chunks: int) -> None:
    registered.vendor.is_staged = not more
    before = _writes(registered)
    start(registered, connector_name=connector, rows=[{"id": n} for n in range(2 * chunks)])
    accepted = _writes(registered) - before
    registered.work()
    assert accepted == 2  # the job and its target's line
    # claim, frozen, begun (job, remembered target), publishing, end (job, target); then each chunk (job, manifest)
    assert _writes(registered) - before - accepted == 7 + 2 * chunks + more


def test_an_idempotency_key_is_one_document_write_more(registered: World) -> None:
    before = _writes(registered)
    registered.call("export", "POST", f"{API}/export", EXPORT, Idempotency_Key="once")
    assert _writes(registered) - before == 3


def _writes(world: World) -> int:
    """Document writes so far, less the audit entries, which are written once each."""
    documents = world.fakes.documents
    return documents._writes - sum(path.startswith("audit/") for path in documents._documents)


def test_a_repeated_or_late_task_does_not_multiply(registered: World) -> None:
    start(registered)
    second = start(registered, mode="append", rows=[{"id": 4, "name": "Di"}])
    tasks = registered.fakes.tasks
    first_task, second_task = tasks.pending
    tasks.pending = [second_task, second_task, second_task, first_task, second_task, first_task]
    registered.work()
    assert job(registered, second)["status"] == "success"
    assert [row["id"] for row in registered.vendor.live["people"]] == [1, 2, 3, 4]
    assert registered.fakes.documents._documents[f"export_jobs/{second}"][0]["seq"] <= 4


def test_an_approved_job_that_a_running_one_overtakes_ends_as_superseded(registered: World) -> None:
    start(registered)
    registered.work()
    held = start(registered, rows=[])
    registered.work()
    start(registered, rows=[*ROWS, {"id": 4, "name": "Di"}])
    assert do(registered, held, "approve").status == 202
    registered.work()
    assert job(registered, held)["error"]["code"] == "superseded"  # type: ignore[index]
    assert len(registered.vendor.live["people"]) == 4


def test_a_failed_replace_of_power_bi_pushes_the_last_good_rows_again(registered: World) -> None:
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.fakes.clock.sleep(1)
    registered.vendor.errors = [("read_back", TargetError("the vendor lost rows"))]
    failed = start(registered, connector_name="ymca_powerbi", rows=[{"id": 7, "name": "G"}] * 2)
    registered.work()
    ended = job(registered, failed)
    assert ended["status"] == "failed"
    repair = job(registered, str(ended["repair_job_id"]))
    assert (repair["status"], repair["requested_by"]) == ("success", "repair")
    assert registered.vendor.live == {"people": ROWS}


def test_a_late_delete_of_power_bi_is_seen_a_lease_later_and_repaired(registered: World) -> None:
    registered.vendor.is_staged = False
    done = start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.fakes.clock.sleep(91)
    registered.vendor.staging[done] = {}  # what the vendor now holds of it: nothing
    registered.sweep()
    registered.work()
    repaired = job(registered, done)
    assert job(registered, str(repaired["repair_job_id"]))["status"] == "success"
    registered.vendor.staging[str(repaired["repair_job_id"])] = {0: ROWS}
    registered.fakes.clock.sleep(91)
    registered.sweep()
    assert registered.fakes.tasks.pending == []


def test_a_value_that_a_target_without_staging_cannot_hold_is_met_before_it_is_touched(registered: World) -> None:
    registered.vendor.is_staged, registered.vendor.refused = False, "E"
    failed = start(registered, connector_name="ymca_powerbi", rows=[{"id": n, "name": n} for n in "ABCDE"])
    registered.work()
    assert job(registered, failed)["error_message"] == "row 5 holds what the target cannot"
    assert "begin" not in registered.vendor.calls
    assert job(registered, failed)["repair_job_id"] is None


def test_a_replace_that_fails_while_it_empties_the_target_is_repaired(registered: World) -> None:
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    registered.vendor.errors = [("begin", TargetError("refused after the delete"))]
    failed = start(registered, connector_name="ymca_powerbi")
    registered.work()
    assert job(registered, str(job(registered, failed)["repair_job_id"]))["status"] == "success"


def test_a_worker_that_was_overtaken_remembers_nothing_about_the_target(registered: World) -> None:
    job_id = start(registered)
    documents = registered.fakes.documents
    at_step(registered, "begin", lambda: documents.update(f"export_jobs/{job_id}", {"fence": 99}))
    registered.work_once()
    target = f"targets/{documents._documents[f'export_jobs/{job_id}'][0]['target_key']}"
    assert "remembered" not in documents._documents[target][0]
    documents.update(f"export_jobs/{job_id}", {"lease_until": registered.fakes.clock.now()})
    registered.fakes.clock.sleep(100)
    registered.sweep()
    registered.work()
    assert documents._documents[target][0]["remembered"] == {"remembered": "people"}


def test_a_job_is_cancelled_though_its_vendor_cannot_be_asked(registered: World) -> None:
    registered.vendor.errors = [("preflight", VendorUnavailableError("no answer", retry_after_s=3600.0))]
    job_id = start(registered)
    registered.work_once()
    do(registered, job_id, "cancel")
    registered.services.connectors._load = _unreachable
    registered.work_once(newest=True)
    ended = job(registered, job_id)
    assert (ended["status"], ended["error_message"]) == ("cancelled", "cancelled by request")


def _unreachable(*_: object) -> object:
    raise VendorUnavailableError("no answer")


def test_a_box_of_work_that_is_full_goes_on_in_the_next_task_where_it_was(registered: World) -> None:
    job_id = start(registered, rows=[{"id": n} for n in range(6)])
    at_step(registered, "write", lambda: registered.fakes.clock.sleep(timedelta(minutes=8).total_seconds()))
    registered.work_once()
    box = job(registered, job_id)
    assert (box["status"], box["progress"]["chunks_done"]) == ("running", 1)  # type: ignore[index]
    assert len(registered.fakes.tasks.pending) == 1
    registered.work_once()
    assert job(registered, job_id)["status"] == "success"
    assert (registered.vendor.calls.count("begin"), registered.vendor.calls.count("write")) == (1, 3)


def test_a_job_whose_task_gave_up_for_good_is_found_and_goes_on(registered: World) -> None:
    job_id = start(registered)

    def crash() -> None:
        raise OSError("the worker's disk is full")

    at_step(registered, "write", crash)
    registered.fakes.tasks.pending.clear()
    with pytest.raises(OSError, match="disk is full"):
        registered.services.exports.run(job_id, 0)  # the last attempt that Cloud Tasks makes
    registered.fakes.clock.sleep(200)
    registered.sweep()
    registered.work()
    assert job(registered, job_id)["status"] == "success"


def test_an_idempotency_key_belongs_to_the_job_that_it_was_used_on(registered: World) -> None:
    registered.vendor.errors = [("publish", TargetError("no"))] * 2
    first, second = start(registered), start(registered)
    registered.work()
    assert do(registered, first, "retry", Idempotency_Key="r1").status == 202
    other = do(registered, second, "retry", Idempotency_Key="r1")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
