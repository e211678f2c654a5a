"""Every change and every run leaves one audit entry; the seals notice whatever is done to them afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.connectors._base import Check, RefreshStatus, VendorRefresh
from shared.data.__main__ import main
from shared.data.backup import lines
from shared.data.restore import How, restore
from shared.errors import InvalidRequestError, VendorUnavailableError
from shared.services.audit import _hash
from tests.functional.conftest import POWER_BI, SHEETS, World

API = "/api/bi-connectors"
ROWS = [{"id": 1, "name": "Ada"}]


def entries(world: World, query: str = "") -> list[dict[str, Any]]:
    answer = world.call("register", "GET", f"{API}/audit{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["entries"]
    return found


def actions(world: World) -> list[tuple[str, str]]:
    """Return what was done to which collection, sorted: the clock of these tests stands still, so ids have no order."""
    return sorted((entry["action"], entry["resource"].split("/")[0]) for entry in entries(world))


def export(world: World) -> str:
    body = {"connector_name": "ymca_sheets", "table_name": "people", "rows": ROWS}
    answer = world.call("export", "POST", f"{API}/export", body, X_Request_Id="request-7")
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


def sealed(world: World) -> World:
    """Let the entries settle, and seal them."""
    world.fakes.clock.sleep(timedelta(minutes=11).total_seconds())
    world.sweep()
    return world


def everything_that_is_audited(registered: World) -> None:
    registered.vendor.refreshes = [VendorRefresh("v", RefreshStatus.SUCCEEDED, "Completed")]
    etag = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    registered.call("register", "PATCH", f"{API}/ymca_powerbi", {"client_id": "other"}, If_Match=etag)
    registered.call("export", "PUT", f"{API}/tables/people", {"source": {"uri": "gs://tables/people.csv"}})
    registered.call("export", "DELETE", f"{API}/tables/people")
    job_id = export(registered)
    registered.work()
    registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}")
    registered.call("refresh", "POST", f"{API}/ymca_powerbi/refresh")
    registered.work()
    schedule = {"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *"}
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", schedule).body["id"]
    registered.fakes.cron_jobs.jobs.pop(schedule_id)
    registered.call("refresh", "POST", f"{API}/schedules:reconcile")
    registered.call("refresh", "POST", f"{API}/apply", {"schedules": [{"name": "morning", **schedule}]})
    registered.call("refresh", "DELETE", f"{API}/schedules/{schedule_id}")
    registered.call("register", "POST", f"{API}/ymca_powerbi/test")
    registered.call("register", "DELETE", f"{API}/ymca_sheets")


def test_every_change_and_run_leaves_one_entry(registered: World) -> None:
    everything_that_is_audited(registered)

    assert actions(registered) == [
        ("connector.change", "connectors"),
        ("connector.delete", "connectors"),
        ("connector.register", "connectors"),
        ("connector.register", "connectors"),
        ("connector.test", "connectors"),
        ("job.end", "export_jobs"),
        ("job.erase", "export_jobs"),
        ("job.start", "export_jobs"),
        ("refresh.end", "refresh_runs"),
        ("refresh.start", "refresh_runs"),
        ("schedule.adopt", "schedules"),
        ("schedule.create", "schedules"),
        ("schedule.delete", "schedules"),
        ("schedule.reconcile", "schedules"),
        ("table.delete", "tables"),
        ("table.put", "tables"),
    ]


def test_an_entry_says_who_what_in_which_request_and_how_it_ended(registered: World) -> None:
    job_id = export(registered)
    registered.work()
    (start,) = entries(registered, f"?resource=export_jobs/{job_id}&action=job.start")
    (end,) = entries(registered, f"?resource=export_jobs/{job_id}&action=job.end")

    assert (start["action"], start["actor"], start["request_id"]) == ("job.start", "developer@localhost", "request-7")
    assert (start["before"], start["after"][:7], start["outcome"]) == (None, "sha256:", "done")
    assert (end["action"], end["actor"], end["outcome"]) == ("job.end", "developer@localhost", "success")
    assert end["request_id"] != "request-7"


def test_the_test_of_a_connector_is_audited_with_who_asked_and_how_it_ended(registered: World) -> None:
    """Also where all are tested, in threads of their own."""
    registered.vendor.checks = [Check("sign in", False, 1.0, "no")]
    registered.call("register", "POST", f"{API}/ymca_powerbi/test", X_Request_Id="one")
    registered.call("register", "POST", f"{API}/test-all", X_Request_Id="all")
    found = [one for one in entries(registered) if one["action"] == "connector.test"]
    assert sorted((one["request_id"], one["resource"], one["actor"], one["outcome"]) for one in found) == [
        ("all", "connectors/ymca_powerbi", "developer@localhost", "failed"),
        ("all", "connectors/ymca_sheets", "developer@localhost", "failed"),
        ("one", "connectors/ymca_powerbi", "developer@localhost", "failed"),
    ]


def verified(world: World) -> dict[str, Any]:
    answer = world.call("register", "GET", f"{API}/audit:verify")
    assert answer.status == 200, answer.body
    assert answer.body["ok"], answer.body["problems"]
    return dict(answer.body)


def restores(world: World) -> list[dict[str, Any]]:
    """The entries of restores and of what ends them, by action."""
    return sorted((one for one in entries(world) if one["resource"] == "database"), key=lambda one: one["action"])


def test_a_restore_takes_entries_away_and_leaves_its_own_behind_those_that_it_brought(
    registered: World, tmp_path: Path
) -> None:
    place = str(tmp_path / "backup.jsonl")
    brought = verified(sealed(registered))
    assert main(["backup", place], registered.services) == 0
    registered.call("register", "DELETE", f"{API}/ymca_sheets")
    lost = verified(sealed(registered))
    assert main(["restore", "--replace", place], registered.services) == 0

    assert "connector.delete" not in dict(actions(registered))
    begun, done = restores(registered)
    assert (begun["action"], done["action"]) == ("database.begin_restore", "database.restore")
    assert begun["note"] == f"from {place}, in place of what there is; its last seal: {lost['head']}"
    *before, end = Path(place).read_bytes().splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(before)).hexdigest()
    assert done["note"].startswith(f"from {place}, {len(before)} documents restored, sha256:{digest}; ")
    assert json.loads(end)["$end"] == {"documents": len(before), "sha256": f"sha256:{digest}"}
    assert {one["actor"] for one in (begun, done)} == {f"shared.data as {pwd.getpwuid(os.getuid()).pw_name}"}
    assert verified(registered)["head"] == brought["head"]
    after = verified(sealed(registered))
    assert (after["seals"], after["entries"]) == (brought["seals"] + 1, brought["entries"] + 2)


def test_every_attempt_to_restore_and_its_end_are_told(registered: World, tmp_path: Path) -> None:
    saved = list(lines(registered.fakes.documents))
    for _ in range(2):
        with pytest.raises(InvalidRequestError):
            restore(registered.fakes.documents, saved[:-1], How("one", "rina", replace=True))
    assert [(one["actor"], one["action"]) for one in restores(registered)] == [("rina", "database.begin_restore")] * 2
    assert main(["resume"], registered.services) == 0
    assert main(["resume"], registered.services) == 0
    assert [one["action"] for one in restores(registered)][2:] == ["database.resume"]
    verified(sealed(registered))


def test_a_difference_that_was_not_mended_leaves_no_entry(registered: World) -> None:
    schedule = {"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *"}
    schedule_id = registered.call("refresh", "POST", f"{API}/schedules", schedule).body["id"]
    del registered.fakes.cron_jobs.jobs[schedule_id]
    path = f"{API}/schedules:reconcile"
    assert registered.call("refresh", "POST", f"{path}?dry_run=true").body["drifts"]
    assert "schedule.reconcile" not in dict(actions(registered))
    assert registered.call("refresh", "POST", path).body["drifts"]
    registered.call("refresh", "POST", path)
    (entry,) = (one for one in entries(registered) if one["action"] == "schedule.reconcile")
    assert (entry["resource"], entry["actor"]) == (f"schedules/{schedule_id}", "developer@localhost")


def test_a_job_is_erased_only_once_the_entry_says_so(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = export(registered)
    registered.work()

    def stop(*_: str) -> None:
        raise VendorUnavailableError("Cloud Storage gives no answer")

    with monkeypatch.context() as patch:
        patch.setattr(registered.fakes.objects, "delete", stop)
        assert registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}").status == 503
    assert ("job.erase", "export_jobs") in actions(registered)
    again = registered.call("export", "POST", f"{API}/export-jobs/{job_id}:republish")
    assert (again.status, again.body["code"]) == (409, "rows_erased")
    assert registered.call("export", "DELETE", f"{API}/export-jobs/{job_id}").status == 204
    assert not [name for _, name in registered.fakes.objects._live if job_id in name]


def test_a_change_that_is_refused_leaves_no_entry(registered: World) -> None:
    before = len(entries(registered))
    assert registered.call("register", "PATCH", f"{API}/ymca_powerbi", {}, If_Match='"1.000000001"').status == 412
    assert registered.call("register", "POST", f"{API}/register", {**POWER_BI, "client_id": "x"}).status == 409
    assert registered.call("register", "POST", f"{API}/register", POWER_BI).status == 200
    assert len(entries(registered)) == before


def test_no_entry_holds_a_secret_or_a_digest_of_one(registered: World) -> None:
    etag = registered.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    rotated = {"client_secret": "another-secret-of-the-app"}
    assert registered.call("register", "PATCH", f"{API}/ymca_powerbi", rotated, If_Match=etag).status == 200
    text = json.dumps(entries(registered))
    for secret in (POWER_BI["client_secret"], "another-secret-of-the-app"):
        for content in (secret, json.dumps(secret), json.dumps({"client_secret": secret}, separators=(",", ":"))):
            assert content not in text
            assert hashlib.sha256(content.encode()).hexdigest() not in text


def test_a_secret_in_a_note_is_removed_first(registered: World) -> None:
    assert main(["erase", "people", POWER_BI["client_secret"], "x"], registered.services) == 0
    (entry,) = (one for one in entries(registered) if one["action"] == "database.erase_rows")
    assert entry["note"] == "rows of the table 'people' that hold some value in '[redacted]'"


def test_a_secret_in_what_is_digested_is_removed_first() -> None:
    from shared.audit import digest
    from shared.redaction import remember

    remember({"client_secret": "canary-of-the-digest"})
    assert digest({"note": "canary-of-the-digest"}) == digest({"note": "[redacted]"})


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?action=connector.register", 2),
        ("?action=connector.register&resource=connectors/ymca_sheets", 1),
        ("?actor=nobody@example.org", 0),
        ("?request_id=request-7", 1),
        ("?outcome=success", 1),
    ],
)
def test_filters_pick_entries(registered: World, query: str, count: int) -> None:
    export(registered)
    registered.work()
    assert len(entries(registered, query)) == count


def test_a_page_token_belongs_to_its_filter(registered: World) -> None:
    first = registered.call("register", "GET", f"{API}/audit?page_size=1&action=connector.register").body
    more = f"page_token={first['next_page_token']}"
    assert registered.call("register", "GET", f"{API}/audit?{more}").status == 400
    second = registered.call("register", "GET", f"{API}/audit?page_size=1&action=connector.register&{more}").body
    shown = {first["entries"][0]["resource"], second["entries"][0]["resource"]}
    assert shown == {"connectors/ymca_sheets", "connectors/ymca_powerbi"}
    assert second["next_page_token"] is None


def test_entries_are_sealed_once_they_have_settled(registered: World) -> None:
    registered.fakes.clock.sleep(timedelta(minutes=9).total_seconds())
    registered.sweep()
    assert registered.call("register", "GET", f"{API}/audit:verify").body["seals"] == 0
    sealed(registered)
    registered.sweep()
    verified = registered.call("register", "GET", f"{API}/audit:verify").body
    assert (verified["ok"], verified["seals"], verified["entries"]) == (True, 1, 2)


@pytest.mark.parametrize(
    ("is_next_told", "problem"), [(False, "seal 2 does not follow seal 1"), (True, "seal 2 does not fit its entries")]
)
def test_a_seal_that_was_made_anew_with_its_entries_does_not_fit_the_next(
    registered: World, is_next_told: bool, problem: str
) -> None:
    """Somebody changes an entry, and gives its seal the hash that now fits; and the next seal that hash as its previous."""
    sealed(registered)
    export(registered)
    sealed(registered)
    documents = registered.fakes.documents
    path = sorted(path for path in documents._documents if path.startswith("audit/"))[0]
    documents.update(path, {"actor": "somebody@else.example"})
    first = documents._documents["audit_seals/000000000001"][0]
    of_it = [data for path, (data, _) in sorted(documents._documents.items()) if path.startswith("audit/")]
    forged = _hash(first["previous"], [entry for entry in of_it if entry["id"] <= first["last_id"]])
    documents.update("audit_seals/000000000001", {"hash": forged})
    if is_next_told:
        documents.update("audit_seals/000000000002", {"previous": forged})
    (found,) = registered.call("register", "GET", f"{API}/audit:verify").body["problems"]
    assert found.startswith(problem)


def test_an_entry_is_written_in_the_commit_of_the_change_that_it_tells_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit's documents are kept as it ends; an entry outside the commit of what it names could be lost or lie."""
    documents = world.fakes.documents
    commits: list[set[str]] = []
    inner = documents.transact

    def transact(work: Any) -> Any:
        before = {path: version for path, (_, version) in documents._documents.items()}
        result = inner(work)
        after = {path: version for path, (_, version) in documents._documents.items()}
        commits.append({path for path in before.keys() | after.keys() if before.get(path) != after.get(path)})
        return result

    monkeypatch.setattr(documents, "transact", transact)
    for body in (POWER_BI, SHEETS):
        assert world.call("register", "POST", f"{API}/register", body).status == 201
    everything_that_is_audited(world)
    told = {entry["id"]: entry for entry in entries(world, "?page_size=100")}
    assert len(told) == 16
    for entry_id, entry in told.items():
        (commit,) = (one for one in commits if f"audit/{entry_id}" in one)
        if entry["action"] == "schedule.reconcile":  # what changed is Cloud Scheduler's
            continue
        assert entry["resource"] in commit, f"{entry['action']} was not written with {entry['resource']}"


