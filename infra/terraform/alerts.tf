resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.notify)

  display_name = "BI connectors (${var.prefix}): ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

# alerts.json: those with a metric fire above a threshold or when it is absent, those with an objective when its allowance is used
# up too fast, the others on each matching line (at most one notice an hour). Tests match every `log`, `where` and objective with
# lines that the code writes, and every name with a section of infra/RUNBOOK.md.
locals {
  alerts       = jsondecode(file("${path.module}/alerts.json"))
  log_alerts   = { for name, alert in local.alerts : name => alert if !can(alert.metric) && !can(alert.objective) }
  above_alerts = { for name, alert in local.alerts : name => alert if can(alert.above) }
  gone_alerts  = { for name, alert in local.alerts : name => alert if can(alert.absent) }
  burn_alerts  = { for name, alert in local.alerts : name => alert if can(alert.burn) }
  channels     = [for channel in google_monitoring_notification_channel.email : channel.id]
  runbook      = "infra/RUNBOOK.md"
}

resource "google_monitoring_alert_policy" "log" {
  for_each = local.log_alerts

  display_name          = "BI connectors (${var.prefix}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.title
    condition_matched_log {
      filter           = "${local.of_ours} AND ${each.value.log}"
      label_extractors = { job_id = "EXTRACT(jsonPayload.job_id)", connector = "EXTRACT(jsonPayload.connector)" }
    }
  }

  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What to do: ${local.runbook}#${each.key}"
  }
}

resource "google_monitoring_alert_policy" "above" {
  for_each = local.above_alerts

  display_name          = "BI connectors (${var.prefix}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[each.value.metric]}\" AND ${each.value.where}"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = "0s"
      aggregations {
        alignment_period     = each.value.window
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What to do: ${local.runbook}#${each.key}"
  }

  depends_on = [time_sleep.metrics]
}

resource "google_monitoring_alert_policy" "gone" {
  for_each = local.gone_alerts

  display_name          = "BI connectors (${var.prefix}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.title
    condition_absent {
      filter   = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[each.value.metric]}\""
      duration = each.value.absent
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What to do: ${local.runbook}#${each.key}"
  }

  depends_on = [time_sleep.metrics]
}

resource "google_monitoring_alert_policy" "burn" {
  for_each = local.burn_alerts

  display_name          = "BI connectors (${var.prefix}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.objective[each.value.objective].name}\", \"${each.value.window}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.burn
      duration        = "0s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What to do: ${local.runbook}#${each.key}"
  }
}
