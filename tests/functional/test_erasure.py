"""A person's rows leave what exports kept, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.data.__main__ import main
from shared.errors import VendorUnavailableError
from tests.functional.conftest import World
from tests.functional.scheduling import HOURLY, create
from tests.functional.test_job_operations import do
from tests.functional.test_mapping import JOBS, done, export, job_of

PERSON = "rina@example.org"
WITH = [{"id": 1, "mail": PERSON}, {"id": 2, "mail": "ada@example.org"}]
WITHOUT = [{"id": 2, "mail": "ada@example.org"}, {"id": 3, "mail": f"not-{PERSON}"}]


def erase(world: World, column: str = "mail", value: str = PERSON) -> int:
    return main(["erase", "volunteers", column, value], world.services)


def objects(world: World) -> bytes:
    return b"".join(data for _, data in world.fakes.objects._live.values())


def test_jobs_that_keep_the_row_lose_what_they_kept_and_others_nothing(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with_file = done(registered, rows=WITH, export_format="jsonl")
    other = done(registered, rows=WITHOUT, export_format="jsonl")
    elsewhere = done(registered, rows=WITH, table_name="donors")
    assert b'"rina@example.org"' in objects(registered)
    assert erase(registered) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [f"erased: {with_file['id']}", "running: none", "unread: none"]
    left = {name.split("/")[1] for _, name in registered.fakes.objects._live}
    assert not any(with_file["id"] in name for name in left)
    assert {other["id"], elsewhere["id"]} <= left
    assert (
        job_of(registered, with_file["id"])["export_uri"],
        job_of(registered, other["id"])["export_uri"] is None,
    ) == (
        None,
        False,
    )
    refused = do(registered, with_file["id"], "republish")
    assert (refused.status, refused.body["code"]) == (409, "rows_erased")
    assert do(registered, other["id"], "republish").status == 202
    entries = registered.call("register", "GET", "/api/bi-connectors/audit").body["entries"]
    assert [one["resource"] for one in entries if one["action"] == "job.erase_rows"] == [
        f"export_jobs/{with_file['id']}"
    ]
    assert erase(registered) == 0


def test_an_erasure_is_audited_also_where_only_words_change_and_the_value_is_not_kept(registered: World) -> None:
    registered.fakes.documents.create("notices/one", {"message": "row 7: 'rina@example.org' is no number"})
    assert main(["erase", "people", "mail", "rina@example.org"], registered.services) == 0
    (entry,) = registered.call("register", "GET", "/api/bi-connectors/audit?action=database.erase_rows").body["entries"]
    assert entry["note"] == "rows of the table 'people' that hold some value in 'mail'"
    assert "rina" not in repr(registered.fakes.documents._documents)


@pytest.mark.parametrize("column", ["hrs", "Hours"])
def test_a_row_that_only_the_rejects_show_is_found_by_its_source_column(registered: World, column: str) -> None:
    contract: dict[str, Any] = {"on_breach": "discard_row"}
    mapping = {"columns": [{"name": "id"}, {"name": "Hours", "from": "hrs", "type": "decimal(10,2)"}]}
    job = done(registered, rows=[{"id": 1, "hrs": "8"}, {"id": 2, "hrs": "much"}], mapping=mapping, contract=contract)
    assert b"much" in objects(registered)
    assert erase(registered, column, "much" if column == "hrs" else "8.00") == 0
    assert b"much" not in objects(registered)
    answer = registered.call("export", "GET", f"{JOBS}/{job['id']}/rejects")
    assert (answer.status, answer.body["code"]) == (409, "rows_erased")


def test_a_job_that_has_not_ended_is_named_and_the_command_does_not_succeed(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    done(registered, rows=[{"id": n, "mail": "x"} for n in range(9)])
    held = done(registered, rows=WITH, max_shrink=0.5)
    waiting = export(registered, rows=WITH)
    assert held["status"] == "held"
    assert erase(registered) == 1
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == ["erased: none", f"running: {held['id']}", f"unread: {waiting['id']}"]
    assert b'"rina@example.org"' in objects(registered)
    do(registered, held["id"], "reject")
    registered.work()
    assert erase(registered) == 0
    assert b'"rina@example.org"' not in objects(registered)


def test_what_a_failure_said_of_the_row_is_erased_too(registered: World) -> None:
    job_id = export(registered, rows=WITH, columns={"mail": "int64"})["id"]
    registered.work()
    assert PERSON in job_of(registered, job_id)["error_message"]
    erase(registered)
    failed = job_of(registered, job_id)
    assert PERSON not in str(failed)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "value_invalid")


def test_what_notices_refreshes_and_occurrences_said_of_the_row_is_erased_too(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that failed on the person's value is told by a notice; the vendor's reason and an occurrence's may quote it, too."""
    registered.fakes.objects.put("tables", "volunteers.csv", b"id,mail\n1,rina@example.org\n")
    bad = {"connector_name": "ymca_sheets", "table_name": "volunteers", "columns": {"mail": "int64"}}
    schedule = create(registered, HOURLY, export=bad)
    registered.go_to("2026-01-05T13:05:00+00:00")
    registered.minute()
    registered.work()
    registered.minute()
    reason = f"the key {PERSON} appears twice"
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.FAILED, "Failed", reason=reason)]
    run = registered.call("refresh", "POST", "/api/bi-connectors/ymca_powerbi/refresh").body["id"]
    registered.work()
    documents = registered.fakes.documents
    [occurrence] = [path for path in documents._documents if path.startswith("occurrences/")]
    error = {"code": "refresh_running", "message": reason, "retryable": False, "details": {"key": PERSON}}
    documents.update(occurrence, {"reason": f"{PERSON} waits", "error": error})
    [notice] = [path for path in documents._documents if path.startswith("notices/")]
    sent = {"status": "refused", "attempts": 1, "reason": f"400: {PERSON}?"}
    documents.update(notice, {"deliveries": {"team": sent}})
    documents.update(f"schedules/{schedule}", {"sync_error": f"{PERSON} is no zone"})
    quoting = {path for path, (data, _) in documents._documents.items() if PERSON in str(data)}
    assert {path.split("/")[0] for path in quoting} == {
        "export_jobs",
        "refresh_runs",
        "occurrences",
        "notices",
        "schedules",
    }

    assert erase(registered) == 1  # the job failed before it froze anything, so there was nothing to search

    told = capsys.readouterr().out.splitlines()[-4]
    assert set(told.removeprefix("silenced: ").split(", ")) == {
        path for path in quoting if not path.startswith("export")
    }
    assert PERSON not in str(documents._documents)
    shown = registered.call("refresh", "GET", f"/api/bi-connectors/refresh-runs/{run}").body
    assert (shown["status"], shown["error"]["code"], shown["error_message"]) == (
        "failed",
        "refresh_failed",
        "erased with the rows it told of",
    )
    kept = registered.call("refresh", "GET", "/api/bi-connectors/notices").body["notices"][0]
    assert (kept["event"], kept["deliveries"]["team"]["status"]) == ("schedule.failing", "refused")


