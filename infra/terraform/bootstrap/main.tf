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

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is a project's id (6 to 30 lower-case letters, digits and hyphens), not its name or number."
  }
}

variable "location" {
  type        = string
  description = "Location of the state bucket."
  default     = "EU"

  validation {
    condition     = can(regex("^(EU|US|ASIA|EUR[0-9]|NAM[0-9]|ASIA[0-9]|[a-z]+-[a-z]+[0-9]+)$", var.location))
    error_message = "location is EU, US, ASIA, a pair of regions such as EUR4, or a region such as europe-west1."
  }
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
