"""What must hold of every plan, whatever the variables. Each policy yields sentences about what breaks it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from infra.check.outcome import known_settings
from infra.check.plan import ROOT, Plan, Violations
from infra.check.sameness import both_ways_are_alike, rights_are_those_needed
from infra.check.watching import (
    alerts_are_tested,
    alerts_reach_somebody,
    alerts_wait_for_their_metrics,
    links_are_not_logged,
    objectives_are_those_listed,
    the_audit_is_kept,
    the_budget_covers_everything,
    what_is_counted_is_ours,
)

PRIMITIVE = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
BELIEVED = "CLOUD_RUN_CHECKS_CALLERS"
INVOKER_KINDS = (
    "google_cloud_run_service_iam_",
    "google_cloud_run_v2_service_iam_",
    "google_cloudfunctions2_function_iam_",
    "google_project_iam_",
)
OF_THE_PROJECT = frozenset({"secretmanager.secrets.create", "secretmanager.secrets.list"})
"""Asked of the project, so that no condition on a name can narrow them."""

MOST_WORKER_S = 900
"""Longer than a worker's time box of 8 minutes, no longer than the deadline of its task."""


def nobody_is_everybody(plan: Plan) -> Violations:
    """No grant is to allUsers or allAuthenticatedUsers."""
    for kind in ("google_",):
        for address, values in plan.of(kind):
            if values.get("member") in EVERYBODY or EVERYBODY & set(values.get("members") or ()):
                yield f"{address} is granted to everybody"


def callers_are_checked(plan: Plan) -> Violations:
    """Every function believes the tokens that Cloud Run has checked, and has no invoker whom Cloud Run would let in unchecked."""
    functions = {
        address: values["service_config"][0]["environment_variables"] or {}
        for address, values in plan.of("google_cloudfunctions2_function")
    }
    believing = {address for address, settings in functions.items() if settings.get(BELIEVED) == "true"}
    for address in sorted(set(functions) - believing):
        yield f"{address} lacks {BELIEVED}: Cloud Run takes the signature off every token, so every call would be refused"
    for kind in INVOKER_KINDS:
        for address, values in plan.of(kind):
            members = {values.get("member"), *(values.get("members") or ()), *_named(values.get("policy_data"))}
            if believing and (open_to := sorted(EVERYBODY & members)):
                yield f"{address} lets {open_to[0]} in, and functions believe tokens that nobody has checked then"
    for address, values in plan.of("google_cloud_run_v2_service"):
        if believing and values.get("invoker_iam_disabled"):
            yield f"{address} lets everybody in, and functions believe tokens that nobody has checked then"


def _named(policy: object) -> set[str]:
    return set(re.findall(r"allUsers|allAuthenticatedUsers", policy)) if isinstance(policy, str) else set()


def no_primitive_role(plan: Plan) -> Violations:
    """No grant is of owner, editor or viewer, nor of an admin role."""
    for address, values in plan.of("google_"):
        role = str(values.get("role") or "")
        if role in PRIMITIVE or role.lower().endswith("admin"):
            yield f"{address} grants {role}"


def no_default_account(plan: Plan) -> Violations:
    """Every function and its build has a service account of ours."""
    for address, values in plan.of("google_cloudfunctions2_function"):
        service, build = values["service_config"][0], values["build_config"][0]
        blocks = plan.references(re.sub(r"\[.*", "", address))
        if not ("google_service_account.function" in blocks and "google_service_account.build" in blocks):
            yield f"{address} does not run or build as a service account of this configuration"
        for email in (service.get("service_account_email"), build.get("service_account")):
            if isinstance(email, str) and ("developer.gserviceaccount" in email or "appspot" in email):
                yield f"{address} uses the default account {email}"


def tokens_are_for_the_url_called(plan: Plan) -> Violations:
    """A Scheduler job's OIDC audience is the URL of the function that it calls, and is one of ours."""
    urls = set(urls_of(plan).values())
    for address, values in plan.of("google_cloud_scheduler_job"):
        target = values["http_target"][0]
        tokens = target.get("oidc_token") or []
        if not tokens:
            yield f"{address} sends no ID token"
            continue
        audience = tokens[0].get("audience")
        if audience not in urls or not target["uri"].startswith(f"{audience}/internal/"):
            yield f"{address} calls {target['uri']} with a token for {audience}"


