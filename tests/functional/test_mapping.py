"""Mapping, contract and rejects through the API: what is refused at once, what the job shows, and replays."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shared.pipeline.freezing import frozen_before
from shared.pipeline.preparing import job as preparing
from tests.functional.conftest import World

JOBS = "/api/bi-connectors/export-jobs"
ROWS = [
    {"id": 1, "hrs": "8", "zip": "007"},
    {"id": 2, "hrs": "much", "zip": "1/2"},
    {"id": 3, "hrs": None, "zip": "-"},
    {"id": 3, "hrs": "1", "zip": "=1+1"},
]
HOURS = {"columns": [{"name": "id"}, {"name": "Hours", "from": "hrs", "type": "decimal(10,2)"}]}


def export(world: World, status: int = 202, **more: Any) -> dict[str, Any]:
    body = {"connector_name": "ymca_sheets", "table_name": "volunteers", "rows": ROWS, "max_shrink": 1, **more}
    answer = world.call("export", "POST", "/api/bi-connectors/export", body)
    assert answer.status == status, answer.body
    return dict(answer.body)


def job_of(world: World, job_id: str) -> dict[str, Any]:
    return dict(world.call("export", "GET", f"{JOBS}/{job_id}").body)


def done(world: World, **more: Any) -> dict[str, Any]:
    job = export(world, **more)
    world.work()
    return job_of(world, job["id"])


def test_mapped_rows_are_delivered_and_the_job_says_what_was_left_out(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    assert (job["status"], job["record_count"], job["rejected_count"]) == ("success", 3, 1)
    live = registered.vendor.live["volunteers"]
    assert [(row["id"], str(row["Hours"])) for row in live] == [(1, "8.00"), (3, "None"), (3, "1.00")]
    answer = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects")
    assert answer.body == {
        "rejects": [
            {
                "row": 2,
                "column": "Hours",
                "rule": "type",
                "value": "much",
                "discarded": "row",
                "record": {"id": 2, "hrs": "much", "zip": "1/2"},
            }
        ],
        "next_page_token": None,
    }
    assert job["rejects_uri"].startswith("gs://frozen/jobs/")


def test_a_breach_fails_the_job_before_the_target_is_touched(registered: World) -> None:
    job = done(registered, mapping=HOURS)
    assert (job["status"], job["error"]["code"]) == ("failed", "contract_broken")
    assert "row 2, column 'Hours': 'much'" in job["error_message"]
    assert registered.vendor.calls == []


def test_too_many_rejects_fail_the_job_before_the_target_is_touched_and_can_be_read(registered: World) -> None:
    contract = {"on_breach": "discard_row", "columns": {"zip": {"allowed": ["007"]}}}
    job = done(registered, contract=contract, max_rejects=2)
    assert (job["status"], job["error"]["code"]) == ("failed", "too_many_rejects")
    assert registered.vendor.calls == []
    listed = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects").body["rejects"]
    assert [line["value"] for line in listed] == ["1/2", "-", "=1+1"]


def test_rejects_are_listed_in_pages(registered: World) -> None:
    contract = {"on_breach": "discard_row", "columns": {"zip": {"allowed": ["007"]}}}
    job = done(registered, contract=contract)
    first = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects?page_size=2").body
    assert [line["row"] for line in first["rejects"]] == [2, 3]
    token = first["next_page_token"]
    rest = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects?page_size=2&page_token={token}").body
    assert [line["row"] for line in rest["rejects"]] == [4]
    assert rest["next_page_token"] is None
    other = done(registered, rows=[{**ROWS[0], "hrs": "8.0000000"}, *ROWS[1:]], contract=contract)
    wrong = [(other["id"], token), (job["id"], "nonsense")]
    made_for, place = json.loads(base64.urlsafe_b64decode(token + "=="))
    for elsewhere in (5, int(place) + 1, 10**9, 10**30, -1, 0, "x"):
        forged = json.dumps([made_for, str(elsewhere)]).encode()
        wrong.append((job["id"], base64.urlsafe_b64encode(forged).decode().rstrip("=")))
    for job_id, forged_token in wrong:
        answer = registered.call("export", "GET", f"{JOBS}/{job_id}/rejects?page_token={forged_token}")
        assert (answer.status, answer.body["field"]) == (400, "page_token"), forged_token


def test_rejects_whose_object_is_gone_are_said_to_be(registered: World) -> None:
    contract = {"on_breach": "discard_row", "columns": {"zip": {"allowed": ["007"]}}}
    job = done(registered, contract=contract)
    bucket, _, name = job["rejects_uri"].removeprefix("gs://").partition("/")
    registered.fakes.objects.delete(bucket, name)
    answer = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects")
    assert (answer.status, answer.body["code"]) == (422, "source_gone")


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({"mapping": {"where": "__import__('os')"}}, "mapping.where", "no function"),
        ({"mapping": {"columns": [{"name": "a", "from": "b", "value": 1}]}}, "mapping.columns.a", "from and value"),
        ({"mapping": {"columns": [{"name": "a"}, {"name": "A"}]}}, "mapping.columns", "there twice"),
        ({"mapping": {"columns": [{"name": "a", "type": "int32"}]}}, "mapping.columns.a", "is no type"),
        ({"mapping": {"columns": [{"name": "a", "value": 2**70}]}}, "mapping.columns.a", "beyond 64 bits"),
        ({"contract": {"gone_columns": "discard_row"}}, "contract.gone_columns", "evolve or freeze"),
        ({"contract": {"columns": {"a": {"type": "decimal(40,1)"}}}}, "contract.columns.a", "is no type"),
        ({"contract": {"columns": {"__a__": {"required": True}}}}, "contract.columns.__a__", "underscores"),
        (
            {"contract": {"columns": {"a": {"required": True, "on_breach": "discard_value"}}}},
            "contract.columns.a",
            "discard_row",
        ),
        ({"contract": {"columns": {"a": {"allowed": ["x" * 300_000]}}}}, "contract", "make it smaller"),
        (
            {"contract": {"columns": {name: {"allowed": list(range(6000))} for name in "ab"}}},
            "contract.columns",
            "12000 allowed values",
        ),
    ],
)
def test_what_can_never_be_followed_is_refused_at_the_request(
    registered: World, body: dict[str, Any], field: str, why: str
) -> None:
    problem = export(registered, 422, **body)
    assert (problem["code"], problem["field"]) == ("mapping_invalid", field)
    assert why in problem["detail"]
    table = {"source": {"uri": "gs://tables/volunteers.csv"}, **body}
    answer = registered.call("export", "PUT", "/api/bi-connectors/tables/volunteers", table)
    assert (answer.status, answer.body["field"]) == (422, field)


def test_a_registered_table_brings_its_mapping_and_an_empty_one_leaves_it_out(registered: World) -> None:
    registered.fakes.objects.put("tables", "volunteers.csv", b"id,hrs\n1,8\n2,much\n")
    table = {
        "source": {"uri": "gs://tables/volunteers.csv"},
        "mapping": HOURS,
        "contract": {"on_breach": "discard_row"},
        "max_rejects": 1,
    }
    assert registered.call("export", "PUT", "/api/bi-connectors/tables/volunteers", table).status == 201
    assert done(registered, rows=None)["record_count"] == 1
    assert done(registered, rows=None, max_rejects=0)["error"]["code"] == "too_many_rejects"
    plain = done(registered, rows=None, mapping={}, contract={})
    assert (plain["mapping"], plain["record_count"]) == (None, 2)
    assert registered.vendor.live["volunteers"] == [{"id": 1, "hrs": "8"}, {"id": 2, "hrs": "much"}]


def test_drift_against_the_last_success_is_on_the_job_and_a_contract_may_freeze_it(registered: World) -> None:
    assert done(registered)["drift"] is None
    changed = [{"id": "A1", "hrs": "8", "born": "x"}]
    drift = {
        "added": [{"name": "born", "type": "string"}],
        "gone": [{"name": "zip", "type": "string"}],
        "changed": [{"name": "id", "from": "int64", "to": "string"}],
    }
    frozen = done(registered, rows=changed, contract={"changed_types": "freeze"})
    assert (frozen["status"], frozen["drift"]) == ("failed", drift)
    assert "'id' was int64 and is string" in frozen["error_message"]
    job = export(registered, rows=changed)
    registered.vendor.errors.append(("preflight", RuntimeError("stop here")))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        registered.work_once()
    assert job_of(registered, job["id"])["drift"] == drift, "shown before the target is touched"
    registered.services.exports.wake(job["id"])
    registered.work()
    assert job_of(registered, job["id"])["status"] == "success"
    assert done(registered, rows=changed)["drift"] is None


def test_a_failed_job_leaves_no_memory_of_its_columns(registered: World) -> None:
    done(registered)
    assert done(registered, rows=[{"other": 1}], contract={"gone_columns": "freeze"})["status"] == "failed"
    assert done(registered, contract={"gone_columns": "freeze"})["drift"] is None


def test_a_republished_job_delivers_the_same_rows_whatever_became_of_the_target(registered: World) -> None:
    done(registered, rows=[{"id": 1}])
    contract = {"new_columns": "discard_value", "on_breach": "discard_row"}
    job = done(registered, contract=contract)
    assert [sorted(row) for row in registered.vendor.live["volunteers"]] == [["id"]] * 4
    done(registered)
    again = registered.call("export", "POST", f"{JOBS}/{job['id']}:republish").body["id"]
    registered.work()
    assert job_of(registered, again)["status"] == "success"
    assert [sorted(row) for row in registered.vendor.live["volunteers"]] == [["id"]] * 4


def test_the_first_job_on_a_target_is_republished_as_it_was(registered: World) -> None:
    job = done(registered, contract={"gone_columns": "freeze", "new_columns": "freeze", "on_breach": "discard_row"})
    assert (job["status"], job["drift"]) == ("success", None)
    done(registered, rows=[{"other": 1}])
    again = registered.call("export", "POST", f"{JOBS}/{job['id']}:republish").body["id"]
    registered.work()
    assert job_of(registered, again)["status"] == "success"
    assert [row["id"] for row in registered.vendor.live["volunteers"]] == [1, 2, 3, 3]


def test_a_job_that_is_retried_before_it_prepared_anything_looks_at_the_target(registered: World) -> None:
    done(registered)
    job = export(registered, rows=[{"other": 1}], contract={"new_columns": "freeze"})
    registered.call("export", "POST", f"{JOBS}/{job['id']}:cancel")
    again = registered.call("export", "POST", f"{JOBS}/{job['id']}:retry").body["id"]
    registered.work()
    assert job_of(registered, again)["error"]["code"] == "contract_broken"


def test_erasing_a_job_erases_what_was_prepared_and_rejected(registered: World) -> None:
    job = done(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    assert registered.fakes.objects.list_prefix("frozen", f"jobs/{job['id']}/", 10)
    assert registered.call("export", "DELETE", f"{JOBS}/{job['id']}").status == 204
    assert registered.fakes.objects.list_prefix("frozen", f"jobs/{job['id']}/", 10) == []


def test_a_worker_that_dies_while_preparing_is_followed_by_one_that_delivers_the_same(registered: World) -> None:
    job = export(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    registered.vendor.errors.append(("preflight", RuntimeError("killed")))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        registered.work_once()
    first = registered.fakes.documents.get(f"export_jobs/{job['id']}")
    assert first is not None
    registered.services.exports.wake(job["id"])  # as Cloud Tasks does after a 500
    registered.work()
    second = registered.fakes.documents.get(f"export_jobs/{job['id']}")
    assert second is not None
    assert second.data["prepared"] == first.data["prepared"], "prepared once"
    assert second.data["status"] == "success"


def test_a_late_worker_does_not_overwrite_what_its_successor_prepared(registered: World) -> None:
    job = export(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    registered.vendor.errors.append(("preflight", RuntimeError("killed")))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        registered.work_once()
    found = registered.fakes.documents.get(f"export_jobs/{job['id']}")
    assert found is not None
    late = {**found.data, "fence": found.data["fence"] - 1, "prepared": None}
    stores = registered.services.stores
    source = frozen_before(stores.objects, late)
    assert source is not None
    preparing.prepare_job(preparing.Place(stores.objects, stores.clock, "frozen", lambda fields: None), late, source)
    registered.services.exports.wake(job["id"])
    registered.work()
    assert job_of(registered, job["id"])["status"] == "success"


def test_a_job_is_cancelled_while_it_prepares(registered: World) -> None:
    job = export(registered, mapping=HOURS, contract={"on_breach": "discard_row"})
    clock = registered.fakes.clock
    path = f"export_jobs/{job['id']}"

    class Slow(type(registered.fakes.objects)):  # type: ignore[misc]
        """A store so slow that half a minute passes with each file that is opened, to be read or to be written."""

        def open(self, info: Any) -> Any:
            self._dawdle()
            return super().open(info)

        def writer(self, bucket: str, name: str, *, content_type: str) -> Any:
            self._dawdle()
            return super().writer(bucket, name, content_type=content_type)

        def _dawdle(self) -> None:
            clock.sleep(30)
            found = registered.fakes.documents.get(path)
            if found is not None and found.data.get("frozen"):
                registered.fakes.documents.update(path, {"cancel_requested": True})

    registered.fakes.objects.__class__ = Slow
    registered.work()
    assert job_of(registered, job["id"])["status"] == "cancelled"
    assert registered.vendor.calls == []
    names = [info.name for info in registered.fakes.objects.list_prefix("frozen", f"jobs/{job['id']}/", 10)]
    assert not [name for name in names if "prepared" in name], "it stopped in the middle of the pass"


def test_sql_that_is_none_fails_the_job_with_its_reason(registered: World) -> None:
    job = done(registered, mapping={"sql": "select nope from source"})
    assert (job["error"]["code"], registered.vendor.calls) == ("mapping_invalid", [])
    assert "nope" in job["error_message"]
