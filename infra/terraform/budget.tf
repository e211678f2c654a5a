# Over all that the project costs: every environment in it, what else runs there, and what carries no label (Cloud Scheduler,
# Firestore, Cloud Tasks, logs, builds). So one environment of a project holds it.
resource "google_billing_budget" "monthly" {
  count = var.billing_account == null || !var.owns_project_settings ? 0 : 1

  billing_account = var.billing_account
  display_name    = "${var.project_id}: the whole project"

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  all_updates_rule {
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
    disable_default_iam_recipients   = length(var.notify) > 0
  }
}
