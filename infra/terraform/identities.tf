# One service account a function, one each for what calls them, one that builds. The project's default accounts are never used.
resource "google_service_account" "function" {
  for_each = local.functions

  account_id   = "${var.prefix}-${each.key}"
  display_name = "BI connectors (${var.prefix}): ${each.key}"
}

resource "google_service_account" "tasks" {
  account_id   = "${var.prefix}-tasks"
  display_name = "BI connectors (${var.prefix}): who Cloud Tasks calls as"
}

resource "google_service_account" "scheduler" {
  account_id   = "${var.prefix}-scheduler"
  display_name = "BI connectors (${var.prefix}): who Cloud Scheduler calls as"
}

resource "google_service_account" "build" {
  account_id   = "${var.prefix}-build"
  display_name = "BI connectors (${var.prefix}): builds the functions"
}

resource "google_project_iam_member" "build" {
  for_each = toset(["roles/logging.logWriter"])

  project = var.project_id
  role    = each.key
  member  = google_service_account.build.member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.functions.id
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# The build reads the uploaded zip from the bucket that Cloud Functions keeps, and from ours.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title      = "sources-of-functions"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${var.project_number}-\") || resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.source.name}\")"
  }
}
