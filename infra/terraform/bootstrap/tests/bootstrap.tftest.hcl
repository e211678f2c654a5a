# The state bucket: what names it is refused before anything is made.
mock_provider "google" {}

run "the_bucket_is_the_one_that_make_deploy_looks_for" {
  command = plan

  variables {
    project_id = "example-project"
    location   = "europe-west1"
  }

  assert {
    condition     = google_storage_bucket.state.name == "example-project-bi-terraform-state" && google_storage_bucket.state.versioning[0].enabled && !google_storage_bucket.state.force_destroy
    error_message = "the state would lie elsewhere, or could be lost"
  }
}

run "a_number_is_no_project_and_a_zone_no_location" {
  command = plan

  variables {
    project_id = "123456789012"
    location   = "europe-west1-b"
  }

  expect_failures = [var.project_id, var.location]
}
