# Run with a mocked provider: what must hold between resources whose values only the cloud knows.
mock_provider "google" {}

mock_provider "time" {}

variables {
  project_id     = "example-project"
  project_number = "123456789012"
  prefix         = "bi"
  admins         = ["ada@example.org"]
}

run "every_function_has_an_identity_of_its_own" {
  assert {
    condition     = length(distinct([for function in google_cloudfunctions2_function.function : function.service_config[0].service_account_email])) == 4
    error_message = "two functions share a service account"
  }
}

run "the_audience_of_a_system_job_is_its_functions_url" {
  assert {
    condition     = alltrue([for job in google_cloud_scheduler_job.system : startswith(job.http_target[0].uri, "${job.http_target[0].oidc_token[0].audience}/internal/") && contains(values(local.urls), job.http_target[0].oidc_token[0].audience)])
    error_message = "a Scheduler job's token is for another URL than it calls"
  }
}

run "the_worker_answers_only_cloud_tasks_and_cloud_scheduler" {
  assert {
    condition     = toset([for grant in google_cloud_run_service_iam_member.invoker : grant.member if endswith(grant.service, "export-worker")]) == toset([google_service_account.tasks.member, google_service_account.scheduler.member])
    error_message = "somebody else may call the worker"
  }
}

run "a_service_account_is_granted_as_one" {
  variables {
    viewers = ["robot@example-project.iam.gserviceaccount.com"]
  }

  assert {
    condition     = toset(local.people) == toset(["user:ada@example.org", "serviceAccount:robot@example-project.iam.gserviceaccount.com"])
    error_message = "IAM takes a person as user: and a service account as serviceAccount:"
  }
}

run "without_options_nothing_costs_while_idle" {
  assert {
    condition     = length(google_vpc_access_connector.egress) == 0 && length(google_compute_global_forwarding_rule.origin) == 0 && alltrue([for function in google_cloudfunctions2_function.function : function.service_config[0].min_instance_count == 0])
    error_message = "something runs while nobody calls"
  }
}

run "two_environments_share_no_name" {
  command = plan

  variables {
    prefix                = "test"
    owns_project_settings = false
    billing_account       = "012345-6789AB-CDEF01"
  }

  assert {
    condition     = google_firestore_database.main.name == "test-connectors" && length(google_project_iam_audit_config.access) == 0 && length(google_billing_budget.monthly) == 0 && alltrue([for bucket in google_storage_bucket.data : strcontains(bucket.name, "-test-")])
    error_message = "the second environment would take the first one's names"
  }
}

run "the_budget_is_over_the_whole_project" {
  command = plan

  variables {
    billing_account = "012345-6789AB-CDEF01"
  }

  assert {
    condition     = google_billing_budget.monthly[0].budget_filter[0].projects == toset(["projects/123456789012"]) && try(length(google_billing_budget.monthly[0].budget_filter[0].labels), 0) == 0
    error_message = "the budget leaves out what carries no label"
  }
}

run "a_project_name_is_no_project_id" {
  command = plan

  variables {
    project_id = "My Project"
  }

  expect_failures = [var.project_id]
}

run "nobody_may_invite_everybody" {
  command = plan

  variables {
    invokers = ["allUsers"]
  }

  expect_failures = [var.invokers]
}

run "an_environment_needs_an_administrator" {
  command = plan

  variables {
    admins = []
  }

  expect_failures = [var.admins]
}

run "local_relaxations_never_reach_the_cloud" {
  command = plan

  variables {
    settings = { ENVIRONMENT = "local" }
  }

  expect_failures = [var.settings]
}

run "nobody_says_by_hand_that_cloud_run_checks_callers" {
  command = plan

  variables {
    settings = { CLOUD_RUN_CHECKS_CALLERS = "true" }
  }

  expect_failures = [var.settings]
}
