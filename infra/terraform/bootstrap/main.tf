# Once for each project, before the first `make deploy`: the bucket that holds Terraform's state. Its own state stays in this folder.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project_id
}

variable "project_id" {
  type        = string
  description = "The Google Cloud project."
}

variable "location" {
  type        = string
  description = "Location of the state bucket."
  default     = "EU"
}

resource "google_storage_bucket" "state" {
  name                        = "${var.project_id}-bi-terraform-state"
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions = 20
    }
  }
}

output "bucket" {
  description = "Name of the state bucket."
  value       = google_storage_bucket.state.name
}