def test_an_entry_is_not_written_over_by_another_of_its_id(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.audit.new_id", lambda now: "0" * 26)
    assert world.call("register", "POST", f"{API}/register", POWER_BI).status == 201
    first = world.fakes.documents.get(f"audit/{'0' * 26}")
    assert world.call("register", "POST", f"{API}/register", SHEETS).status >= 400
    assert world.fakes.documents.get(f"audit/{'0' * 26}") == first


@pytest.mark.parametrize("what", ["changed", "removed", "put in", "seal removed"])
def test_the_check_finds_what_was_done_to_the_log(registered: World, what: str) -> None:
    sealed(registered)
    export(registered)
    sealed(registered)
    documents = registered.fakes.documents
    path = sorted(path for path in documents._documents if path.startswith("audit/"))[0]
    match what:
        case "changed":
            documents.update(path, {"actor": "somebody@else.example"})
        case "removed":
            documents.delete(path)
        case "put in":
            entry = dict(documents._documents[path][0])
            documents.create(path + "0", {**entry, "id": entry["id"] + "0"})
        case "seal removed":
            documents.delete("audit_seals/000000000001")
    verified = registered.call("register", "GET", f"{API}/audit:verify").body
    assert not verified["ok"]
    assert len(verified["problems"]) == 1


def test_sealed_entries_and_seals_are_logged(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    sealed(registered)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = [line for line in lines if line["message"] == "audit"]
    head = registered.call("register", "GET", f"{API}/audit:verify").body["head"]
    assert [line["action"] for line in logged] == ["connector.register", "connector.register"]
    assert [f"{line['number']}:{line['hash']}" for line in lines if line["message"] == "audit_sealed"] == [head]


def test_entries_are_never_written_twice(registered: World) -> None:
    sealed(registered)
    versions = {p: v for p, (_, v) in registered.fakes.documents._documents.items() if p.startswith("audit/")}
    sealed(registered)
    later = {p: v for p, (_, v) in registered.fakes.documents._documents.items() if p.startswith("audit/")}
    assert {path: later[path] for path in versions} == versions
