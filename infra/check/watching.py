"""Policies on what watches the functions: alerts, objectives, the budget."""

from __future__ import annotations

import json
import re
from typing import Any

from infra.check.plan import ROOT, Plan, Violations


def alerts_wait_for_their_metrics(plan: Plan) -> Violations:
    """What names a log-based metric is made ten minutes after that: Cloud Monitoring answers 404 until it knows it."""
    waiting = plan.one("time_sleep.metrics")
    if waiting.get("create_duration") not in ("600s", "10m") or "google_logging_metric.event" not in plan.references(
        "time_sleep.metrics"
    ):
        yield "nothing waits ten minutes after the metrics are made"
    for address, values in (*plan.of("google_monitoring_alert_policy"), *plan.of("google_monitoring_slo")):
        block = re.sub(r"\[.*", "", address)
        if "logging.googleapis.com/user/" in json.dumps(values) and "time_sleep.metrics" not in plan.waits_for(block):
            yield f"{address} is made when its metric may not be known yet"


def alerts_are_tested(plan: Plan) -> Violations:
    """Every alert and objective is one of those that tests hold to the code's lines; each alert names its section of the runbook."""
    for kind, name in (("google_monitoring_alert_policy", "alerts"), ("google_monitoring_slo", "objectives")):
        listed = json.loads((ROOT / "infra" / "terraform" / f"{name}.json").read_text(encoding="utf-8"))
        planned = sorted(values["display_name"].rpartition(": ")[2] for _, values in plan.of(kind))
        if planned != sorted(one["title"] for one in listed.values()):
            yield f"what is planned is not what {name}.json lists: {planned}"
    for address, values in plan.of("google_monitoring_alert_policy"):
        key = re.findall(r'\["(.*)"\]', address)
        if not key or not values["documentation"][0]["content"].endswith(f"infra/RUNBOOK.md#{key[0]}"):
            yield f"{address} does not say where its section of the runbook is"


def the_budget_covers_everything(plan: Plan) -> Violations:
    """The budget is over the project, not over what carries a label: Cloud Scheduler's and Firestore's costs carry none."""
    for address, values in plan.of("google_billing_budget"):
        watched = {name for name, value in values["budget_filter"][0].items() if value}
        if watched != {"projects"}:
            yield f"{address} watches only {', '.join(sorted(watched))}"


def what_is_counted_is_ours(plan: Plan) -> Violations:
    """Each metric counts what metrics.json says, which tests hold to the code's lines, of every function planned and of no other."""
    listed = _listed("metrics")
    prefix = plan.variables["prefix"]["value"]
    planned = {values["name"]: (address, values) for address, values in plan.of("google_logging_metric")}
    if missing := sorted({f"{prefix}/{name}" for name in listed} - set(planned)):
        yield f"not counted: {', '.join(missing)}"
    for name, (address, values) in planned.items():
        said = listed[name.removeprefix(f"{prefix}/")]
        yield from _of_ours(plan, address, values["filter"], said["filter"])
        labels = {label: f"EXTRACT(jsonPayload.{label})" for label in said["labels"]}
        described = {one["key"] for one in values["metric_descriptor"][0]["labels"]}
        value = f"EXTRACT(jsonPayload.{said['value']})" if "value" in said else None
        if (values["label_extractors"] or {}, described, values["value_extractor"]) != (labels, set(labels), value):
            yield f"{address} takes {values['label_extractors']} and {values['value_extractor']}; expected {labels}, {value}"


def alerts_reach_somebody(plan: Plan) -> Violations:
    """Each alert asks what alerts.json says, the way that it says, and tells every channel."""
    channels = {values["name"] for _, values in plan.of("google_monitoring_notification_channel")}
    if len(channels) != len(plan.variables["notify"]["value"]):
        yield f"{len(channels)} channels for {plan.variables['notify']['value']}"
    for address, values in plan.of("google_monitoring_alert_policy"):
        said = _listed("alerts")[re.findall(r'\["(.*)"\]', address)[0]]
        if set(values["notification_channels"] or ()) != channels:
            yield f"{address} tells {values['notification_channels']}, expected {sorted(channels)}"
        if values.get("enabled") is False or values["severity"] != said["severity"]:
            yield f"{address} is off, or not of severity {said['severity']}"
        (condition,) = values["conditions"]
        for logged in condition["condition_matched_log"]:
            yield from _of_ours(plan, address, logged["filter"], said["log"])
            wrong = [
                path for path in logged["label_extractors"].values() if not path.startswith("EXTRACT(jsonPayload.")
            ]
            yield from (f"{address} takes {path}, which is in no line" for path in wrong)
        for measured in (*condition["condition_threshold"], *condition["condition_absent"]):
            if measured["filter"] != (expected := _measured(plan, said)):
                yield f"{address} measures {measured['filter']}, expected {expected}"
        periods = [
            one["alignment_period"] for above in condition["condition_threshold"] for one in above["aggregations"]
        ]
        periods += [absent["duration"] for absent in condition["condition_absent"]]
        if periods != [said[name] for name in ("window", "absent") if name in said and "objective" not in said]:
            yield f"{address} looks at {periods}"
        for above in condition["condition_threshold"]:
            if (above["comparison"], above["threshold_value"]) != (
                "COMPARISON_GT",
                said.get("above", said.get("burn")),
            ):
                yield f"{address} fires at {above['comparison']} {above['threshold_value']}"
        kinds = ("condition_threshold", "condition_absent", "condition_matched_log")
        expected_kind = kinds["absent" in said] if {"metric", "objective"} & said.keys() else kinds[2]
        if [kind for kind in kinds if condition[kind]] != [expected_kind]:
            yield f"{address} has not the one condition {expected_kind}"


