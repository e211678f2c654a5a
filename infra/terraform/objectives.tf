# objectives.json: a share of good events among all, or of values that are at most so large. Tests count both from lines that the
# code writes.
locals {
  objectives = jsondecode(file("${path.module}/objectives.json"))
}

resource "google_monitoring_custom_service" "exports" {
  service_id   = "${var.prefix}-exports"
  display_name = "BI connectors (${var.prefix})"
}

resource "google_monitoring_slo" "objective" {
  for_each = local.objectives

  service             = google_monitoring_custom_service.exports.service_id
  slo_id              = "${var.prefix}-${each.key}"
  display_name        = each.value.title
  goal                = each.value.goal
  rolling_period_days = 28

  request_based_sli {
    dynamic "good_total_ratio" {
      for_each = can(each.value.good) ? [each.value] : []
      content {
        good_service_filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[each.value.metric]}\" AND ${good_total_ratio.value.good}"
        total_service_filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[each.value.metric]}\" AND ${good_total_ratio.value.total}"
      }
    }

    dynamic "distribution_cut" {
      for_each = can(each.value.at_most) ? [each.value] : []
      content {
        distribution_filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[each.value.metric]}\""
        range {
          max = distribution_cut.value.at_most
        }
      }
    }
  }

  depends_on = [time_sleep.metrics]
}
