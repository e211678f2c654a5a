"""Mistakes that people make in Terraform, one at a time: each must be caught by `validate`, `plan` or a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.check.gcloud import SCRIPT
from infra.check.outcome import Outcome
from infra.check.policies import violations
from infra.check.sameness import differences
from infra.check.scripted import outcome_of_script
from infra.check.terraform import SOURCE, CheckError, Terraform


@dataclass(frozen=True)
class Mutant:
    """One edit of one file. `caught_by` is the policy that must say so, or `terraform`."""

    what: str
    file: str
    old: str
    new: str
    caught_by: str


_SERVICE_ACCOUNT = "service_account_email            = google_service_account.function[each.key].email"
MUTANTS = (
    Mutant("everybody may call", "callers.tf", "each.value.member", '"allUsers"', "nobody_is_everybody"),
    Mutant("everybody with a Google account may call, and unsigned tokens are believed", "callers.tf", 'role     = "roles/run.invoker"\n  member   = each.value.member', 'role     = "roles/run.invoker"\n  member   = "allAuthenticatedUsers"', "callers_are_checked"),
    Mutant("a second grant lets everybody in", "callers.tf", 'resource "google_cloud_run_service_iam_member" "invoker" {', 'resource "google_cloud_run_service_iam_member" "open" {\n  location = var.region\n  service  = google_cloudfunctions2_function.function["export"].name\n  role     = "roles/run.invoker"\n  member   = "allUsers"\n}\n\nresource "google_cloud_run_service_iam_member" "invoker" {', "callers_are_checked"),
    Mutant("no call would be let in", "functions.tf", "local.checked, ", "", "callers_are_checked"),
    Mutant("a function may do everything", "access.tf", "google_project_iam_custom_role.own[each.value.role].name\n  member  =", '"roles/editor"\n  member  =', "no_primitive_role"),
    Mutant("the default service account", "functions.tf", _SERVICE_ACCOUNT, "", "no_default_account"),
    Mutant("the default account builds", "functions.tf", "google_service_account.build.id", '"123456789012-compute@developer.gserviceaccount.com"', "no_default_account"),
    Mutant("a token for another function", "scheduler.tf", "audience              = each.value.url", 'audience              = local.urls["register"]', "tokens_are_for_the_url_called"),
    Mutant("no token at all", "scheduler.tf", "    oidc_token {\n      service_account_email = google_service_account.scheduler.email\n      audience              = each.value.url\n    }\n", "", "tokens_are_for_the_url_called"),
    Mutant("tasks are tried for ever", "queues.tf", "max_attempts       = 20", "max_attempts       = -1", "every_queue_is_bounded"),
    Mutant("no bound on what runs at once", "queues.tf", "    max_concurrent_dispatches = each.value.at_once\n", "", "every_queue_is_bounded"),
    Mutant("an index is forgotten", "firestore.tf", 'jsondecode(file("${path.module}/indexes.json"))', 'slice(jsondecode(file("${path.module}/indexes.json")), 1, length(jsondecode(file("${path.module}/indexes.json"))))', "queries_are_indexed"),
    Mutant("keys never expire", "firestore.tf", "  ttl_config {}\n", "", "the_database_is_kept"),
    Mutant("the database can be deleted", "firestore.tf", "DELETE_PROTECTION_ENABLED", "DELETE_PROTECTION_DISABLED", "the_database_is_kept"),
    Mutant("no point-in-time recovery", "firestore.tf", "POINT_IN_TIME_RECOVERY_ENABLED", "POINT_IN_TIME_RECOVERY_DISABLED", "the_database_is_kept"),
    Mutant("the worker is on the internet", "functions.tf", 'each.key == "export-worker" ? "ALLOW_INTERNAL_ONLY" : ', "", "the_worker_is_internal"),
    Mutant("people may call the worker", "callers.tf", 'if length(setintersection(held, ["viewer", "operator", "admin"])) > 0], local.people)', "], local.people)", "the_worker_is_internal"),
    Mutant("several jobs in one instance", "locals.tf", "memory = var.worker_memory, concurrency = 1", "memory = var.worker_memory, concurrency = 8", "functions_are_bounded"),
    Mutant("an instance waits all the time", "functions.tf", "min_instance_count               = 0", "min_instance_count               = 1", "functions_are_bounded"),
    Mutant("a worker ends before its time box", "locals.tf", "timeout_s = 900", "timeout_s = 30", "functions_are_bounded"),
    Mutant("a setting is forgotten", "functions.tf", "    FROZEN_BUCKET             = google_storage_bucket.data[\"frozen\"].name\n", "", "settings_are_complete"),
    Mutant("a setting is misspelt", "functions.tf", "WAREHOUSE_HOSTS ", "WAREHOUSE_HOST  ", "settings_are_complete"),
    Mutant("a bucket may become public", "buckets.tf", 'public_access_prevention    = "enforced"\n  force_destroy               = !var', 'public_access_prevention    = "inherited"\n  force_destroy               = !var', "buckets_are_private"),
    Mutant("the audit can be shortened", "audit.tf", "is_locked        = var.audit_locked", "is_locked        = false", "buckets_are_private"),
    Mutant("every secret of the project", "access.tf", "secrets  = local.own_secrets", "secrets  = null", "grants_are_narrow"),
    Mutant("system jobs look like schedules", "scheduler.tf", "-system-", "-schedule-", "cron_is_safe"),
    Mutant("nobody sweeps", "scheduler.tf", '!strcontains(route.path, "{")', '!strcontains(route.path, "{") && route.path != "/internal/sweep"', "cron_is_safe"),
    Mutant("wildcards hide paths", "origin.tf", "priority = route_rules.key + 1", "priority = 1000 - route_rules.key", "one_origin_is_complete"),
    Mutant("images pile up", "artifacts.tf", 'action = "DELETE"', 'action = "KEEP"', "images_are_cleaned"),
    Mutant("a password in a setting", "functions.tf", "    NAME_PREFIX ", '    WAREHOUSE_PASSWORD = "hunter2"\n    NAME_PREFIX ', "secrets_are_not_in_settings"),
    Mutant("secrets are read unseen", "audit.tf", '["ADMIN_READ", "DATA_READ", "DATA_WRITE"]', '["ADMIN_READ"]', "access_is_audited"),
    Mutant("alerts before their metrics", "alerts.tf", "  depends_on = [time_sleep.metrics]\n", "  depends_on = [google_logging_metric.event]\n", "alerts_wait_for_their_metrics"),
    Mutant("objectives before their metrics", "objectives.tf", "  depends_on = [time_sleep.metrics]\n", "", "alerts_wait_for_their_metrics"),
    Mutant("too short a wait", "metrics.tf", '"600s"', '"60s"', "alerts_wait_for_their_metrics"),
    Mutant("a wait for nothing", "metrics.tf", "{ for name, metric in google_logging_metric.event : name => metric.name }", "{}", "alerts_wait_for_their_metrics"),
    Mutant("an alert is forgotten", "alerts.tf", "if can(alert.burn) }", 'if can(alert.burn) && name != "objective-at-risk" }', "alerts_are_tested"),
    Mutant("an alert that no test knows", "alerts.tf", "${each.value.title}\"\n  combiner              = \"OR\"\n  severity              = each.value.severity\n  notification_channels = local.channels\n\n  conditions {\n    display_name = each.value.title\n    condition_absent", "nobody knows\"\n  combiner              = \"OR\"\n  severity              = each.value.severity\n  notification_channels = local.channels\n\n  conditions {\n    display_name = each.value.title\n    condition_absent", "alerts_are_tested"),
    Mutant("a budget over what carries a label", "budget.tf", '    projects = ["projects/${var.project_number}"]\n', '    projects = ["projects/${var.project_number}"]\n    labels   = { app = "bi-connectors" }\n', "the_budget_covers_everything"),
    Mutant("a ready-made role on every bucket", "access.tf", "bucket = google_storage_bucket.data[each.value.place].name\n  role   = google_project_iam_custom_role.own[each.value.role].name", 'bucket = google_storage_bucket.data[each.value.place].name\n  role   = "roles/storage.objectUser"', "rights_are_those_needed"),
    Mutant("a ready-made role on every queue", "access.tf", "location = var.region\n  role     = google_project_iam_custom_role.own[each.value.role].name", 'location = var.region\n  role     = "roles/cloudtasks.enqueuer"', "rights_are_those_needed"),
    Mutant("one permission more in every role", "access.tf", "permissions = each.value.permissions", 'permissions = concat(each.value.permissions, ["resourcemanager.projects.get"])', "rights_are_those_needed"),
    Mutant("a writer may not delete", "access.tf", "permissions = each.value.permissions", 'permissions = each.key == "objectWriter" ? ["storage.objects.create"] : each.value.permissions', "rights_are_those_needed"),
    Mutant("every grant on the tables", "access.tf", "bucket = google_storage_bucket.data[each.value.place].name", 'bucket = google_storage_bucket.data["tables"].name', "rights_are_those_needed"),
    Mutant("every bucket is register's", "access.tf", "bucket = google_storage_bucket.data[each.value.place].name\n  role   = google_project_iam_custom_role.own[each.value.role].name\n  member = google_service_account.function[each.value.function].member", 'bucket = google_storage_bucket.data[each.value.place].name\n  role   = google_project_iam_custom_role.own[each.value.role].name\n  member = google_service_account.function["register"].member', "rights_are_those_needed"),
    Mutant("the database of others", "access.tf", "databases/${google_firestore_database.main.name}", "databases/(default)", "rights_are_those_needed"),
    Mutant("secrets of any prefix", "access.tf", "startsWith(\\\"${local.secret_prefix}\\\")", "startsWith(\\\"projects/\\\")", "rights_are_those_needed"),
    Mutant("the audit's writer may only read", "audit.tf", "roles/storage.objectCreator", "roles/storage.objectViewer", "rights_are_those_needed"),
    Mutant("URLs of another region", "locals.tf", ".${var.region}.run.app", ".europe-west4.run.app", "both_ways_are_alike"),
    Mutant("exports wait in another queue", "functions.tf", 'google_cloud_tasks_queue.work["export"].name', 'google_cloud_tasks_queue.work["refresh"].name', "both_ways_are_alike"),
    Mutant("frozen rows lie with the exports", "functions.tf", '= google_storage_bucket.data["frozen"].name', '= google_storage_bucket.data["exports"].name', "both_ways_are_alike"),
    Mutant("tasks call as the scheduler", "functions.tf", "TASKS_SERVICE_ACCOUNT     = google_service_account.tasks.email", "TASKS_SERVICE_ACCOUNT     = google_service_account.scheduler.email", "both_ways_are_alike"),
    Mutant("viewers are administrators", "functions.tf", 'join(",", var.admins)', 'join(",", concat(var.admins, var.viewers))', "both_ways_are_alike"),
    Mutant("erased rows stay for a week", "buckets.tf", "retention_duration_seconds = 0 ", "retention_duration_seconds = 604800 ", "both_ways_are_alike"),
    Mutant("tables without versions", "buckets.tf", 'enabled = each.key == "tables"', "enabled = false", "both_ways_are_alike"),
    Mutant("tasks are tried without an end in time", "queues.tf", 'max_retry_duration = "3600s"', 'max_retry_duration = "0s"', "both_ways_are_alike"),
    Mutant("no function is watched", "metrics.tf", "-(register|export|export-worker|refresh)$", "-(register|exports|worker|refreshes)$", "what_is_counted_is_ours"),
    Mutant("labels of nothing", "metrics.tf", '"EXTRACT(jsonPayload.${label})"', '"EXTRACT(json_payload.${label})"', "what_is_counted_is_ours"),
    Mutant("alerts tell nobody", "alerts.tf", "[for channel in google_monitoring_notification_channel.email : channel.id]", "[]", "alerts_reach_somebody"),
    Mutant("alerts when all is well", "alerts.tf", 'comparison      = "COMPARISON_GT"\n      threshold_value = each.value.above', 'comparison      = "COMPARISON_LT"\n      threshold_value = each.value.above', "alerts_reach_somebody"),
    Mutant("failures count as good", "objectives.tf", "AND ${good_total_ratio.value.good}", "AND ${good_total_ratio.value.total}", "objectives_are_those_listed"),
    Mutant("our audit is not kept", "audit.tf", 'jsonPayload.message="audit"', 'jsonPayload.message="audited"', "the_audit_is_kept"),
    Mutant("links stand in the log", "exclusions.tf", "/files/", "/file/", "links_are_not_logged"),
    Mutant("exports leave no log", "exclusions.tf", "[^/]+/files/", "", "links_are_not_logged"),
    Mutant("an attribute that is none", "queues.tf", "max_doublings ", "max_doubling ", "terraform"),
    Mutant("a required attribute is missing", "firestore.tf", '  type                              = "FIRESTORE_NATIVE"\n', "", "terraform"),
    Mutant("a list for a number", "functions.tf", "= each.value.timeout_s", "= [each.value.timeout_s]", "terraform"),
    Mutant("a reference to nothing", "scheduler.tf", "google_service_account.scheduler.email", "google_service_account.cron.email", "terraform"),
    Mutant("a block that is none", "buckets.tf", "soft_delete_policy {", "soft_deletion {", "terraform"),
)  # fmt: skip


@dataclass(frozen=True)
class ScriptMutant:
    """One edit of infra/gcloud.sh; `said` is what the comparison with the plan must name."""

    what: str
    old: str
    new: str
    said: str


_INVOKER = "invoker() {"
SCRIPT_MUTANTS = (
    ScriptMutant("a ready-made role for register", _INVOKER, 'gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$(account register)" --role=roles/secretmanager.admin --condition=None\ninvoker() {', "has roles/secretmanager.admin on project"),
    ScriptMutant("a ready-made role on every bucket", _INVOKER, 'for b in tables frozen exports; do gcloud storage buckets add-iam-policy-binding "gs://$(bucket $b)" --member="serviceAccount:$(account export)" --role=roles/storage.admin; done\ninvoker() {', "has roles/storage.admin on bucket"),
    ScriptMutant("tasks are tried for ever", "--max-attempts=20", "--max-attempts=-1", "max_attempts"),
    ScriptMutant("a token for another function", '--oidc-token-audience="$(url "$3")"', '--oidc-token-audience="$(url register)"', "audience"),
    ScriptMutant("the worker is on the internet", "1Gi 1 900 internal-only", "1Gi 1 900 all", "ingress"),
    ScriptMutant("several jobs in one instance", "1Gi 1 900", "1Gi 8 900", "concurrency"),
    ScriptMutant("the worker answers as the API", '",EXPORT_ROLE=worker"', '""', "EXPORT_ROLE"),
    ScriptMutant("frozen rows lie with the exports", "FROZEN_BUCKET=$(bucket frozen)", "FROZEN_BUCKET=$(bucket exports)", "setting frozen_bucket"),
    ScriptMutant("a setting is forgotten", ",TABLES_BUCKET=$(bucket tables)", "", "settings are missing: TABLES_BUCKET"),
    ScriptMutant("a setting is misspelt", ",BI_ADMINS=", ",BI_ADMIN=", "unread settings"),
    ScriptMutant("secrets of any prefix", "/secrets/$PREFIX-", "/secrets/", "only the script grants that"),
    ScriptMutant("Cloud Tasks may not call refresh", 'for name in export-worker refresh; do\n  invoker $name "serviceAccount:$(account tasks)"', 'for name in export-worker; do\n  invoker $name "serviceAccount:$(account tasks)"', "only Terraform grants that"),
    ScriptMutant("a bucket may become public", " --public-access-prevention", "", "public_access_prevention"),
    ScriptMutant("keys expire by a field that is none", "ttls update expire_at", "ttls update expires_at", "only the script makes expiry"),
    ScriptMutant("every index ascends", "order={order.lower()}", "order=ascending", "only the script makes index"),
    ScriptMutant("tables without versions", "--versioning ", "", "versioning"),
    ScriptMutant("a queue is forgotten", "for name in export refresh notices; do", "for name in export refresh; do", "only Terraform makes queue bi-notices"),
    ScriptMutant("nobody sweeps", "system_job sweep '*/5 * * * *' export-worker", "true", "only Terraform makes job bi-system-sweep"),
    ScriptMutant("another way to let somebody in", _INVOKER, 'gcloud functions add-invoker-policy-binding "$PREFIX-export" --region="$REGION" --member=allUsers\ninvoker() {', "nothing here reads `gcloud functions add-invoker-policy-binding"),
    ScriptMutant("a whole policy on a bucket", _INVOKER, 'gcloud storage buckets set-iam-policy "gs://$(bucket frozen)" policy.json\ninvoker() {', "nothing here reads `gcloud storage buckets set-iam-policy"),
    ScriptMutant("a bucket is opened afterwards", _INVOKER, 'gcloud storage buckets update "gs://$(bucket frozen)" --no-public-access-prevention\ninvoker() {', "nothing here reads --no-public-access-prevention"),
    ScriptMutant("an access list on a bucket", _INVOKER, 'gcloud storage buckets update "gs://$(bucket exports)" --add-acl-grant=entity=AllUsers,role=READER\ninvoker() {', "nothing here reads --add-acl-grant="),
    ScriptMutant("the database loses its protection", _INVOKER, 'gcloud firestore databases update --database="$DATABASE" --no-delete-protection\ninvoker() {', "nothing here reads `gcloud firestore databases update"),
    ScriptMutant("a service without its check", _INVOKER, 'gcloud run services update "$PREFIX-export" --region="$REGION" --no-invoker-iam-check\ninvoker() {', "nothing here reads `gcloud run services update"),
    ScriptMutant("Cloud Run does not check", "--no-allow-unauthenticated", "--allow-unauthenticated", "nothing here reads --allow-unauthenticated"),
    ScriptMutant("a secret in a function", "--trigger-http ", "--trigger-http --set-secrets=KEY=key:latest ", "nothing here reads --set-secrets="),
    ScriptMutant("a flag with a blank", '--member="$2"', '--member "$2"', "nothing here reads --member;"),
    ScriptMutant("another program", _INVOKER, 'gsutil iam ch allUsers:objectViewer "gs://$(bucket tables)" || true\ninvoker() {', "runs gsutil, which nothing here reads"),
    ScriptMutant("a role that widens when it is there", 'gcloud iam roles undelete "${PREFIX}_$role" --project="$PROJECT"', 'permissions+=,storage.buckets.delete', "run again, makes something else of"),
    ScriptMutant("queues that change when they are there", 'queues update "$PREFIX-$name" "${limits[@]}"', 'queues update "$PREFIX-$name" "${limits[@]}" --max-doublings=1', "run again, makes something else of queue bi-export"),
    ScriptMutant("images are kept for ever", '"type":"Delete"},"condition":{"olderThan"', '"type":"Keep"},"condition":{"olderThan"', "clean_up"),
    ScriptMutant("a function runs another's code", '--source="build/$2"', '--source="build/export"', "package"),
    ScriptMutant("links stand in the log", "[^/]+/files/", "[^/]+/file/", "exclusion bi-links of _Default, filter"),
    ScriptMutant("an API is not enabled", " secretmanager.googleapis.com", "", "only Terraform makes api secretmanager"),
)  # fmt: skip


def script_survivor(planned: Outcome, folder: Path, mutant: ScriptMutant) -> str | None:
    """Return how a mutant of the script got through, None if it was caught. It is written to `folder`.

    Raises:
        CheckError: the mutant's text is not in the script any more.
    """
    text = SCRIPT.read_text(encoding="utf-8")
    if mutant.old not in text:
        raise CheckError(
            f"mutant {mutant.what!r}: gcloud.sh no longer holds {mutant.old!r}; change infra/check/mutants.py"
        )
    path = folder / "gcloud.sh"
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    found = list(differences(planned, outcome_of_script(path)))
    if any(mutant.said in sentence for sentence in found):
        return None
    return f"gcloud.sh, {mutant.what}: expected {mutant.said!r}, found {found or 'nothing'}"


def survivor(terraform: Terraform, place: Path, variables: Path, mutant: Mutant) -> str | None:
    """Return how a mutant got through, None if it was caught. `place` is an initialised copy, left as it was.

    Raises:
        CheckError: the mutant's text is not in the file any more.
    """
    path = place / mutant.file
    text = path.read_text(encoding="utf-8")
    if mutant.old not in text:
        raise CheckError(
            f"mutant {mutant.what!r}: {mutant.file} no longer holds {mutant.old!r}; change infra/check/mutants.py"
        )
    try:
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        found = violations(terraform.plan(place, variables))
    except CheckError as error:
        return (
            None
            if mutant.caught_by == "terraform"
            else f"{mutant.what}: stopped by terraform, not by a policy: {error}"
        )
    finally:
        path.write_text(text, encoding="utf-8")
    if any(sentence.startswith(f"{mutant.caught_by}:") for sentence in found):
        return None
    return f"{mutant.what}: expected {mutant.caught_by}, found {found or 'nothing'}"


def unedited(place: Path) -> bool:
    """Whether the copy is the source again."""
    return all(
        (place / path.name).read_text() == path.read_text() for path in SOURCE.glob("*.tf") if path.name != "backend.tf"
    )
