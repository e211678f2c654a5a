# What only an apply would have found wrong is refused by the plan: each variable, with what people mistake it for.
mock_provider "google" {}

mock_provider "time" {}

variables {
  project_id     = "example-project"
  project_number = "123456789012"
  prefix         = "bi"
  admins         = ["ada@example.org"]
}

run "what_is_right_is_taken" {
  command = plan

  variables {
    firestore_location  = "eur3"
    warehouse_hosts     = ["warehouse.example.org", ".example.org", "warehouse", "10.0.0.5", "10.0.0.0/8", "fd00::5", "fd00::/8"]
    worker_memory       = "4Gi"
    source_datasets     = ["sales_2026"]
    source_buckets      = ["example-lake", "lake.example.org"]
    rows_retention_days = 90
    private_network     = { network = "projects/shared-host/global/networks/main", cidr = "10.8.0.16/28" }
    domain              = "bi.example.co.uk"
    billing_account     = "012345-6789AB-CDEF01"
    settings            = { BIGQUERY_QUERIES = "true", TRACE_EXPORT_URL = "https://collector.example.org/v1/traces" }
  }

  assert {
    condition     = google_firestore_database.main.location_id == "eur3" && length(google_storage_bucket_iam_member.source) > 0
    error_message = "a variable was taken and not used"
  }
}

run "what_is_of_another_kind_is_refused" {
  command = plan

  variables {
    project_id           = "My Project"
    project_number       = "example-project"
    region               = "europe-west1-b"
    firestore_location   = "europe-west1-b"
    prefix               = "bi-prod"
    admins               = ["user:ada@example.org"]
    operators            = ["bob"]
    viewers              = ["a@example.org, b@example.org"]
    invokers             = ["allAuthenticatedUsers"]
    warehouse_hosts      = ["https://warehouse.example.org"]
    settings             = { FIRESTORE_EMULATOR_HOST = "127.0.0.1:8080" }
    max_workers          = 0
    worker_memory        = "2 GB"
    source_datasets      = ["example-project.sales"]
    source_buckets       = ["gs://example-lake"]
    rows_retention_days  = 8
    audit_retention_days = 0
    private_network      = { network = "default", cidr = "10.8.0.0/24" }
    domain               = "https://bi.example.org"
    notify               = ["user:ada@example.org"]
    billing_account      = "example-billing"
    monthly_budget       = 0
  }

  expect_failures = [var.project_id, var.project_number, var.region, var.firestore_location, var.prefix, var.admins, var.operators, var.viewers, var.invokers, var.warehouse_hosts, var.settings, var.max_workers, var.worker_memory, var.source_datasets, var.source_buckets, var.rows_retention_days, var.audit_retention_days, var.private_network, var.domain, var.notify, var.billing_account, var.monthly_budget]
}

run "what_is_nearly_right_is_refused" {
  command = plan

  variables {
    firestore_location   = "EUR3"
    warehouse_hosts      = ["10.0.0.5:5432"]
    max_workers          = 2.5
    worker_memory        = "8Gi"
    source_datasets      = ["sales-2026"]
    source_buckets       = ["example-lake/sales"]
    rows_retention_days  = 9.5
    audit_retention_days = 1.5
    private_network      = { network = "default", cidr = "10.8.0.8/28" }
    domain               = "bi.example.org."
    billing_account      = "012345-6789ab-cdef01"
    monthly_budget       = 49.5
  }

  expect_failures = [var.firestore_location, var.warehouse_hosts, var.max_workers, var.worker_memory, var.source_datasets, var.source_buckets, var.rows_retention_days, var.audit_retention_days, var.private_network, var.domain, var.billing_account, var.monthly_budget]
}

run "what_is_too_much_is_refused" {
  command = plan

  variables {
    warehouse_hosts      = ["10.0.0.0/33"]
    max_workers          = 501
    worker_memory        = "256Mi"
    source_buckets       = ["Example-Lake"]
    rows_retention_days  = 91
    audit_retention_days = 36501
    private_network      = { network = "my network", cidr = "10.8.0.0/28" }
    domain               = "*.example.org"
  }

  expect_failures = [var.warehouse_hosts, var.max_workers, var.worker_memory, var.source_buckets, var.rows_retention_days, var.audit_retention_days, var.private_network, var.domain]
}

run "a_setting_that_would_be_dropped_is_refused" {
  command = plan

  variables {
    settings = { BI_OPERATORS = "bob@example.org" }
  }

  expect_failures = [var.settings]
}

run "a_second_place_for_spans_is_refused" {
  command = plan

  variables {
    trace_export = true
    settings     = { TRACE_EXPORT_URL = "https://collector.example.org/v1/traces" }
  }

  expect_failures = [var.settings]
}