def objectives_are_those_listed(plan: Plan) -> Violations:
    """Each objective counts what objectives.json says, which tests hold to the code's lines, and asks as much of it."""
    for address, values in plan.of("google_monitoring_slo"):
        said = _listed("objectives")[re.findall(r'\["(.*)"\]', address)[0]]
        (asked,) = values["request_based_sli"]
        told = {name: one[f"{name}_service_filter"] for one in asked["good_total_ratio"] for name in ("good", "total")}
        for one in asked["distribution_cut"]:
            told["at_most"] = one["distribution_filter"]
        measured = _measured(plan, {"metric": said["metric"]})
        expected = {name: f"{measured} AND {said[name]}" for name in ("good", "total") if name in said}
        expected |= {"at_most": measured} if "at_most" in said else {}
        most = [(one["range"][0]["min"], one["range"][0]["max"]) for one in asked["distribution_cut"]]
        if (told, values["goal"]) != (expected, said["goal"]) or most != [
            (None, said[n]) for n in ("at_most",) if n in said
        ]:
            yield f"{address} asks {values['goal']} of {told} {most}, expected {said['goal']} of {expected}"


def the_audit_is_kept(plan: Plan) -> Violations:
    """The sink takes Google's audit logs and the line that shared/services/audit.py writes, to the audit bucket."""
    written = 'log_event("audit", ' in (ROOT / "shared" / "services" / "audit.py").read_text(encoding="utf-8")
    buckets = [
        f"storage.googleapis.com/{v['name']}" for a, v in plan.of("google_storage_bucket") if a.endswith(".audit")
    ]
    for address, values in plan.of("google_logging_project_sink"):
        logs, _, own = values["filter"].partition("\nOR ")
        expected = [f'log_id("cloudaudit.googleapis.com/{name}")' for name in ("activity", "data_access")]
        if logs.split(" OR ") != expected or [values["destination"]] != buckets or values.get("disabled"):
            yield f"{address} does not keep {' and '.join(expected)} in {buckets}"
        found = re.fullmatch(r'\((.*) AND jsonPayload\.message="audit"\)\s*', own)
        if found is None or not written:
            yield f"{address} keeps {own.strip()}; expected the lines of ours with the message that audit.py writes"
        else:
            yield from _services(plan, address, found.group(1))


def links_are_not_logged(plan: Plan) -> Violations:
    """Requests for a kept file by its link, and no others, are left out of the logs, whichever way they come."""
    prefix = plan.variables["prefix"]["value"]
    wanted = {f'service_name="{prefix}-export"', f'url_map_name="{prefix}-origin"'}
    for _, values in plan.of("google_logging_project_exclusion"):
        found = re.fullmatch(r'httpRequest\.requestUrl=~"(\S+)" AND \((.*)\)', values["filter"])
        places = {one.removeprefix("resource.labels.") for one in found.group(2).split(" OR ")} if found else set()
        seen = [
            path for path in LOGGED if found and re.search(found.group(1), f"https://{prefix}-export-1.run.app{path}")
        ]
        if places == wanted and seen == ["/files/01ke70ehg0"] and not values.get("disabled"):
            return
    yield "the log of requests keeps links to files, or loses what is none"


LOGGED = ("/files/01ke70ehg0", "/health", "/api/bi-connectors/export-jobs/files:linkFile", "/api/bi-connectors/files/x")
"""Paths: the first is the route of a link (a test holds it to the table), the others are none."""


def _listed(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        (ROOT / "infra" / "terraform" / f"{name}.json").read_text(encoding="utf-8")
    )
    return found


def _of_ours(plan: Plan, address: str, text: str, listed: str) -> Violations:
    """Hold a filter to `<a function of ours> AND <what is listed>`."""
    kind, service, rest = [*text.split(" AND ", 2), "", ""][:3]
    if kind != 'resource.type="cloud_run_revision"' or rest != listed:
        yield f"{address} filters {text}, expected a function of ours and {listed}"
    yield from _services(plan, address, service)


def _services(plan: Plan, address: str, text: str) -> Violations:
    """Hold a filter of service names to the functions planned: all of them, and none of another environment."""
    found = re.fullmatch(r'resource\.labels\.service_name=~"([^"]+)"', text)
    names = {values["name"] for _, values in plan.of("google_cloudfunctions2_function")}
    others = (
        {f"{name}2" for name in names} | {name.replace("-", "2-", 1) for name in names} | {f"a{name}" for name in names}
    )
    seen = {name for name in names | others if found and re.search(found.group(1), name)}
    if not names or seen != names:
        yield f"{address} watches {sorted(seen)} by {text}, expected {sorted(names)}"


def _measured(plan: Plan, said: dict[str, Any]) -> str:
    prefix = plan.variables["prefix"]["value"]
    if "objective" in said:
        names = [
            v["name"] for _, v in plan.of("google_monitoring_slo") if v["slo_id"] == f"{prefix}-{said['objective']}"
        ]
        return f'select_slo_burn_rate("{"".join(names)}", "{said["window"]}")'
    where = f" AND {said['where']}" if "where" in said else ""
    return f'resource.type="cloud_run_revision" AND metric.type="logging.googleapis.com/user/{prefix}/{said["metric"]}"{where}'
