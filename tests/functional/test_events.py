"""What is watched on Google Cloud is what the code writes: every metric and alert meets the line that it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.connectors._base import Runtime
from shared.connectors._http import vendor_session
from shared.errors import CredentialError, TargetError, VendorUnavailableError
from shared.services.breakers import Breakers
from shared.services.connectors import Connectors
from shared.services.notices import announce
from tests.fakes.connector import InMemoryConnector
from tests.fakes.log_filter import entry, matches
from tests.functional.conftest import World
from tests.functional.test_exports import EXPORT, start

ROOT = Path(__file__).resolve().parents[2]
METRICS: dict[str, Any] = json.loads((ROOT / "infra" / "terraform" / "metrics.json").read_text())
ALERTS: dict[str, Any] = json.loads((ROOT / "infra" / "terraform" / "alerts.json").read_text())
OBJECTIVES: dict[str, Any] = json.loads((ROOT / "infra" / "terraform" / "objectives.json").read_text())


def exports_fail(world: World) -> None:
    world.vendor.errors = [("preflight", TargetError("no"))]
    start(world)
    world.work()


def objective_at_risk(world: World) -> None:
    """Two of three jobs that ended failed: burning 133 times as fast as the objective allows."""
    start(world)
    world.work()
    exports_fail(world)
    exports_fail(world)


def fault_of_ours(world: World) -> None:
    world.vendor.errors = [("preflight", RuntimeError("a bug"))]
    start(world)
    with pytest.raises(AssertionError):
        world.work_once()


def jobs_rescued(world: World) -> None:
    start(world)
    world.fakes.tasks.pending.clear()
    world.fakes.clock.sleep(3600)
    world.sweep()


def sweep_missing(world: World) -> None:
    world.sweep()


def vendor_down(world: World) -> None:
    stores = world.services.stores
    runtime = Runtime(stores.clock, guard=Breakers(stores.documents, stores.clock).guard)
    world.services.__dict__["connectors"] = Connectors(
        stores, "bi", runtime, load=lambda config, secrets, runtime: InMemoryConnector(world.vendor)
    )
    world.vendor.errors = [("write", VendorUnavailableError("503", retry_after_s=1.0, vendor_status=503))] * 5
    start(world)
    world.work()


def callers_refused(world: World) -> None:
    assert world.call("export", "GET", "/api/bi-connectors/tables", Authorization="Bearer nobody").status == 401


def credential_refused(world: World) -> None:
    world.vendor.errors = [("preflight", CredentialError("refused"))]
    start(world)
    world.work()


def job_held(world: World) -> None:
    start(world)
    world.work()
    start(world, rows=[])
    world.work()


def notices_fail(world: World) -> None:
    channel = {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/canary-of-slack"}
    assert world.call("register", "PUT", "/api/bi-connectors/channels/team", channel).status == 201
    subject = {"schedule_id": "s1"}
    documents, now = world.fakes.documents, world.fakes.clock.now()
    documents.transact(lambda tx: announce(tx, "freshness.late", now, "late", subject))
    world.minute()
    assert world.call("register", "DELETE", "/api/bi-connectors/channels/team").status == 204
    world.work()


def data_late(world: World) -> None:
    daily = {"connector_name": "ymca_powerbi", "cron_expression": "0 13 * * *", "max_age": "26h"}
    assert world.call("refresh", "POST", "/api/bi-connectors/schedules", daily).status == 201
    world.fakes.clock.sleep(27 * 3600)
    world.minute()


def freshness_missing(world: World) -> None:
    world.minute()


def repair_failed(world: World) -> None:
    world.vendor.is_staged = False
    start(world, connector_name="ymca_powerbi")
    world.work()
    world.vendor.errors = [("begin", TargetError("refused after the delete")) for _ in range(20)]
    start(world, connector_name="ymca_powerbi", rows=[{"id": 7, "name": "G"}, {"id": 8, "name": "H"}])
    for _ in range(8):
        world.work()
        world.fakes.clock.sleep(6_000)
        world.sweep()


CAUSES: dict[str, Callable[[World], None]] = {
    "exports-fail": exports_fail,
    "objective-at-risk": objective_at_risk,
    "fault-of-ours": fault_of_ours,
    "jobs-rescued": jobs_rescued,
    "sweep-missing": sweep_missing,
    "vendor-down": vendor_down,
    "callers-refused": callers_refused,
    "credential-refused": credential_refused,
    "job-held": job_held,
    "notices-fail": notices_fail,
    "data-late": data_late,
    "freshness-missing": freshness_missing,
    "repair-failed": repair_failed,
}


def entries(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the log entries written since the last call."""
    return [entry(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_meets_the_line_that_its_cause_writes(
    name: str, registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    CAUSES[name](registered)
    assert [found for found in entries(capsys) if matches(ALERTS[name]["log"], found)]


def test_a_repair_that_has_no_rows_to_publish_alerts_too(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    registered.vendor.is_staged = False
    good = start(registered, connector_name="ymca_powerbi")
    registered.work()
    assert registered.call("export", "DELETE", f"/api/bi-connectors/export-jobs/{good}").status == 204
    registered.vendor.errors = [("begin", TargetError("refused after the delete"))]
    start(registered, connector_name="ymca_powerbi", rows=[{"id": 7, "name": "G"}, {"id": 8, "name": "H"}])
    registered.work()
    assert [found for found in entries(capsys) if matches(ALERTS["repair-failed"]["log"], found)]


@pytest.mark.parametrize("name", sorted(ALERTS.keys() - {"sweep-missing", "freshness-missing"}))
def test_no_alert_when_all_goes_well(name: str, registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    start(registered)
    registered.work()
    registered.sweep()
    registered.minute()
    assert [found for found in entries(capsys) if matches(ALERTS[name]["log"], found)] == []


def points(metric: str, found: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what a metric counts: each entry with the labels of its point, as text."""
    counted = [one for one in found if matches(METRICS[metric]["filter"], one)]
    labels = METRICS[metric]["labels"]
    return [(one, {label: str(one["jsonPayload"].get(label, "")) for label in labels}) for one in counted]


def kept(where: str, metric: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries whose points pass a filter on labels."""
    return [one for one, labels in points(metric, found) if matches(where, {"metric": {"labels": labels}})]


@pytest.mark.parametrize("name", [name for name in ALERTS if "where" in ALERTS[name]])
def test_an_alert_on_a_metric_counts_just_the_lines_that_it_is_for(
    name: str, registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    start(registered)
    registered.work()
    CAUSES[name](registered)
    found = entries(capsys)
    alert = ALERTS[name]
    assert [one for one in found if matches(alert["log"], one)]
    assert kept(alert["where"], alert["metric"], found) == [one for one in found if matches(alert["log"], one)]


def burn(objective: dict[str, Any], found: list[dict[str, Any]]) -> float:
    """Return how many times faster than it may the allowance of an objective is used up."""
    good, total = (len(kept(objective[name], objective["metric"], found)) for name in ("good", "total"))
    return float((1 - good / total) / (1 - objective["goal"]))


@pytest.mark.parametrize("name", [name for name in ALERTS if "burn" in ALERTS[name]])
def test_an_objective_at_risk_is_seen_in_the_lines_of_its_jobs_and_not_when_all_goes_well(
    name: str, registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = ALERTS[name]
    objective = OBJECTIVES[alert["objective"]]
    start(registered)
    registered.work()
    registered.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=3600.0))]
    cancelled = start(registered)
    registered.work_once()
    registered.call("export", "POST", f"/api/bi-connectors/export-jobs/{cancelled}:cancel")
    registered.work_once(newest=True)
    found = entries(capsys)
    assert {labels["status"] for _, labels in points("jobs", found)} == {"success", "cancelled"}
    assert burn(objective, found) == 0
    CAUSES[name](registered)
    assert burn(objective, entries(capsys)) > alert["burn"]


def test_an_objective_of_values_counts_those_of_its_lines(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    start(registered)
    found = entries(capsys)
    for objective in (one for one in OBJECTIVES.values() if "at_most" in one):
        metric = METRICS[objective["metric"]]
        values = [one["jsonPayload"][metric["value"]] for one, _ in points(objective["metric"], found)]
        assert len(values) == 1
        assert 0 < values[0] <= objective["at_most"]


def everything(world: World) -> None:
    """Make the code write every kind of line that a metric counts."""
    start(world)
    world.work()
    exports_fail(world)
    world.sweep()
    world.minute()
    session = vendor_session("looker")
    session.mount("http://", session.get_adapter("https://x"))
    with pytest.raises(requests.ConnectionError):
        session.get("http://127.0.0.1:9/", timeout=1)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_finds_its_value_and_labels_in_what_it_counts(
    name: str, registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    everything(registered)
    counted = [found["jsonPayload"] for found in entries(capsys) if matches(METRICS[name]["filter"], found)]
    assert counted
    for label in METRICS[name]["labels"]:
        assert any(label in payload for payload in counted), label
    if value := METRICS[name].get("value"):
        assert all(isinstance(payload[value], int | float) for payload in counted)


def test_a_metric_that_an_alert_narrows_has_the_label(registered: World) -> None:
    for one in (*ALERTS.values(), *OBJECTIVES.values()):
        narrowed = " ".join(one.get(name, "") for name in ("where", "good", "total"))
        for label in re.findall(r"metric\.labels\.(\w+)", narrowed):
            assert label in METRICS[one["metric"]]["labels"]


def test_every_alert_has_its_section_in_the_runbook() -> None:
    sections = set(re.findall(r"^## ([a-z-]+)$", (ROOT / "infra" / "RUNBOOK.md").read_text(), re.MULTILINE))
    assert sections == set(ALERTS)


def test_every_line_of_a_job_carries_its_id_and_one_trace_over_all_its_tasks(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    registered.call(
        "export", "POST", "/api/bi-connectors/export", EXPORT, traceparent=f"00-{trace}-b7ad6b7169203331-01"
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {
        line["logging.googleapis.com/trace"] for line in lines if "project" in line or line["message"] == "request"
    } == {f"projects/fake/traces/{trace}"}
    registered.work()
    worked = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    finished = next(line for line in worked if line["message"] == "job_finished")
    assert finished["logging.googleapis.com/labels"] == {"job_id": finished["job_id"]}
    assert finished["severity"] == "INFO"
