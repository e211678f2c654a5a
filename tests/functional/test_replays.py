"""Replays: the rows that a job left out, sent again once their cause is mended."""

from __future__ import annotations

from typing import Any

from tests.functional.conftest import World
from tests.functional.test_mapping import HOURS, JOBS, ROWS, done, job_of
from tests.functional.test_turns import lead_elsewhere


def test_rejected_rows_are_replayed_once_their_cause_is_mended(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    mended = {"columns": [{"name": "id"}, {"name": "Hours", "expression": "try_cast(hrs, 'decimal(10,2)')"}]}
    answer = registered.call("export", "POST", f"{JOBS}/{job['id']}:replayRejects", {"mapping": mended})
    assert answer.status == 202, answer.body
    assert (answer.body["mode"], answer.body["replay_of"]) == ("append", job["id"])
    registered.work()
    replay = job_of(registered, answer.body["id"])
    assert (replay["status"], replay["record_count"]) == ("success", 1)
    assert [row["id"] for row in registered.vendor.live["volunteers"]] == [1, 3, 3, 2]
    again = registered.call("export", "POST", f"{JOBS}/{job['id']}:replayRejects", {"mapping": mended})
    assert (again.status, again.body["code"]) == (409, "replayed")
    assert job_of(registered, job["id"])["replay_job_id"] == replay["id"]


def test_a_replay_takes_the_tables_present_rules_and_may_fail_and_be_tried_again(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    url = f"{JOBS}/{job['id']}:replayRejects"
    failed = registered.call("export", "POST", url, {"contract": {"on_breach": "freeze"}}).body["id"]
    registered.work()
    assert job_of(registered, failed)["status"] == "failed"
    table = {
        "source": {"uri": "gs://tables/volunteers.csv"},
        "mapping": {"columns": [{"name": "id"}, {"name": "Hours", "value": 0, "type": "decimal(10,2)"}]},
        "contract": {"on_breach": "freeze"},
    }
    registered.call("export", "PUT", "/api/bi-connectors/tables/volunteers", table)
    replay = registered.call("export", "POST", url).body["id"]
    stale = registered.call("export", "POST", f"{JOBS}/{failed}:retry")
    assert (stale.status, stale.body["code"]) == (409, "replayed"), "both would deliver the rows"
    registered.work()
    assert job_of(registered, replay)["status"] == "success"
    assert [row["id"] for row in registered.vendor.live["volunteers"]] == [1, 3, 3, 2]


def test_a_failed_replay_that_is_retried_cannot_be_replayed_beside_it(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    url = f"{JOBS}/{job['id']}:replayRejects"
    failed = registered.call("export", "POST", url, {"contract": {"on_breach": "freeze"}}).body["id"]
    registered.work()
    retry = registered.call("export", "POST", f"{JOBS}/{failed}:retry")
    assert retry.status == 202
    refused = registered.call("export", "POST", url)
    assert (refused.status, refused.body["code"]) == (409, "replayed")


def test_rejects_are_not_replayed_where_the_connector_leads_by_now(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    lead_elsewhere(registered)
    refused = registered.call("export", "POST", f"{JOBS}/{job['id']}:replayRejects")
    assert (refused.status, refused.body["code"]) == (409, "connector_changed")


def test_a_replay_after_a_later_publish_must_be_forced(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    done(registered, rows=ROWS[:1], mapping=HOURS)
    url = f"{JOBS}/{job['id']}:replayRejects"
    refused = registered.call("export", "POST", url)
    assert (refused.status, refused.body["code"]) == (409, "superseded")
    mended = {"mapping": {"columns": [{"name": "id"}, {"name": "Hours", "value": 0, "type": "decimal(10,2)"}]}}
    assert registered.call("export", "POST", f"{url}?force=true", mended).status == 202


def test_a_replay_needs_a_job_that_succeeded_and_discarded_rows(registered: World) -> None:
    clean = done(registered)
    url = f"{JOBS}/{clean['id']}:replayRejects"
    assert registered.call("export", "POST", url).body["code"] == "nothing_rejected"
    failed = done(
        registered, contract={"on_breach": "discard_row", "columns": {"zip": {"allowed": ["x"]}}}, max_rejects=0
    )
    assert registered.call("export", "POST", f"{JOBS}/{failed['id']}:replayRejects").body["code"] == "wrong_state"
    assert registered.call("export", "POST", f"{JOBS}/nope:replayRejects").status == 404


def test_a_replay_is_held_to_what_the_target_has_now(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    other = {"mapping": {"columns": [{"name": "id"}]}, "contract": {"gone_columns": "freeze"}}
    replay = registered.call("export", "POST", f"{JOBS}/{job['id']}:replayRejects", other).body["id"]
    registered.work()
    assert job_of(registered, replay)["error"]["code"] == "contract_broken"


def test_sql_comes_before_the_columns_and_does_not_run_again_in_a_replay(registered: World) -> None:
    mapping = {"sql": "select id, count(*) as n from source group by id order by id"}
    contract = {"on_breach": "discard_row", "columns": {"n": {"maximum": 1}}}
    job = done(registered, mapping=mapping, contract=contract)
    assert (job["status"], job["rejected_count"]) == ("success", 1)
    assert registered.vendor.live["volunteers"] == [{"id": 1, "n": 1}, {"id": 2, "n": 1}]
    again = registered.call(
        "export", "POST", f"{JOBS}/{job['id']}:replayRejects", {"contract": {"on_breach": "freeze"}}
    )
    registered.work()
    assert job_of(registered, again.body["id"])["status"] == "success"
    assert registered.vendor.live["volunteers"][2] == {"id": 3, "n": 2}, "the row that the SQL made, as it was"


DOUBLED = [{"id": 1, "name": "Ada"}, {"id": 1, "name": "Ida"}, {"id": 2, "name": "Eve"}, {"id": 2, "name": "Eva"}]
ONE_EACH = {"key": ["id"], "on_breach": "discard_row"}


def replay_of(world: World, job_id: str, **body: Any) -> dict[str, Any]:
    answer = world.call("export", "POST", f"{JOBS}/{job_id}:replayRejects", body or None)
    assert answer.status == 202, answer.body
    world.work()
    return job_of(world, answer.body["id"])


def live(world: World) -> list[tuple[int, str]]:
    return [(row["id"], row["name"]) for row in world.vendor.live["volunteers"]]


def test_a_key_that_was_delivered_is_doubled_still_when_the_rows_left_out_are_replayed(registered: World) -> None:
    job = done(registered, rows=DOUBLED, contract=ONE_EACH)
    assert (job["status"], job["rejected_count"], live(registered)) == ("success", 2, [(1, "Ada"), (2, "Eve")])
    replay = replay_of(registered, job["id"])
    assert (replay["status"], replay["rejected_count"]) == ("success", 2)
    assert live(registered) == [(1, "Ada"), (2, "Eve")]
    found = registered.call("export", "GET", f"{JOBS}/{replay['id']}/rejects").body["rejects"]
    assert [(one["row"], one["rule"], one["value"]) for one in found] == [(1, "key", "1"), (2, "key", "2")]


def test_a_replay_of_a_replay_keeps_away_the_keys_of_both(registered: World) -> None:
    rows = [{"id": "1", "name": "Ada"}, {"id": "1", "name": "Ida"}, {"id": "1", "name": "Eva"}]
    job = done(registered, rows=rows, contract=ONE_EACH)
    new_ids = {"columns": [{"name": "id", "value": "one"}, {"name": "name"}]}
    first = replay_of(registered, job["id"], mapping=new_ids)
    assert (first["record_count"], first["rejected_count"]) == (1, 1), "of the same new key"
    old_ids = replay_of(registered, first["id"], mapping={"columns": [{"name": "id"}, {"name": "name"}]})
    assert (old_ids["status"], old_ids["record_count"], old_ids["rejected_count"]) == ("success", 0, 1)
    assert [row["id"] for row in registered.vendor.live["volunteers"]] == ["1", "one"]


def test_keys_of_another_type_are_compared_as_those_of_the_replay(registered: World) -> None:
    job = done(registered, rows=[{"id": "1"}, {"id": "x"}, {"id": "1"}], contract=ONE_EACH)
    numbers = {"columns": [{"name": "id", "type": "int64"}]}
    replay = replay_of(registered, job["id"], mapping=numbers)
    assert (replay["status"], replay["record_count"], replay["rejected_count"]) == ("success", 0, 1)


def test_a_retry_of_a_failed_replay_keeps_the_delivered_keys_away(registered: World) -> None:
    job = done(registered, rows=DOUBLED, contract=ONE_EACH)
    failed = replay_of(registered, job["id"], contract={**ONE_EACH, "on_breach": "freeze"})
    assert (failed["status"], live(registered)) == ("failed", [(1, "Ada"), (2, "Eve")])
    assert "the key is there before" in failed["error_message"]
    again = registered.call("export", "POST", f"{JOBS}/{failed['id']}:retry").body["id"]
    registered.work()
    assert (job_of(registered, again)["status"], live(registered)) == ("failed", [(1, "Ada"), (2, "Eve")])


def test_rows_that_a_replay_may_have_appended_are_not_replayed_again(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    url = f"{JOBS}/{job['id']}:replayRejects"
    replay = registered.call("export", "POST", url).body["id"]
    error = {"code": "outcome_unknown", "message": "no answer", "retryable": False, "details": {}}
    registered.fakes.documents.update(f"export_jobs/{replay}", {"status": "failed", "error": error})
    refused = registered.call("export", "POST", url)
    assert (refused.status, refused.body["code"]) == (409, "outcome_unknown")
