"""Policies on what watches the functions: alerts, objectives, the budget."""

from __future__ import annotations

import json
import re

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
