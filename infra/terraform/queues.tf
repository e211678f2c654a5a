locals {
  queues = {
    export  = { at_once = var.max_workers, a_second = 50 }
    refresh = { at_once = 50, a_second = 50 }
    notices = { at_once = 20, a_second = 20 }
  }
}

# Attempts are finite: what is given up here, the sweep finds within five minutes, and the job fails with its reason.
resource "google_cloud_tasks_queue" "work" {
  for_each = local.queues

  name     = "${var.prefix}-${each.key}"
  location = var.region

  rate_limits {
    max_concurrent_dispatches = each.value.at_once
    max_dispatches_per_second = each.value.a_second
  }

  retry_config {
    max_attempts       = 20
    max_retry_duration = "3600s"
    min_backoff        = "2s"
    max_backoff        = "120s"
    max_doublings      = 6
  }

  stackdriver_logging_config {
    sampling_ratio = 1
  }

  depends_on = [google_project_service.needed]
}
