"""What a plan would leave on Google Cloud, in the terms of `outcome`."""

from __future__ import annotations

import base64
import re
from typing import Any

from infra.check.outcome import Outcome, plain, rule, settings_of
from infra.check.plan import Plan

PLACES = {
    "google_project_iam_member": ("project", "project"),
    "google_cloud_tasks_queue_iam_member": ("queue", "name"),
    "google_service_account_iam_member": ("account", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
    "google_cloud_run_service_iam_member": ("service", "service"),
    "google_bigquery_dataset_iam_member": ("dataset", "dataset_id"),
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
}
"""How a grant of each type names what it is on."""

NO_GRANTS = {"google_project_iam_audit_config", "google_project_iam_custom_role"}
_INGRESS = {
    "ALLOW_ALL": "all",
    "ALLOW_INTERNAL_ONLY": "internal-only",
    "ALLOW_INTERNAL_AND_GCLB": "internal-and-gclb",
}


def outcome_of_plan(plan: Plan) -> Outcome:
    """Read a plan. Grants of a type that nothing here reads are in `unread`."""
    done = Outcome()
    _grants(plan, done)
    _functions(plan, done)
    _queues_and_buckets(plan, done)
    _documents(plan, done)
    _callers(plan, done)
    _of_the_project(plan, done)
    return done


def _grants(plan: Plan, done: Outcome) -> None:
    roles = {v.get("name") or a: v["permissions"] for a, v in plan.of("google_project_iam_custom_role")}
    for address, values in plan.of("google_"):
        kind = address.partition(".")[0]
        if "_iam_" not in kind or kind in NO_GRANTS:
            continue
        if kind not in PLACES:
            done.unread.append(f"{address} grants in a form that nothing here reads; use {', '.join(sorted(PLACES))}")
            continue
        what, name = PLACES[kind]
        place = str(values.get(name))
        if what == "account":
            place = place.rpartition("/")[2]
        if what in ("queue", "service"):
            place = f"{values['location']}/{place}"
        condition = "".join(one["expression"] for one in values.get("condition") or ())
        done.grant(str(values.get("member")), str(values.get("role")), condition, f"{what} {place}", roles)


def _functions(plan: Plan, done: Outcome) -> None:
    for _, values in plan.of("google_cloudfunctions2_function"):
        service, build = values["service_config"][0], values["build_config"][0]
        done.add(
            f"function {values['name']}",
            location=values["location"],
            runtime=build["runtime"],
            entry_point=build["entry_point"],
            package=re.sub(r"-[0-9a-f]{64}\.zip$", "", build["source"][0]["storage_source"][0]["object"]),
            memory=service["available_memory"],
            cpu=service["available_cpu"],
            concurrency=_text(service["max_instance_request_concurrency"]),
            timeout_s=_text(service["timeout_seconds"]),
            max_instances=_text(service["max_instance_count"]),
            ingress=_INGRESS.get(service["ingress_settings"], service["ingress_settings"]),
            account=service.get("service_account_email"),
            build_account=build.get("service_account"),
            repository=build.get("docker_repository"),
            build_settings=build["environment_variables"],
            **settings_of(service["environment_variables"] or {}),
        )


def _queues_and_buckets(plan: Plan, done: Outcome) -> None:
    for _, values in plan.of("google_cloud_tasks_queue"):
        limits = {**(values.get("rate_limits") or [{}])[0], **(values.get("retry_config") or [{}])[0]}
        said = {name: _text(value) for name, value in limits.items() if value is not None}
        done.add(f"queue {values['name']}", location=values["location"], **said)
    for _, values in plan.of("google_storage_bucket"):
        rules = [(one["action"][0]["type"], one["condition"][0]) for one in values.get("lifecycle_rule") or ()]
        soft = values.get("soft_delete_policy") or [{}]
        done.add(
            f"bucket {values['name']}",
            location=values["location"],
            uniform=bool(values.get("uniform_bucket_level_access")),
            public_access_prevention=values.get("public_access_prevention") == "enforced",
            soft_delete_s=_text(soft[0].get("retention_duration_seconds", "the default")),
            versioning=bool((values.get("versioning") or [{}])[0].get("enabled")),
            lifecycle=sorted(rule(*one) for one in rules),
        )


def _documents(plan: Plan, done: Outcome) -> None:
    for _, values in plan.of("google_firestore_database"):
        done.add(
            f"database {values['name']}",
            location=values["location_id"],
            type=values["type"],
            point_in_time=values["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED",
            delete_protection=values["delete_protection_state"] == "DELETE_PROTECTION_ENABLED",
        )
    for _, values in plan.of("google_firestore_index"):
        fields = " ".join(f"{one['field_path']}:{one['order']}" for one in values["fields"])
        scope = values.get("query_scope") or "COLLECTION"
        done.add(f"index {values['collection']} {fields}", database=values["database"], scope=scope)
    for _, values in plan.of("google_firestore_field"):
        name = f"expiry {values['collection']}.{values['field']}"
        done.add(name, database=values["database"], on=bool(values.get("ttl_config")))


def _callers(plan: Plan, done: Outcome) -> None:
    for _, values in plan.of("google_cloud_scheduler_job"):
        target = values["http_target"][0]
        token = (target.get("oidc_token") or [{}])[0]
        done.add(
            f"job {values['name']}",
            location=values["region"],
            schedule=values["schedule"],
            time_zone=values["time_zone"],
            uri=target["uri"],
            method=target["http_method"],
            body=base64.b64decode(target["body"]).decode(),
            headers=target["headers"],
            account=token.get("service_account_email"),
            audience=token.get("audience"),
            deadline=values["attempt_deadline"],
            retries=_text((values.get("retry_config") or [{}])[0].get("retry_count")),
        )
    for _, values in plan.of("google_service_account"):
        done.add(f"account {values['account_id']}")


def _of_the_project(plan: Plan, done: Outcome) -> None:
    for _, values in plan.of("google_project_service"):
        done.add(f"api {values['service']}")
    for _, values in plan.of("google_logging_project_exclusion"):
        done.add(f"exclusion {values['name']} of _Default", filter=values["filter"])
    for _, values in plan.of("google_artifact_registry_repository"):
        policies = {one["id"]: plain({**one, "id": None}) for one in values["cleanup_policies"]}
        name = f"repository {values['repository_id']}"
        done.add(name, location=values["location"], format=values["format"], clean_up=policies)


def _text(value: Any) -> str:
    """A number as gcloud is told it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