def urls_of(plan: Plan) -> dict[str, str]:
    """Name of a function to the URL under which the others know it."""
    _, function = next(plan.of("google_cloudfunctions2_function"))
    settings = function["service_config"][0]["environment_variables"] or {}
    return {name: value for name, value in settings.items() if name.endswith("_URL")}


def every_queue_is_bounded(plan: Plan) -> Violations:
    """A task is tried a finite number of times, and not all at once."""
    for address, values in plan.of("google_cloud_tasks_queue"):
        retry, rate = (values.get("retry_config") or [{}])[0], (values.get("rate_limits") or [{}])[0]
        if not 0 < (retry.get("max_attempts") or -1) <= 100:
            yield f"{address} tries {retry.get('max_attempts')} times; expected 1 to 100"
        if not 0 < (rate.get("max_concurrent_dispatches") or 0) <= 500:
            yield f"{address} has no bound on what runs at once"


def functions_are_bounded(plan: Plan) -> Violations:
    """Every function ends, scales to nothing and no further than it should; the worker takes one job at a time."""
    for address, values in plan.of("google_cloudfunctions2_function"):
        service = values["service_config"][0]
        if service.get("min_instance_count"):
            yield f"{address} costs while idle"
        if not 0 < (service.get("max_instance_count") or 0) <= 500:
            yield f"{address} has no bound on its instances"
        if not 60 <= (service.get("timeout_seconds") or 0) <= MOST_WORKER_S:
            yield f"{address} may run {service.get('timeout_seconds')} s; expected 60 to {MOST_WORKER_S}"
        settings = service.get("environment_variables") or {}
        at_once = service.get("max_instance_request_concurrency")
        if settings.get("THREADS") != str(at_once):
            yield f"{address} takes {at_once} requests at once with {settings.get('THREADS')} threads"
        if settings.get("EXPORT_ROLE") == "worker" and at_once != 1:
            yield f"{address} runs several jobs in one instance"


def the_worker_is_internal(plan: Plan) -> Violations:
    """Only Google's own services reach the worker, and only the callers of its routes may call it."""
    for address, values in plan.of("google_cloudfunctions2_function"):
        service = values["service_config"][0]
        if (service.get("environment_variables") or {}).get("EXPORT_ROLE") == "worker" and service[
            "ingress_settings"
        ] != "ALLOW_INTERNAL_ONLY":
            yield f"{address} can be reached from outside"
    for address, values in plan.of("google_cloud_run_service_iam_member"):
        if "export-worker" in address and str(values.get("member") or "").startswith(("user:", "group:", "domain:")):
            yield f"{address} lets a person call the worker"


def settings_are_complete(plan: Plan) -> Violations:
    """Every function gets the settings that the code demands, and none that it does not read."""
    text = (ROOT / "shared" / "config.py").read_text(encoding="utf-8")
    known = known_settings()
    listed = re.search(r"required = \((.*?)\)", text, re.DOTALL)
    required = set(re.findall(r'"([A-Z_]+)"', listed.group(1))) if listed else set()
    if not required:
        yield "shared/config.py names no required settings where this policy looks for them"
    for address, values in plan.of("google_cloudfunctions2_function"):
        planned = set(values["service_config"][0]["environment_variables"] or {}) | _unknown_settings(plan, address)
        if missing := sorted(required - planned):
            yield f"{address} lacks {', '.join(missing)}"
        if odd := sorted(planned - known):
            yield f"{address} sets {', '.join(odd)}, which nothing reads"


def _unknown_settings(plan: Plan, address: str) -> set[str]:
    for change in plan.changes:
        if change["address"] == address:
            config = (change["change"].get("after_unknown") or {}).get("service_config") or [{}]
            found = config[0].get("environment_variables")
            return set(found) if isinstance(found, dict) else set()
    return set()


