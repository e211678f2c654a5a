resource "google_firestore_database" "main" {
  name                              = "${var.prefix}-connectors" # at least 4 characters
  location_id                       = coalesce(var.firestore_location, var.region)
  type                              = "FIRESTORE_NATIVE"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.delete_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.delete_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.needed]
}

# Every query that filters and orders by different fields; tests refuse one that is not listed, as Firestore does.
resource "google_firestore_index" "composite" {
  for_each = { for index in jsondecode(file("${path.module}/indexes.json")) : join(" ", concat([index.collection], [for field in index.fields : join(" ", field)])) => index }

  database   = google_firestore_database.main.name
  collection = each.value.collection

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path = fields.value[0]
      order      = fields.value[1]
    }
  }
}

# Firestore deletes within a day of that time; the code treats what is past it as gone.
resource "google_firestore_field" "expiry" {
  for_each = toset(jsondecode(file("${path.module}/expiring.json")))

  database   = google_firestore_database.main.name
  collection = each.key
  field      = "expire_at"

  ttl_config {}
  index_config {} # nothing is asked by it, and a rising time in an index slows its writes
}

resource "google_firestore_backup_schedule" "daily" {
  database  = google_firestore_database.main.name
  retention = "604800s" # 7 days

  daily_recurrence {}
}

resource "google_firestore_backup_schedule" "weekly" {
  database  = google_firestore_database.main.name
  retention = "8467200s" # 14 weeks, the longest that there is

  weekly_recurrence {
    day = "SUNDAY"
  }
}
