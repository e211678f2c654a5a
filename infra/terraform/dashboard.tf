locals {
  charts = [
    { title = "Jobs by end", metric = "jobs", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA", by = ["metric.label.status"] },
    { title = "Rows delivered", metric = "rows", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA", by = ["metric.label.connector"] },
    { title = "Duration of a job, p95 (s)", metric = "job_duration", reducer = "REDUCE_PERCENTILE_95", aligner = "ALIGN_DELTA", by = ["metric.label.connector"] },
    { title = "Cost (millionths of a US dollar)", metric = "job_cost", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA", by = ["metric.label.connector"] },
    { title = "Vendor calls by answer", metric = "vendor_calls", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA", by = ["metric.label.vendor", "metric.label.status"] },
    { title = "Vendors' latency, p95 (ms)", metric = "vendor_latency", reducer = "REDUCE_PERCENTILE_95", aligner = "ALIGN_DELTA", by = ["metric.label.vendor"] },
    { title = "Requests by answer", metric = "requests", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA", by = ["metric.label.function", "metric.label.status"] },
    { title = "Accepting an export, p95 (ms)", metric = "accepts", reducer = "REDUCE_PERCENTILE_95", aligner = "ALIGN_DELTA", by = [] },
  ]
}

resource "google_monitoring_dashboard" "main" {
  dashboard_json = jsonencode({
    displayName = "BI connectors (${var.prefix})"
    mosaicLayout = {
      columns = 12
      tiles = [for index, chart in local.charts : {
        xPos   = (index % 2) * 6
        yPos   = floor(index / 2) * 4
        width  = 6
        height = 4
        widget = {
          title = chart.title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric_of[chart.metric]}\""
                  aggregation = {
                    alignmentPeriod    = "300s"
                    perSeriesAligner   = chart.aligner
                    crossSeriesReducer = chart.reducer
                    groupByFields      = chart.by
                  }
                }
              }
            }]
          }
        }
      }]
    }
  })

  depends_on = [google_logging_metric.event]
}