def test_what_is_written_meanwhile_is_not_lost(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice is sent while its words are erased: that it was sent stays on record."""
    documents = registered.fakes.documents
    documents.create(
        "notices/n",
        {"message": PERSON, "deliveries": {"team": {"status": "waiting", "reason": PERSON}}, "expire_at": None},
    )
    read = documents.query

    def query(query: Any) -> Any:
        found = read(query)
        if query.collection == "notices" and found:
            documents.update("notices/n", {"deliveries": {"team": {"status": "sent", "reason": PERSON}}})
        return found

    monkeypatch.setattr(documents, "query", query)
    erase(registered)
    kept = documents.get("notices/n")
    assert kept is not None
    assert kept.data["deliveries"] == {"team": {"status": "sent", "reason": "erased with the rows it told of"}}


def test_the_extremes_of_the_rows_that_a_job_counted_are_erased_with_them(registered: World) -> None:
    """Where a vendor is asked for aggregates instead of rows, the least and the greatest value of each column are kept."""
    job_id = done(registered, rows=WITH)["id"]
    documents = registered.fakes.documents
    counted = json.dumps({"rows": 2, "checksum": None, "aggregates": {"max:mail": PERSON, "count:id": 2}})
    documents.update(
        f"export_jobs/{job_id}", {"expected": counted, "begun": json.dumps({"state": {"before": json.loads(counted)}})}
    )
    documents.update(f"export_jobs/{job_id}/chunks/000000", {"fingerprint": counted})
    assert erase(registered) == 0
    assert PERSON not in str(documents._documents)
    kept = documents.get(f"export_jobs/{job_id}/chunks/000000")
    assert kept is not None
    assert json.loads(kept.data["fingerprint"]) == {"rows": 2, "checksum": None, "aggregates": {}}


def test_an_erasure_that_was_interrupted_is_audited_and_goes_on(
    registered: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have stopped anywhere: with the row gone and a file left, nothing shows any more whose rows they are."""
    job = done(registered, rows=WITH, export_format="jsonl")
    delete = registered.fakes.objects.delete

    def stop(bucket: str, name: str) -> None:
        if bucket == "exports":
            raise VendorUnavailableError("Cloud Storage gives no answer")
        delete(bucket, name)

    with monkeypatch.context() as patch:
        patch.setattr(registered.fakes.objects, "delete", stop)
        assert erase(registered) == 1
    audited = registered.call("register", "GET", "/api/bi-connectors/audit?action=job.erase_rows").body["entries"]
    assert [one["resource"] for one in audited] == [f"export_jobs/{job['id']}"]
    assert do(registered, job["id"], "republish").body["code"] == "rows_erased"
    assert PERSON.encode() in objects(registered)
    capsys.readouterr()
    assert erase(registered) == 0
    assert capsys.readouterr().out.splitlines()[-3] == f"erased: {job['id']}"
    assert PERSON.encode() not in objects(registered)
    assert (
        len(registered.call("register", "GET", "/api/bi-connectors/audit?action=job.erase_rows").body["entries"]) == 1
    )
    assert erase(registered) == 0
    assert capsys.readouterr().out.splitlines()[-3] == "erased: none"
