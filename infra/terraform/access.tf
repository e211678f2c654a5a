# What each function may do: exactly the permissions that its client calls need (tests derive those from a run of the local cloud).
# Google's ready-made roles hold more, so each grant has a role of its own here.
locals {
  roles = jsondecode(file("${path.module}/access.json"))

  # On the project; documents and secrets under a condition. Creating and listing secrets is asked of the project, and Scheduler jobs know none.
  conditions = {
    database = local.own_database
    secrets  = local.own_secrets
    project  = null
    datasets = null
    traces   = null
  }
  scopes = concat(["database", "secrets", "project"], var.trace_export ? ["traces"] : [])

  in_project = merge(
    merge([for name, role in local.roles : { for function in role.functions : "${function} ${name}" => {
      function = function, role = name, condition = local.conditions[role.scope]
    } } if contains(local.scopes, role.scope)]...),
    length(var.source_datasets) == 0 ? {} : { "export-worker queryRunner" = { function = "export-worker", role = "queryRunner", condition = null } },
  )

  own_database = {
    title      = "own-database"
    expression = "resource.name == \"projects/${var.project_id}/databases/${google_firestore_database.main.name}\""
  }
  own_secrets = {
    title      = "own-secrets"
    expression = "resource.name.startsWith(\"${local.secret_prefix}\")"
  }

  on_queues = {
    "export export"         = { function = "export", queue = "export" }
    "export-worker export"  = { function = "export-worker", queue = "export" }
    "export-worker refresh" = { function = "export-worker", queue = "refresh" }
    "refresh export"        = { function = "refresh", queue = "export" }
    "refresh refresh"       = { function = "refresh", queue = "refresh" }
    "refresh notices"       = { function = "refresh", queue = "notices" }
  }

  on_buckets = merge(
    {
      "export tables"         = { function = "export", bucket = "tables", role = "objectReader" }
      "export frozen"         = { function = "export", bucket = "frozen", role = "objectKeeper" }
      "export exports"        = { function = "export", bucket = "exports", role = "objectWriter" }
      "export-worker tables"  = { function = "export-worker", bucket = "tables", role = "objectReader" }
      "export-worker frozen"  = { function = "export-worker", bucket = "frozen", role = "objectKeeper" }
      "export-worker exports" = { function = "export-worker", bucket = "exports", role = "objectKeeper" }
      "refresh tables"        = { function = "refresh", bucket = "tables", role = "objectReader" }
    },
  )

  on_source_buckets = { for pair in setproduct(["export", "export-worker", "refresh"], var.source_buckets) : "${pair[0]} ${pair[1]}" => { function = pair[0], bucket = pair[1] } }
}

resource "google_project_iam_custom_role" "own" {
  for_each = local.roles

  role_id     = "${var.prefix}_${each.key}"
  title       = "BI connectors (${var.prefix}): ${each.value.title}"
  permissions = each.value.permissions

  depends_on = [google_project_service.needed]
}

resource "google_project_iam_member" "function" {
  for_each = local.in_project

  project = var.project_id
  role    = google_project_iam_custom_role.own[each.value.role].name
  member  = google_service_account.function[each.value.function].member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]
    content {
      title      = condition.value.title
      expression = condition.value.expression
    }
  }
}

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = local.on_queues

  name     = google_cloud_tasks_queue.work[each.value.queue].name
  location = var.region
  role     = google_project_iam_custom_role.own["enqueuer"].name
  member   = google_service_account.function[each.value.function].member
}

resource "google_service_account_iam_member" "tasks_caller" {
  for_each = toset(distinct([for grant in local.on_queues : grant.function]))

  service_account_id = google_service_account.tasks.name
  role               = google_project_iam_custom_role.own["callerUser"].name
  member             = google_service_account.function[each.key].member
}

resource "google_service_account_iam_member" "scheduler_caller" {
  service_account_id = google_service_account.scheduler.name
  role               = google_project_iam_custom_role.own["callerUser"].name
  member             = google_service_account.function["refresh"].member
}

resource "google_storage_bucket_iam_member" "function" {
  for_each = local.on_buckets

  bucket = google_storage_bucket.data[each.value.bucket].name
  role   = google_project_iam_custom_role.own[each.value.role].name
  member = google_service_account.function[each.value.function].member
}

resource "google_storage_bucket_iam_member" "source" {
  for_each = local.on_source_buckets

  bucket = each.value.bucket
  role   = google_project_iam_custom_role.own["objectReader"].name
  member = google_service_account.function[each.value.function].member
}

resource "google_bigquery_dataset_iam_member" "source" {
  for_each = toset(var.source_datasets)

  dataset_id = each.key
  role       = google_project_iam_custom_role.own["tableReader"].name
  member     = google_service_account.function["export-worker"].member
}
