resource "google_project_service" "needed" {
  for_each = toset(concat([
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtasks.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sheets.googleapis.com",
    "storage.googleapis.com",
    ],
    var.trace_export ? ["telemetry.googleapis.com", "cloudtrace.googleapis.com"] : [],
    var.private_network != null ? ["vpcaccess.googleapis.com"] : [],
    var.private_network != null || var.domain != null ? ["compute.googleapis.com"] : [],
    var.billing_account != null ? ["billingbudgets.googleapis.com"] : [],
  ))

  service            = each.key
  disable_on_destroy = false
}
