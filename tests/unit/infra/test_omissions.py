"""What the deployment by gcloud alone leaves out is said in the guide, type by type of what Terraform makes."""

from __future__ import annotations

import json
import re

from infra.check.gcloud import SCRIPT
from infra.check.guide import GUIDE
from infra.check.terraform import ROOT

TERRAFORM = ROOT / "infra" / "terraform"
MADE = {
    "google_artifact_registry_repository": "gcloud artifacts repositories create",
    "google_artifact_registry_repository_iam_member": "gcloud artifacts repositories add-iam-policy-binding",
    "google_cloud_run_service_iam_member": "gcloud run services add-iam-policy-binding",
    "google_cloud_scheduler_job": "gcloud scheduler jobs create http",
    "google_cloud_tasks_queue": "gcloud tasks queues create",
    "google_cloud_tasks_queue_iam_member": "gcloud tasks queues add-iam-policy-binding",
    "google_cloudfunctions2_function": "gcloud functions deploy",
    "google_firestore_database": "gcloud firestore databases create",
    "google_firestore_field": "gcloud firestore fields ttls update",
    "google_firestore_index": "gcloud firestore indexes composite create",
    "google_logging_project_exclusion": "gcloud logging sinks update _Default --add-exclusion",
    "google_project_iam_custom_role": "gcloud iam roles create",
    "google_project_iam_member": "gcloud projects add-iam-policy-binding",
    "google_project_service": "gcloud services enable",
    "google_service_account": "gcloud iam service-accounts create",
    "google_service_account_iam_member": "gcloud iam service-accounts add-iam-policy-binding",
    "google_storage_bucket": "gcloud storage buckets create",
    "google_storage_bucket_iam_member": "gcloud storage buckets add-iam-policy-binding",
}
LEFT_OUT = {
    "alerts, objectives, metrics and dashboard": (
        "google_logging_metric",
        "google_monitoring_alert_policy",
        "google_monitoring_custom_service",
        "google_monitoring_dashboard",
        "google_monitoring_notification_channel",
        "google_monitoring_slo",
        "time_sleep",
    ),
    "audit configuration and sink": ("google_logging_project_sink", "google_project_iam_audit_config"),
    "the database's own backups": ("google_firestore_backup_schedule",),
    "the budget": ("google_billing_budget",),
    "BigQuery sources": ("google_bigquery_dataset_iam_member",),
    "one origin": (
        "google_compute_backend_service",
        "google_compute_global_address",
        "google_compute_global_forwarding_rule",
        "google_compute_managed_ssl_certificate",
        "google_compute_region_network_endpoint_group",
        "google_compute_ssl_policy",
        "google_compute_target_https_proxy",
        "google_compute_url_map",
    ),
    "a private network": (
        "google_compute_address",
        "google_compute_router",
        "google_compute_router_nat",
        "google_vpc_access_connector",
    ),
    "a bucket of packages": ("google_storage_bucket_object",),
}


def test_every_type_of_the_inventory_is_made_by_the_script_or_named_as_left_out() -> None:
    planned = set(json.loads((ROOT / "infra" / "check" / "inventory.json").read_text()))
    left_out = {kind for kinds in LEFT_OUT.values() for kind in kinds}
    assert planned == MADE.keys() | left_out
    assert not MADE.keys() & left_out
    script = SCRIPT.read_text()
    assert [command for command in MADE.values() if command not in script] == []


def test_the_guide_names_each_thing_that_is_left_out_and_no_other() -> None:
    section = GUIDE.read_text().partition("## Without Terraform\n")[2]
    listed = re.findall(r"^- (.*?)[;.]$", section.partition("###")[0], re.MULTILINE)
    assert listed == list(LEFT_OUT)


def test_the_script_enables_what_terraform_does_but_for_what_it_leaves_out() -> None:
    of_terraform = (TERRAFORM / "services.tf").read_text().partition("concat([")[2].partition("]")[0]
    (enabled,) = re.findall(r"^gcloud services enable (.*)$", SCRIPT.read_text(), re.MULTILINE)
    assert {*re.findall(r'"([\w.]+)"', of_terraform)} - {*enabled.split()} == {
        "bigquery.googleapis.com",
        "monitoring.googleapis.com",
    }
    assert {*enabled.split()} - {*re.findall(r'"([\w.]+)"', of_terraform)} == set()


def test_images_are_kept_as_under_terraform() -> None:
    (said,) = re.findall(r"^echo '(\[.*\])' >\"\$policies\"$", SCRIPT.read_text(), re.MULTILINE)
    keep, delete = json.loads(said)
    terraform = (TERRAFORM / "artifacts.tf").read_text()
    assert [keep["action"], delete["action"]] == [{"type": "Keep"}, {"type": "Delete"}]
    assert re.findall(r"keep_count = (\d+)", terraform) == [str(keep["mostRecentVersions"]["keepCount"])]
    assert re.findall(r'older_than = "(\w+)"', terraform) == [delete["condition"]["olderThan"]]


def test_the_buckets_lose_what_ages_as_they_do_under_terraform() -> None:
    script = SCRIPT.read_text()
    assert re.findall(r"Delete..},..condition..:{..(\w+)..:(\d+)", script) == [
        ("daysSinceNoncurrentTime", "7"),
        ("age", "9"),
    ]
    terraform = (TERRAFORM / "buckets.tf").read_text() + (TERRAFORM / "variables.tf").read_text()
    assert re.findall(r'each.key == "tables" \? \[(\d+)\]', terraform) == ["7"]
    assert re.findall(r'"rows_retention_days" {.*?default     = (\d+)', terraform, re.DOTALL) == ["9"]
