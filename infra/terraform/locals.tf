locals {
  # What `make package` made: the zips, and which function answers which route to whom.
  build  = "${path.module}/../../build"
  routes = jsondecode(file("${local.build}/routes.json"))

  functions = {
    register      = { package = "register", memory = "512Mi", concurrency = 8, timeout_s = 120, max_instances = 10, settings = {} }
    export        = { package = "export", memory = "512Mi", concurrency = 8, timeout_s = 120, max_instances = 20, settings = {} }
    export-worker = { package = "export", memory = var.worker_memory, concurrency = 1, timeout_s = 900, max_instances = var.max_workers, settings = { EXPORT_ROLE = "worker" } }
    refresh       = { package = "refresh", memory = "512Mi", concurrency = 8, timeout_s = 300, max_instances = 20, settings = {} }
  }
  # A function's name in the route table: export-worker is export_worker there.
  of_route = { for name in keys(local.functions) : replace(name, "-", "_") => name }

  # Cloud Run's deterministic URL, known before the function is: it is the audience of every ID token.
  urls = { for name in keys(local.functions) : name => "https://${var.prefix}-${name}-${var.project_number}.${var.region}.run.app" }

  people = distinct(concat(var.invokers, [for address in concat(var.admins, var.operators, var.viewers) : "${endswith(lower(address), ".gserviceaccount.com") ? "serviceAccount" : "user"}:${address}"]))

  secret_prefix = "projects/${var.project_number}/secrets/${var.prefix}-"
  labels        = { app = "bi-connectors", environment = var.prefix }
}
