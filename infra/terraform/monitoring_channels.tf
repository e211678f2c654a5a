resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.notify)

  display_name = "BI connectors (${var.prefix}): ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}
