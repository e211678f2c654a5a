# Bucket names are the world's, so they carry the project's id.
resource "google_storage_bucket" "data" {
  for_each = toset(["tables", "frozen", "exports"])

  name                        = "${var.project_id}-${var.prefix}-${each.key}"
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.delete_protection

  # Tables keep their earlier generations for a week: a job reads the very one that it was accepted with.
  versioning {
    enabled = each.key == "tables"
  }

  soft_delete_policy {
    retention_duration_seconds = 0 # erased means erased
  }

  dynamic "lifecycle_rule" {
    for_each = each.key == "tables" ? [] : [var.rows_retention_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.key == "tables" ? [7] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }
}

resource "google_storage_bucket" "source" {
  name                        = "${var.project_id}-${var.prefix}-source"
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # packages, which `make package` makes again

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions = 3
    }
  }
}
