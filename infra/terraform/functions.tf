resource "google_storage_bucket_object" "package" {
  for_each = toset([for function in local.functions : function.package])

  bucket = google_storage_bucket.source.name
  # The name changes only when the bytes do, so an unchanged function is not built again.
  name   = "${each.key}-${filesha256("${local.build}/${each.key}.zip")}.zip"
  source = "${local.build}/${each.key}.zip"
}

resource "google_cloudfunctions2_function" "function" {
  for_each = local.functions

  name     = "${var.prefix}-${each.key}"
  location = var.region
  labels   = local.labels

  build_config {
    runtime           = "python313"
    entry_point       = each.value.package
    docker_repository = google_artifact_registry_repository.functions.id
    service_account   = google_service_account.build.id

    # The pins are hashed; the buildpack must not add a framework of its own choice.
    environment_variables = {
      GOOGLE_PYTHON_PACKAGE_MANAGER   = "pip"
      GOOGLE_SKIP_FRAMEWORK_INJECTION = "True"
    }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.package[each.value.package].name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.function[each.key].email
    available_memory                 = each.value.memory
    available_cpu                    = "1"
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = 0
    max_instance_count               = each.value.max_instances
    timeout_seconds                  = each.value.timeout_s
    all_traffic_on_latest_revision   = true
    ingress_settings                 = each.key == "export-worker" ? "ALLOW_INTERNAL_ONLY" : var.domain == null ? "ALLOW_ALL" : "ALLOW_INTERNAL_AND_GCLB"
    vpc_connector                    = var.private_network == null ? null : google_vpc_access_connector.egress[0].id
    vpc_connector_egress_settings    = var.private_network == null ? null : "ALL_TRAFFIC"
    environment_variables            = merge(var.settings, local.environment, local.tracing, each.value.settings, local.checked, { THREADS = tostring(each.value.concurrency) })
  }

  depends_on = [
    google_project_service.needed,
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build,
    google_project_iam_member.build_source,
  ]
}

locals {
  # Cloud Run checks the caller's token and hands it on without its signature. The functions may believe that one only while
  # callers.tf lets nobody in but invokers with a name, so both are said here alone; a policy holds them together.
  checked = { CLOUD_RUN_CHECKS_CALLERS = length(setintersection(local.people, ["allUsers", "allAuthenticatedUsers"])) == 0 ? "true" : "false" }
  tracing = var.trace_export ? { TRACE_EXPORT_URL = "https://telemetry.googleapis.com/v1/traces" } : {}
  environment = {
    GOOGLE_CLOUD_PROJECT      = var.project_id
    LOCATION                  = var.region
    NAME_PREFIX               = var.prefix
    REGISTER_URL              = local.urls["register"]
    EXPORT_URL                = local.urls["export"]
    EXPORT_WORKER_URL         = local.urls["export-worker"]
    REFRESH_URL               = local.urls["refresh"]
    TASKS_SERVICE_ACCOUNT     = google_service_account.tasks.email
    SCHEDULER_SERVICE_ACCOUNT = google_service_account.scheduler.email
    FIRESTORE_DATABASE        = google_firestore_database.main.name
    EXPORT_QUEUE              = google_cloud_tasks_queue.work["export"].name
    REFRESH_QUEUE             = google_cloud_tasks_queue.work["refresh"].name
    NOTICE_QUEUE              = google_cloud_tasks_queue.work["notices"].name
    TABLES_BUCKET             = google_storage_bucket.data["tables"].name
    FROZEN_BUCKET             = google_storage_bucket.data["frozen"].name
    EXPORTS_BUCKET            = google_storage_bucket.data["exports"].name
    BI_ADMINS                 = join(",", var.admins)
    BI_OPERATORS              = join(",", var.operators)
    BI_VIEWERS                = join(",", var.viewers)
    WAREHOUSE_HOSTS           = join(",", var.warehouse_hosts)
  }
}
