# The system's own jobs; schedules of users are made by the refresh function. Their names do not begin with `<prefix>-schedule-`.
locals {
  system_schedules = {
    "/internal/sweep"     = "*/5 * * * *"
    "/internal/freshness" = "* * * * *"
  }
  # Each route that Cloud Scheduler calls and that is not one schedule's own.
  system_jobs = { for route in local.routes : trimprefix(route.path, "/internal/") => {
    schedule = local.system_schedules[route.path]
    url      = local.urls[local.of_route[route.function]]
    path     = route.path
  } if route.permission == "scheduler" && !strcontains(route.path, "{") }
}

resource "google_cloud_scheduler_job" "system" {
  for_each = local.system_jobs

  name             = "${var.prefix}-system-${each.key}"
  description      = "BI connectors (${var.prefix}): ${each.key}"
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "180s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "5s"
    max_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = "${each.value.url}${each.value.path}"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode("{}")

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = each.value.url
    }
  }

  depends_on = [google_project_service.needed]
}