def buckets_are_private(plan: Plan) -> Violations:
    """Uniform access, public access prevented; what ages is deleted; the audit cannot be shortened."""
    for address, values in plan.of("google_storage_bucket"):
        if not values.get("uniform_bucket_level_access"):
            yield f"{address} has access lists by object"
        if values.get("public_access_prevention") != "enforced":
            yield f"{address} could be made public"
        if not values.get("lifecycle_rule"):
            yield f"{address} grows for ever"
        if address.endswith(".audit") and not ((values.get("retention_policy") or [{}])[0].get("is_locked")):
            yield f"{address} can be shortened"


def the_database_is_kept(plan: Plan) -> Violations:
    """Point-in-time recovery, daily backups, delete protection; what expires is deleted."""
    for address, values in plan.of("google_firestore_database"):
        if values.get("point_in_time_recovery_enablement") != "POINT_IN_TIME_RECOVERY_ENABLED":
            yield f"{address} cannot be read as it was an hour ago"
        if values.get("delete_protection_state") != "DELETE_PROTECTION_ENABLED":
            yield f"{address} can be deleted"
    if not any(values.get("daily_recurrence") for _, values in plan.of("google_firestore_backup_schedule")):
        yield "no daily backup"
    expiring = {values["collection"] for _, values in plan.of("google_firestore_field") if values.get("ttl_config")}
    if missing := sorted(collections_that_expire() - expiring):
        yield f"documents of {', '.join(missing)} expire, and no TTL deletes them"


def collections_that_expire() -> set[str]:
    """The collections that infra/terraform/expiring.json names; a test compares it with the code."""
    return set(json.loads((ROOT / "infra" / "terraform" / "expiring.json").read_text(encoding="utf-8")))


def queries_are_indexed(plan: Plan) -> Violations:
    """Every composite index of infra/terraform/indexes.json is planned; tests hold the code's queries to that file."""
    planned = {
        (v["collection"], tuple((f["field_path"], f["order"]) for f in v["fields"]))
        for _, v in plan.of("google_firestore_index")
    }
    for index in json.loads((ROOT / "infra" / "terraform" / "indexes.json").read_text(encoding="utf-8")):
        if (index["collection"], tuple(map(tuple, index["fields"]))) not in planned:
            yield f"the index of {index['collection']} on {index['fields']} is not planned"


def grants_are_narrow(plan: Plan) -> Violations:
    """Secrets and documents only under a condition; acting as a service account only on that account."""
    roles = {values["role_id"]: set(values["permissions"]) for _, values in plan.of("google_project_iam_custom_role")}
    for change in plan.changes:
        if change["type"] != "google_project_iam_member" or "function" not in change["address"]:
            continue
        key = re.search(r'\["([\w-]+) (\w+)"\]', change["address"])
        held = next((held for name, held in roles.items() if key and name.endswith(f"_{key.group(2)}")), set())
        conditional = bool(change["change"]["after"].get("condition"))
        for permission in sorted(held):
            narrow = permission.startswith(("datastore.", "secretmanager.")) and permission not in OF_THE_PROJECT
            if narrow and not conditional:
                yield f"{change['address']} grants {permission} on everything in the project"
            if permission.startswith(("iam.", "storage.", "cloudtasks.")):
                yield f"{change['address']} grants {permission} on the whole project"
    for name, held in roles.items():
        if broad := sorted(p for p in held if p.endswith(".setIamPolicy") or "*" in p):
            yield f"role {name} holds {', '.join(broad)}"


def cron_is_safe(plan: Plan) -> Violations:
    """System jobs retry, end, and are hidden from the reconciler of users' schedules; each route for them has its job."""
    paths = {route["path"] for route in _routes() if route["permission"] == "scheduler" and "{" not in route["path"]}
    called = set()
    for address, values in plan.of("google_cloud_scheduler_job"):
        target = values["http_target"][0]
        called.add("/" + target["uri"].split("/", 3)[3])
        if not (values.get("retry_config") or [{}])[0].get("retry_count"):
            yield f"{address} is not tried again"
        if "-schedule-" in values["name"]:
            yield f"{address} looks like a user's schedule; the reconciler would remove it"
        if values.get("time_zone") not in ("Etc/UTC", "UTC"):
            yield f"{address} runs by a clock that changes twice a year"
    if missing := sorted(paths - called):
        yield f"nothing calls {', '.join(missing)}"


