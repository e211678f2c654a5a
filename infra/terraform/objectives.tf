resource "google_monitoring_custom_service" "exports" {
  service_id   = "${var.prefix}-exports"
  display_name = "BI connectors (${var.prefix})"
}

resource "google_monitoring_slo" "exports_succeed" {
  service             = google_monitoring_custom_service.exports.service_id
  slo_id              = "${var.prefix}-exports-succeed"
  display_name        = "99.5 % of export jobs succeed"
  goal                = 0.995
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      good_service_filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of["jobs"]}\" AND metric.labels.status=\"success\""
      total_service_filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of["jobs"]}\" AND metric.labels.status=one_of(\"success\", \"failed\")"
    }
  }

  depends_on = [google_logging_metric.event]
}

resource "google_monitoring_slo" "exports_are_accepted_quickly" {
  service             = google_monitoring_custom_service.exports.service_id
  slo_id              = "${var.prefix}-accepted-quickly"
  display_name        = "95 % of exports are accepted within a second"
  goal                = 0.95
  rolling_period_days = 28

  request_based_sli {
    distribution_cut {
      distribution_filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of["accepts"]}\""
      range {
        max = 1000
      }
    }
  }

  depends_on = [google_logging_metric.event]
}

# A tenth of the month's allowance gone within an hour.
resource "google_monitoring_alert_policy" "burn" {
  display_name          = "BI connectors (${var.prefix}): exports fail fast enough to miss the month's objective"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "burn rate"
    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.exports_succeed.name}\", \"3600s\")"
      comparison      = "COMPARISON_GT"
      threshold_value = 67
      duration        = "0s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What to do: ${local.runbook}#exports-fail"
  }
}
