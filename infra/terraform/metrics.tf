# Counted from the functions' own log lines, so there is no exporter that could lose them. Tests hold every filter and label in
# metrics.json to a line that the code really writes.
locals {
  metrics   = jsondecode(file("${path.module}/metrics.json"))
  of_ours   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^${var.prefix}-(register|export|export-worker|refresh)$\""
  metric_of = { for name in keys(local.metrics) : name => "logging.googleapis.com/user/${var.prefix}/${name}" }
}

resource "google_logging_metric" "event" {
  for_each = local.metrics

  name        = "${var.prefix}/${each.key}"
  description = each.value.description
  filter      = "${local.of_ours} AND ${each.value.filter}"

  value_extractor  = try("EXTRACT(jsonPayload.${each.value.value})", null)
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = can(each.value.value) ? "DISTRIBUTION" : "INT64"
    unit        = try(each.value.unit, "1")

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  dynamic "bucket_options" {
    for_each = can(each.value.value) ? [1] : []
    content {
      exponential_buckets {
        num_finite_buckets = 64
        growth_factor      = 1.5
        scale              = 1
      }
    }
  }

  depends_on = [google_project_service.needed]
}

# Alerts and objectives that name a metric are refused (404) while Cloud Monitoring does not know it, which "could take up to 10
# minutes" by its own message. Only applies that make a metric wait, and meanwhile the functions are built.
resource "time_sleep" "metrics" {
  create_duration = "600s"
  triggers        = { for name, metric in google_logging_metric.event : name => metric.name }
}
