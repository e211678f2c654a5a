# Who may call which function, by the route table: people the public API, Cloud Tasks and Cloud Scheduler the internal routes.
locals {
  permissions = { for name in keys(local.functions) : name => toset([for route in local.routes : route.permission if route.function == replace(name, "-", "_")]) }

  callers = merge(
    { for pair in setproduct([for name, held in local.permissions : name if length(setintersection(held, ["viewer", "operator", "admin"])) > 0], local.people) : "${pair[0]} ${pair[1]}" => { function = pair[0], member = pair[1] } },
    { for name, held in local.permissions : "${name} tasks" => { function = name, member = google_service_account.tasks.member } if contains(held, "tasks") },
    { for name, held in local.permissions : "${name} scheduler" => { function = name, member = google_service_account.scheduler.member } if contains(held, "scheduler") },
  )
}

resource "google_cloud_run_service_iam_member" "invoker" {
  for_each = local.callers

  location = var.region
  service  = google_cloudfunctions2_function.function[each.value.function].name
  role     = "roles/run.invoker"
  member   = each.value.member
}