def _routes() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((ROOT / "build" / "routes.json").read_text(encoding="utf-8"))
    return found


def one_origin_is_complete(plan: Plan) -> Violations:
    """Under one domain every public path goes to the function that answers it, literal paths before wildcards."""
    maps = list(plan.of("google_compute_url_map"))
    if not maps:
        return
    rules = maps[0][1]["path_matcher"][0]["route_rules"]
    patterns = [
        rule["match_rules"][0]["path_template_match"] for rule in sorted(rules, key=lambda rule: rule["priority"])
    ]
    for route in _routes():
        if route["function"] == "*" or route["permission"] not in ("viewer", "operator", "admin"):
            continue
        path = re.sub(r"\{\w+\}", "x", route["path"])
        matched = next((pattern for pattern in patterns if _matches(pattern, path)), None)
        wanted = re.sub(r":[A-Za-z]+$", "", re.sub(r"\{\w+\}(:[A-Za-z]+)?", "*", route["path"]))
        if matched != wanted:
            yield f"{route['path']} is caught by {matched}, not by {wanted}"


def _matches(pattern: str, path: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]+"), re.sub(r":[A-Za-z]+$", "", path)) is not None


def images_are_cleaned(plan: Plan) -> Violations:
    """Old images are deleted."""
    for address, values in plan.of("google_artifact_registry_repository"):
        if not any(policy.get("action") == "DELETE" for policy in values.get("cleanup_policies") or ()):
            yield f"{address} keeps every image for ever"


def secrets_are_not_in_settings(plan: Plan) -> Violations:
    """No setting of a function looks like a credential; those live in Secret Manager."""
    for address, values in plan.of("google_cloudfunctions2_function"):
        for name, value in (values["service_config"][0]["environment_variables"] or {}).items():
            if re.search(r"SECRET|PASSWORD|TOKEN|PRIVATE_KEY", name) or re.search(r"BEGIN|AIza|ya29\.", str(value)):
                yield f"{address} carries {name} in plain sight"


def access_is_audited(plan: Plan) -> Violations:
    """Who reads secrets is recorded, and the records go to the audit bucket."""
    audited = {
        v["service"]
        for _, v in plan.of("google_project_iam_audit_config")
        if any(c["log_type"] == "DATA_READ" for c in v["audit_log_config"])
    }
    if "secretmanager.googleapis.com" not in audited:
        yield "reading secrets leaves no audit record"
    if not any("cloudaudit" in v["filter"] for _, v in plan.of("google_logging_project_sink")):
        yield "audit records are not kept"


POLICIES: tuple[Callable[[Plan], Violations], ...] = (
    nobody_is_everybody,
    callers_are_checked,
    no_primitive_role,
    no_default_account,
    tokens_are_for_the_url_called,
    every_queue_is_bounded,
    functions_are_bounded,
    the_worker_is_internal,
    settings_are_complete,
    buckets_are_private,
    the_database_is_kept,
    queries_are_indexed,
    grants_are_narrow,
    cron_is_safe,
    one_origin_is_complete,
    images_are_cleaned,
    secrets_are_not_in_settings,
    access_is_audited,
    alerts_wait_for_their_metrics,
    alerts_are_tested,
    the_budget_covers_everything,
    what_is_counted_is_ours,
    alerts_reach_somebody,
    objectives_are_those_listed,
    the_audit_is_kept,
    links_are_not_logged,
    rights_are_those_needed,
    both_ways_are_alike,
)


def violations(plan: dict[str, Any]) -> list[str]:
    """Every sentence of every policy about a plan; empty if all hold."""
    seen = Plan(plan)
    return [f"{policy.__name__}: {sentence}" for policy in POLICIES for sentence in policy(seen)]
