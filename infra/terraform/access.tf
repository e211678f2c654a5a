# What each function may do: exactly the permissions that its calls need. tests/e2e/test_permissions.py derives those from a run of the
# local cloud and holds them to access.json, both ways. Google's ready-made roles hold more, so each grant has a role of its own here.
locals {
  roles = jsondecode(file("${path.module}/access.json"))

  # One for each role, function, and place of the role's scope: a queue, account or bucket by name; other scopes have one place.
  grants = flatten([for name, role in local.roles : [for function, places in role.functions : [
    for place in coalescelist(places, [role.scope]) : { role = name, scope = role.scope, function = function, place = place }
  ]]])
  on = { for scope in distinct([for role in local.roles : role.scope]) : scope => [for grant in local.grants : grant if grant.scope == scope] }

  # On the project; documents and secrets under a condition. Creating and listing secrets is asked of the project, and Scheduler jobs know none.
  conditions = {
    database = local.own_database
    secrets  = local.own_secrets
    project  = null
    queries  = null
    traces   = null
  }
  scopes     = concat(["database", "secrets", "project"], var.trace_export ? ["traces"] : [], length(var.source_datasets) > 0 ? ["queries"] : [])
  in_project = { for grant in flatten([for scope in local.scopes : local.on[scope]]) : "${grant.function} ${grant.role}" => grant }

  own_database = {
    title      = "own-database"
    expression = "resource.name == \"projects/${var.project_id}/databases/${google_firestore_database.main.name}\""
  }
  own_secrets = {
    title      = "own-secrets"
    expression = "resource.name.startsWith(\"${local.secret_prefix}\")"
  }

  # The export function signs links to kept files (`:linkFile?signed=true`) as itself.
  accounts = { tasks = google_service_account.tasks.name, scheduler = google_service_account.scheduler.name, export = google_service_account.function["export"].name }

  # What a function may do with the tables bucket, it may do with the other buckets that exports may read.
  on_source_buckets = [for pair in setproduct([for grant in local.on["bucket"] : grant if grant.place == "tables"], var.source_buckets) : { role = pair[0].role, function = pair[0].function, bucket = pair[1] }]
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
    for_each = local.conditions[each.value.scope] == null ? [] : [local.conditions[each.value.scope]]
    content {
      title      = condition.value.title
      expression = condition.value.expression
    }
  }
}

resource "google_cloud_tasks_queue_iam_member" "function" {
  for_each = { for grant in local.on["queue"] : "${grant.function} ${grant.place} ${grant.role}" => grant }

  name     = google_cloud_tasks_queue.work[each.value.place].name
  location = var.region
  role     = google_project_iam_custom_role.own[each.value.role].name
  member   = google_service_account.function[each.value.function].member
}

resource "google_service_account_iam_member" "function" {
  for_each = { for grant in local.on["account"] : "${grant.function} ${grant.place} ${grant.role}" => grant }

  service_account_id = local.accounts[each.value.place]
  role               = google_project_iam_custom_role.own[each.value.role].name
  member             = google_service_account.function[each.value.function].member
}

resource "google_storage_bucket_iam_member" "function" {
  for_each = { for grant in local.on["bucket"] : "${grant.function} ${grant.place} ${grant.role}" => grant }

  bucket = google_storage_bucket.data[each.value.place].name
  role   = google_project_iam_custom_role.own[each.value.role].name
  member = google_service_account.function[each.value.function].member
}

resource "google_storage_bucket_iam_member" "source" {
  for_each = { for grant in local.on_source_buckets : "${grant.function} ${grant.bucket} ${grant.role}" => grant }

  bucket = each.value.bucket
  role   = google_project_iam_custom_role.own[each.value.role].name
  member = google_service_account.function[each.value.function].member
}

resource "google_bigquery_dataset_iam_member" "source" {
  for_each = { for pair in setproduct(local.on["datasets"], var.source_datasets) : "${pair[0].function} ${pair[1]} ${pair[0].role}" => { role = pair[0].role, function = pair[0].function, dataset = pair[1] } }

  dataset_id = each.value.dataset
  role       = google_project_iam_custom_role.own[each.value.role].name
  member     = google_service_account.function[each.value.function].member
}
