"""What release 0.1.0 stored is opened by this one: its documents, and jobs that it accepted and did not end.

`released/data.json` was written by the code of that release (commit aed5c89) on the fakes: a job that succeeded, one that is held,
one that failed, one that stopped amid its delivery, one only accepted, a refresh; with objects, tasks and what the vendor held.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.data.__main__ import main
from shared.data.backup import COLLECTIONS, every, lines
from shared.data.migration import migrate
from shared.data.restore import How, restore
from shared.errors import ConflictError
from shared.ports import Task
from tests.functional.conftest import POWER_BI, World
from tests.functional.test_exports import API, job, start
from tests.functional.test_job_operations import do
from tests.released import FOLDER

ROWS = [{"id": 1, "name": "Name 1"}, {"id": 2, "name": "Name 2"}, {"id": 3, "name": "Name 3"}]
RECORDED: dict[str, Any] = json.loads((FOLDER / "data.json").read_text())
JOBS: dict[str, str] = RECORDED["jobs"]


@pytest.fixture
def old(world: World) -> World:
    fakes = world.fakes
    world.go_to(RECORDED["now"])
    restore(fakes.documents, (line.encode() for line in RECORDED["documents"]), How(unclosed=True))
    for entry in list(every(fakes.documents, "audit")):
        if entry.data["resource"] == "database":
            fakes.documents.delete(entry.path)
    for place, (generation, data) in RECORDED["objects"].items():
        bucket, _, name = place.partition("/")
        fakes.objects._generation = generation - 1
        fakes.objects.put(bucket, name, base64.b64decode(data))
    for url, name, body, at in RECORDED["tasks"]:
        fakes.tasks.enqueue(Task("any", url, name, body, None if at is None else datetime.fromisoformat(at)))
    fakes.secrets.add("bi-connector-ymca_powerbi", json.dumps({"client_secret": POWER_BI["client_secret"]}).encode())
    world.vendor.live.update(RECORDED["vendor"]["live"])
    for job_id, chunks in RECORDED["vendor"]["staging"].items():
        world.vendor.staging[job_id] = {int(index): rows for index, rows in chunks.items()}
    return world


def exports_only(world: World) -> None:
    world.fakes.tasks.pending[:] = [task for task in world.fakes.tasks.pending if "export-jobs" in task.url]


def test_every_document_is_shown(old: World) -> None:
    found = {name: job(old, job_id)["status"] for name, job_id in JOBS.items()}
    assert found == {"done": "success", "held": "held", "failed": "failed", "half": "running", "accepted": "pending"}
    listed = old.call("export", "GET", f"{API}/export-jobs").body["jobs"]
    assert {item["id"] for item in listed} == set(JOBS.values())
    assert [item["name"] for item in old.call("register", "GET", API).body["connectors"]] == [
        "ymca_powerbi",
        "ymca_sheets",
    ]
    assert old.call("export", "GET", f"{API}/tables/people").body["source"]["uri"] == "gs://tables/people.csv"
    assert old.call("refresh", "GET", f"{API}/refresh-runs").status == 200


def test_jobs_that_it_accepted_end_exactly_once(old: World) -> None:
    exports_only(old)
    old.fakes.clock.sleep(120.0)
    old.work()
    assert [job(old, JOBS[name])["status"] for name in ("half", "accepted")] == ["success", "success"]
    assert (old.vendor.live["halves"], old.vendor.live["later"]) == (ROWS, ROWS)


def test_the_sweep_wakes_one_whose_task_was_lost(old: World) -> None:
    old.fakes.tasks.pending.clear()
    old.fakes.clock.sleep(timedelta(hours=2).total_seconds())
    old.sweep()
    exports_only(old)
    old.work()
    assert job(old, JOBS["half"])["status"] == "success"


def test_a_held_job_is_approved_and_a_failed_one_retried(old: World) -> None:
    assert do(old, JOBS["held"], "approve").status == 202
    answer = do(old, JOBS["failed"], "retry")
    assert answer.status == 202
    exports_only(old)
    old.work()
    assert job(old, JOBS["held"])["status"] == "success"
    assert job(old, answer.body["id"])["status"] == "success"
    assert (old.vendor.live["people"], old.vendor.live["visits"]) == ([], ROWS)


def test_what_was_backed_up_is_restored_as_it_was(old: World) -> None:
    kept = list(lines(old.fakes.documents))
    assert len(kept) == len(RECORDED["documents"]) + 1
    other = type(old.fakes.documents)()
    assert restore(other, kept) == restore(other, kept) == len(kept) - 1
    assert [line for line in lines(other) if b'"action": "database.' not in line][:-1] == kept[:-1]


def test_one_that_a_job_of_this_release_overtook_is_refused_and_its_old_rows_stay_away(old: World) -> None:
    new = start(old, connector_name="ymca_powerbi", table_name="later", rows=[{"id": 9, "name": "new"}])
    old.fakes.tasks.pending[:] = [task for task in old.fakes.tasks.pending if new in task.url]
    old.work()
    assert job(old, new)["status"] == "success"
    old.fakes.clock.sleep(timedelta(hours=2).total_seconds())
    old.services.exports.run(JOBS["accepted"], None)
    overtaken = job(old, JOBS["accepted"])
    assert (overtaken["status"], overtaken["error"]["code"]) == ("failed", "superseded")  # type: ignore[index]
    assert old.vendor.live["later"] == [{"id": 9, "name": "new"}]
    assert old.call("export", "POST", f"{API}/export-jobs/{JOBS['accepted']}:retry").status == 202


def test_jobs_of_one_old_target_keep_their_order(old: World) -> None:
    documents = old.fakes.documents
    first = documents.get(f"export_jobs/{JOBS['accepted']}")
    assert first is not None
    second = {**first.data, "id": "second", "accepted": first.data["accepted"] + 1, "turn": first.data["turn"] + 1}
    documents.create("export_jobs/second", second)
    old.services.exports.lifting.lift_line(second)
    lifted = [documents.get(f"export_jobs/{job_id}") for job_id in (JOBS["accepted"], "second")]
    keys, turns, accepted = zip(
        *[(one.data["target_key"], one.data["turn"], one.data["accepted"]) for one in lifted if one], strict=True
    )
    assert (len(set(keys)), turns) == (1, (1, 2))
    assert accepted[0] < accepted[1] < 0


def test_migrating_lifts_every_job_and_keeps_what_guards_the_next_replace(old: World) -> None:
    assert migrate(old.fakes.documents, old.services.exports.lifting) == 5
    assert migrate(old.fakes.documents, old.services.exports.lifting) == 0
    held = start(old, connector_name="ymca_powerbi", table_name="people", rows=[])
    old.fakes.tasks.pending[:] = [task for task in old.fakes.tasks.pending if held in task.url]
    assert do(old, JOBS["held"], "reject").status == 200
    old.work()
    assert job(old, held)["status"] == "held"


def test_what_it_remembered_of_a_table_is_known_until_this_release_remembers_it_with_the_target(old: World) -> None:
    migrate(old.fakes.documents, old.services.exports.lifting)
    failed = old.fakes.documents.get(f"export_jobs/{JOBS['failed']}")
    assert failed is not None
    assert old.services.connectors.target_of(failed.data) == {"remembered": "visits"}
    old.fakes.documents.update(f"targets/{failed.data['target_key']}", {"remembered": {"remembered": "later"}})
    assert old.services.connectors.target_of(failed.data) == {"remembered": "later"}


def test_the_backup_knows_every_collection_that_the_code_writes() -> None:
    source = "\n".join(
        path.read_text() for path in (FOLDER.parents[2] / "shared").rglob("*.py") if "data" not in path.parts
    )
    written = set(re.findall(r"tx\.(?:create|set|update)\(\s*f?\"([a-z_]+)/", source))
    written |= set(re.findall(r"Query\(\s*\"([a-z_]+)\"", source))
    written |= {"audit", "idempotency_keys", "file_links"}
    assert len(written) > 8
    assert written - set(COLLECTIONS) - {"quotas", "breakers"} == set()


def test_a_page_whose_last_document_expired_is_gone_on_from(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.data.backup.PAGE", 2)
    documents = world.fakes.documents
    for number in range(5):
        documents.create(f"notices/{number}", {"schema": 2})
    found = every(documents, "notices")
    seen = [next(found).path, next(found).path]
    documents.delete("notices/1")
    assert [*seen, *(one.path for one in found)] == [f"notices/{number}" for number in range(5)]


def test_a_backup_that_differs_from_what_is_there_is_not_forced_in(old: World) -> None:
    kept = list(lines(old.fakes.documents))
    old.fakes.documents.update("connectors/ymca_sheets", {"updated_at": None})
    with pytest.raises(ConflictError, match="connectors/ymca_sheets holds something else"):
        restore(old.fakes.documents, kept)


@pytest.mark.parametrize("place", ["gs://exports/backup.jsonl", "file"])
def test_the_commands_carry_everything_into_an_empty_database(
    old: World, make_world: Callable[..., World], tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    where = str(tmp_path / "backup.jsonl") if place == "file" else place
    assert main(["backup", where], old.services) == 0
    other = make_world()
    for (bucket, name), (_, data) in old.fakes.objects._live.items():
        other.fakes.objects.put(bucket, name, data)
    assert main(["restore", where], other.services) == 0
    assert main(["migrate"], other.services) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{len(RECORDED['documents'])} documents in {where}",
        f"{len(RECORDED['documents'])} documents restored",
        "5 jobs lifted",
    ]
    assert job(other, JOBS["done"])["status"] == "success"


def test_a_backup_that_is_not_there_is_said_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", "gs://exports/none"], world.services) == 1
    assert "gs://exports/none does not exist" in capsys.readouterr().err
