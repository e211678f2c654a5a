# Who read or changed secrets and documents, from Google's side; the application keeps its own trail beside it.
resource "google_project_iam_audit_config" "access" {
  for_each = var.owns_project_settings ? toset(["secretmanager.googleapis.com", "firestore.googleapis.com", "datastore.googleapis.com", "iam.googleapis.com", "cloudscheduler.googleapis.com"]) : toset([])

  project = var.project_id
  service = each.key

  dynamic "audit_log_config" {
    # Documents are read thousands of times an export; their reads are left out.
    for_each = contains(["firestore.googleapis.com", "datastore.googleapis.com"], each.key) ? ["ADMIN_READ"] : ["ADMIN_READ", "DATA_READ", "DATA_WRITE"]
    content {
      log_type = audit_log_config.value
    }
  }
}

resource "google_storage_bucket" "audit" {
  name                        = "${var.project_id}-${var.prefix}-audit"
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  retention_policy {
    retention_period = var.audit_retention_days * 86400
    is_locked        = var.audit_locked
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = var.audit_retention_days + 30
    }
  }
}

resource "google_logging_project_sink" "audit" {
  name                   = "${var.prefix}-audit"
  destination            = "storage.googleapis.com/${google_storage_bucket.audit.name}"
  unique_writer_identity = true
  filter                 = <<-EOT
    log_id("cloudaudit.googleapis.com/activity") OR log_id("cloudaudit.googleapis.com/data_access")
    OR (resource.labels.service_name=~"^${var.prefix}-(register|export|export-worker|refresh)$" AND jsonPayload.message="audit")
  EOT
}

resource "google_storage_bucket_iam_member" "audit_sink" {
  bucket = google_storage_bucket.audit.name
  role   = "roles/storage.objectCreator"
  member = google_logging_project_sink.audit.writer_identity
}
