"""Mistakes that people make in Terraform, one at a time: each must be caught by `validate`, `plan` or a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.check.policies import violations
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
    Mutant("an attribute that is none", "queues.tf", "max_doublings ", "max_doubling ", "terraform"),
    Mutant("a required attribute is missing", "firestore.tf", '  type                              = "FIRESTORE_NATIVE"\n', "", "terraform"),
    Mutant("a list for a number", "functions.tf", "= each.value.timeout_s", "= [each.value.timeout_s]", "terraform"),
    Mutant("a reference to nothing", "scheduler.tf", "google_service_account.scheduler.email", "google_service_account.cron.email", "terraform"),
    Mutant("a block that is none", "buckets.tf", "soft_delete_policy {", "soft_deletion {", "terraform"),
)  # fmt: skip


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
