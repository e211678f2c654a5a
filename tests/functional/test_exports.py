"""Export jobs from the request to what the vendor holds, over HTTP on fakes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date

import flask
import pyarrow as pa
import pytest
from werkzeug.test import create_environ

from shared.errors import CredentialError, TargetError, VendorUnavailableError
from tests.functional.conftest import World

API = "/api/bi-connectors"
ROWS = [{"id": 1, "name": "Ann"}, {"id": 2, "name": None}, {"id": 3, "name": "007"}]
EXPORT = {"connector_name": "ymca_sheets", "table_name": "people", "rows": ROWS}


def start(world: World, **changes: object) -> str:
    answer = world.call("export", "POST", f"{API}/export", {**EXPORT, **changes})
    assert answer.status == 202, answer.body
    job_id: str = answer.body["id"]
    return job_id


def job(world: World, job_id: str) -> dict[str, object]:
    answer = world.call("export", "GET", f"{API}/export-jobs/{job_id}")
    assert answer.status == 200
    body: dict[str, object] = answer.body
    return body


def test_export_is_accepted_then_delivered_and_verified(registered: World) -> None:
    answer = registered.call("export", "POST", f"{API}/export", EXPORT)
    assert (answer.status, answer.body["status"]) == (202, "pending")
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["Location"] == f"{API}/export-jobs/{answer.body['id']}"
    registered.work()
    done = job(registered, answer.body["id"])
    assert (done["status"], done["record_count"], done["phase"]) == ("success", 3, "finished")
    assert done["progress"] == {"rows_done": 3, "rows_total": 3, "chunks_done": 2, "chunks_total": 2, "sent_bytes": 200}
    verification = done["verification"]
    assert isinstance(verification, dict)
    assert verification["expected"] == verification["found"]
    assert registered.vendor.live == {"people": ROWS}
    assert done["completed_at"]


def test_append_adds_and_replace_replaces(registered: World) -> None:
    start(registered)
    registered.work()
    start(registered, mode="append", rows=[{"id": 4, "name": "Di"}])
    registered.work()
    assert [row["id"] for row in registered.vendor.live["people"]] == [1, 2, 3, 4]
    start(registered, rows=[], max_shrink=1.0)
    registered.work()
    assert registered.vendor.live["people"] == []


def test_the_same_idempotency_key_gives_the_same_job_and_another_body_is_refused(registered: World) -> None:
    first = registered.call("export", "POST", f"{API}/export", EXPORT, Idempotency_Key="k1")
    again = registered.call("export", "POST", f"{API}/export", EXPORT, Idempotency_Key="k1")
    assert first.body["id"] == again.body["id"]
    assert len(registered.fakes.tasks.pending) == 1
    other = registered.call("export", "POST", f"{API}/export", {**EXPORT, "mode": "append"}, Idempotency_Key="k1")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


def test_table_name_alone_finds_the_file_of_that_name(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id,name\n1,Ann\n2,007\n")
    start(registered, rows=None)
    registered.work()
    assert registered.vendor.live["people"] == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "007"}]


def test_a_registered_table_is_found_first(registered: World) -> None:
    registered.fakes.objects.put("elsewhere", "p.jsonl", b'{"id": 9}\n')
    table = {"source": {"uri": "gs://elsewhere/p.jsonl"}}
    assert registered.call("export", "PUT", f"{API}/tables/people", table).status == 201
    assert registered.call("export", "PUT", f"{API}/tables/people", table).status == 200
    start(registered, rows=None)
    registered.work()
    assert registered.vendor.live["people"] == [{"id": 9}]


def test_declared_columns_are_typed(registered: World) -> None:
    start(registered, rows=[{"joined": "2024-02-29", "zip": 1234}], columns={"joined": "date", "zip": "string"})
    registered.work()
    assert registered.vendor.live["people"] == [{"joined": date(2024, 2, 29), "zip": "1234"}]


def test_an_unknown_table_is_404_that_says_where_it_was_looked_for(registered: World) -> None:
    answer = registered.call("export", "POST", f"{API}/export", {**EXPORT, "rows": None, "table_name": "nobody"})
    assert (answer.status, answer.body["code"]) == (404, "table_not_found")
    assert "gs://tables/nobody.<format>" in answer.body["detail"]


def test_a_source_that_changed_before_it_was_frozen_fails_the_job(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    job_id = start(registered, rows=None)
    registered.fakes.objects.put("tables", "people.csv", b"id\n2\n")
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "source_changed")  # type: ignore[index]
    assert registered.vendor.live == {}


def test_a_malformed_file_fails_the_job_before_the_target_is_touched(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.parquet", b"this is no parquet file")
    job_id = start(registered, rows=None)
    registered.work()
    failed = job(registered, job_id)
    assert failed["status"] == "failed"
    assert failed["error_message"]
    assert registered.vendor.calls == []


def test_a_corrupted_read_back_publishes_nothing(registered: World) -> None:
    start(registered)
    registered.work()
    registered.vendor.corrupt = True
    job_id = start(registered, rows=[{"id": 5, "name": "E"}, {"id": 6, "name": "F"}])
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "verification_failed")  # type: ignore[index]
    assert registered.vendor.live == {"people": ROWS}
    assert registered.vendor.staging == {}


def test_a_vendor_that_asks_for_time_gets_it_and_the_job_goes_on_where_it_was(registered: World) -> None:
    before = registered.fakes.clock.now()
    registered.vendor.errors = [("write", VendorUnavailableError("too many requests", retry_after_s=600.0))]
    job_id = start(registered)
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert (registered.fakes.clock.now() - before).total_seconds() >= 600
    assert registered.vendor.calls.count("begin") == 1


def test_a_vendor_that_never_comes_back_fails_the_job_with_its_reason(registered: World) -> None:
    registered.vendor.errors = [("preflight", VendorUnavailableError("Google answered 503"))] * 8
    job_id = start(registered)
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "vendor_unavailable")  # type: ignore[index]
    assert "503" in str(failed["error_message"])


@pytest.mark.parametrize("step", ["preflight", "begin", "write", "read_back", "publish"])
def test_a_refusal_at_any_step_leaves_the_target_as_it_was(registered: World, step: str) -> None:
    start(registered)
    registered.work()
    registered.vendor.errors = [(step, TargetError("the grid is full"))]
    job_id = start(registered, rows=[{"id": 8, "name": "H"}], max_shrink=1.0)
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error_message"]) == ("failed", "the grid is full")
    assert registered.vendor.live == {"people": ROWS}
    assert registered.vendor.staging == {}


def test_a_worker_that_dies_between_publish_and_record_does_not_publish_twice(registered: World) -> None:
    class Killed(BaseException):
        pass

    job_id = start(registered, mode="append")
    documents = registered.fakes.documents
    original = documents.update

    def dies(path: str, fields: dict[str, object], **more: object) -> None:
        if fields.get("status") == "success":
            documents.update = original  # type: ignore[method-assign]
            raise Killed
        original(path, fields, **more)  # type: ignore[arg-type]

    documents.update = dies  # type: ignore[method-assign, assignment]
    task = registered.fakes.tasks.pending[0]
    with pytest.raises(Killed):
        registered.work()
    registered.fakes.tasks.pending.append(task)
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert registered.vendor.live == {"people": ROWS}


def test_a_publish_whose_reply_is_lost_for_good_is_a_success_because_the_target_says_so(registered: World) -> None:
    vendor = registered.vendor

    class LostReply(VendorUnavailableError):
        """Raised after the publish took effect."""

    original = type(vendor).step

    def step(name: str) -> None:
        original(vendor, name)
        if name == "publish" and vendor.calls.count("publish") <= 8:
            job_id = next(iter(vendor.staging), None)
            if job_id is not None:
                vendor.live["people"] = [row for _, rows in sorted(vendor.staging.pop(job_id).items()) for row in rows]
                vendor.published.add(job_id)
            raise LostReply("no answer while publishing")

    vendor.step = step  # type: ignore[method-assign]
    job_id = start(registered)
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert vendor.live == {"people": ROWS}


def test_a_second_worker_waits_for_the_lease_of_the_first(registered: World) -> None:
    job_id = start(registered)
    documents = registered.fakes.documents
    documents.update(
        f"export_jobs/{job_id}", {"lease_until": registered.fakes.clock.now().replace(hour=13), "status": "running"}
    )
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert registered.fakes.clock.now().hour == 13


def test_a_job_that_kills_its_worker_every_time_ends_failed(registered: World) -> None:
    job_id = start(registered)
    registered.fakes.documents.update(f"export_jobs/{job_id}", {"idle_claims": 6})
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "worker_died")  # type: ignore[index]


def test_a_missing_credential_fails_the_job_and_says_so(registered: World) -> None:
    registered.fakes.secrets.payloads = {}
    registered.vendor.errors = [("preflight", CredentialError("refused"))]
    job_id = start(registered)
    registered.work()
    assert job(registered, job_id)["error"]["code"] == "credential_missing"  # type: ignore[index]


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("ending", "pack"), [("csv.gz", gzip.compress), ("jsonl.zst", _zstd), ("csv", bytes)])
def test_a_table_s_name_finds_its_file_compressed_or_not(
    registered: World, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    content = b"id,name\n1,A\n" if ending.startswith("csv") else b'{"id": 1, "name": "A"}\n'
    registered.fakes.objects.put("tables", f"people.{ending}", pack(content))
    registered.fakes.objects.put("tables", "people.old.csv", b"x")
    job_id = start(registered, rows=None)
    registered.work()
    assert job(registered, job_id)["status"] == "success"
    assert registered.vendor.live == {"people": [{"id": 1, "name": "A"}]}


def test_a_table_s_file_is_found_among_more_objects_than_one_page_lists(registered: World) -> None:
    for number in range(1_000):
        registered.fakes.objects.put("tables", f"people.{number:04}.csv", b"x")
    registered.fakes.objects.put("tables", "people.csv", b"id,name\n1,A\n")
    registered.call("export", "POST", f"{API}/export", {"connector_name": "ymca_sheets", "table_name": "people"})
    registered.work()
    assert registered.vendor.live == {"people": [{"id": 1, "name": "A"}]}


def test_two_files_of_a_table_s_name_are_refused_by_their_names(registered: World) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    registered.fakes.objects.put("tables", "people.csv.gz", gzip.compress(b"id\n1\n"))
    answer = registered.call(
        "export", "POST", f"{API}/export", {"connector_name": "ymca_sheets", "table_name": "people"}
    )
    assert answer.status == 400
    assert "gs://tables/people.csv, gs://tables/people.csv.gz" in answer.body["detail"]


def test_export_format_keeps_the_rows_as_a_file(registered: World) -> None:
    job_id = start(registered, export_format="csv")
    registered.work()
    done = job(registered, job_id)
    assert done["export_uri"] == f"gs://exports/people/{job_id}.csv"
    info = registered.fakes.objects.stat("exports", f"people/{job_id}.csv")
    assert info is not None
    assert done["file_size_bytes"] == info.size_bytes
    assert registered.fakes.objects.open(info).read().splitlines()[0] == b"id,name"


def test_a_value_that_the_kept_format_refuses_leaves_a_target_without_staging_as_it_was(registered: World) -> None:
    registered.vendor.is_staged = False
    start(registered, connector_name="ymca_powerbi")
    registered.work()
    rows = [{"id": 2**53 + 1, "name": "A"}, {"id": 2, "name": "B"}]
    job_id = start(registered, connector_name="ymca_powerbi", rows=rows, export_format="xlsx")
    registered.work()
    failed = job(registered, job_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "value_invalid")  # type: ignore[index]
    assert registered.vendor.live == {"people": ROWS}
    assert failed["repair_job_id"] is None


def test_a_link_to_the_kept_file_needs_no_identity_and_expires(registered: World) -> None:
    job_id = start(registered, export_format="csv")
    assert registered.call("export", "POST", f"{API}/export-jobs/{job_id}:linkFile").body["code"] == "file_not_found"
    registered.work()
    made = registered.call("export", "POST", f"{API}/export-jobs/{job_id}:linkFile")
    assert made.status == 200
    path = made.body["url"].removeprefix("http://export")
    assert path.startswith("/files/")
    opened = registered._functions["export"](flask.Request(create_environ(path)))
    assert (opened.status_code, opened.mimetype) == (
        200,
        "application/octet-stream",
    )  # no page that a browser would show
    assert opened.headers["Content-Disposition"].startswith("attachment; ")
    assert path.rsplit("/", 1)[1] not in str(registered.fakes.documents._documents)
    registered.fakes.clock.sleep(601)
    late = registered.call("export", "GET", path)
    assert (late.status, late.body["code"]) == (404, "link_expired")
    assert registered.call("export", "GET", "/files/" + "0" * 64).status == 404


def test_a_url_signed_by_iam_is_made_where_the_credentials_can_and_refused_where_not(registered: World) -> None:
    job_id = start(registered, export_format="csv")
    registered.work()
    ask = f"{API}/export-jobs/{job_id}:linkFile?signed=true"
    refused = registered.call("export", "POST", ask)
    assert (refused.status, refused.body["code"]) == (422, "signing_unavailable")
    registered.fakes.objects.signer = "export@local-project.iam.gserviceaccount.com"
    made = registered.call("export", "POST", ask)
    assert made.status == 200
    assert made.body["url"].startswith(f"https://storage.googleapis.com/exports/people/{job_id}.csv?generation=")
    assert made.body["expires_at"] == "2026-01-05T12:10:00Z"
    entries = registered.call("register", "GET", f"{API}/audit?action=job.link_file").body["entries"]
    assert [entry["resource"] for entry in entries] == [f"export_jobs/{job_id}"]


def test_what_a_kind_cannot_do_is_422(registered: World) -> None:
    upsert = registered.call(
        "export", "POST", f"{API}/export", {**EXPORT, "mode": "upsert", "connector_name": "ymca_powerbi"}
    )
    assert (upsert.status, upsert.body["code"]) == (422, "mode_unsupported")
    refresh = registered.call("export", "POST", f"{API}/export", {**EXPORT, "refresh_after": True})
    assert (refresh.status, refresh.body["code"]) == (422, "refresh_unsupported")


def test_a_power_bi_job_carries_its_exception_by_name(registered: World) -> None:
    job_id = start(registered, connector_name="ymca_powerbi")
    note = str(job(registered, job_id)["note"])
    assert "no atomic replace" in note
    assert ("Replace: readers can see" in note, "Append: readers see" in note) == (True, True)


def test_refresh_after_starts_one_run_that_belongs_to_the_job(registered: World) -> None:
    from shared.connectors._base import RefreshStatus, VendorRefresh

    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    job_id = start(registered, connector_name="ymca_powerbi", refresh_after=True)
    registered.work()
    run_id = job(registered, job_id)["refresh_run_id"]
    run = registered.call("refresh", "GET", f"{API}/refresh-runs/{run_id}").body
    assert (run["status"], run["trigger"], run["job_id"]) == ("success", "export", job_id)


def test_jobs_are_listed_newest_first_and_filtered(registered: World) -> None:
    first = start(registered)
    registered.fakes.clock.sleep(5)
    second = start(registered, connector_name="ymca_powerbi")
    listed = registered.call("export", "GET", f"{API}/export-jobs").body["jobs"]
    assert [item["id"] for item in listed] == [second, first]
    mine = registered.call("export", "GET", f"{API}/export-jobs?connector_name=ymca_sheets&status=pending").body["jobs"]
    assert [item["id"] for item in mine] == [first]


def test_wait_returns_at_once_when_the_job_is_final(registered: World) -> None:
    job_id = start(registered)
    registered.work()
    before = registered.fakes.clock.now()
    assert registered.call("export", "GET", f"{API}/export-jobs/{job_id}?wait=30s").body["status"] == "success"
    assert registered.fakes.clock.now() == before
    assert registered.call("export", "GET", f"{API}/export-jobs/{job_id}?wait=soon").status == 400


def test_an_export_whose_record_no_document_could_hold_is_refused(registered: World) -> None:
    columns = {f"{number:0>300}": "string" for number in range(4_000)}
    answer = registered.call("export", "POST", f"{API}/export", {**EXPORT, "columns": columns})
    assert (answer.status, answer.body["code"], answer.body["field"]) == (400, "invalid_request", "$")
    assert registered.fakes.tasks.pending == []
