variable "project_id" {
  type        = string
  description = "The Google Cloud project."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is a project's id (6 to 30 lower-case letters, digits and hyphens), not its name or number."
  }
}

variable "project_number" {
  type        = string
  description = "The project's number: gcloud projects describe PROJECT --format='value(projectNumber)'. It is part of the functions' URLs."

  validation {
    condition     = can(regex("^[0-9]{6,20}$", var.project_number))
    error_message = "project_number is digits only, not the project's id."
  }
}

variable "region" {
  type        = string
  description = "Region of functions, queues, buckets and Scheduler jobs."
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west1, not a zone or a multi-region."
  }
}

variable "firestore_location" {
  type        = string
  description = "Location of the Firestore database; it can never change. A multi-region such as eur3, or null for `region`."
  default     = null

  validation {
    condition     = var.firestore_location == null || can(regex("^([a-z]{3,4}[0-9]|[a-z]+-[a-z]+[0-9]+)$", var.firestore_location))
    error_message = "firestore_location is a region such as europe-west1 or a multi-region such as eur3, not a zone; it can never change."
  }
}

variable "prefix" {
  type        = string
  description = "Names everything of one environment: functions, service accounts, database, queues, secrets, buckets, Scheduler jobs. Environments of one project differ in it."
  default     = "bi"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,15}$", var.prefix))
    error_message = "prefix is 2 to 16 lower-case letters and digits. No hyphen: an environment's names must not begin with another's prefix and a hyphen."
  }
}

variable "owns_project_settings" {
  type        = bool
  description = "Whether this environment also holds what a project has only once: the audit configuration and the budget. True in exactly one environment of a project."
  default     = true
}

variable "admins" {
  type        = list(string)
  description = "E-mail addresses of the administrators; without one, every route but /health answers 403."

  validation {
    condition     = length(var.admins) > 0 && alltrue([for address in var.admins : can(regex("^[^@:, ]+@[^@:, ]+$", address))])
    error_message = "admins holds at least one plain e-mail address, without `user:`."
  }
}

variable "operators" {
  type        = list(string)
  description = "E-mail addresses that may export, refresh and schedule."
  default     = []

  validation {
    condition     = alltrue([for address in var.operators : can(regex("^[^@:, ]+@[^@:, ]+$", address))])
    error_message = "operators holds plain e-mail addresses, without `user:`."
  }
}

variable "viewers" {
  type        = list(string)
  description = "E-mail addresses that may read."
  default     = []

  validation {
    condition     = alltrue([for address in var.viewers : can(regex("^[^@:, ]+@[^@:, ]+$", address))])
    error_message = "viewers holds plain e-mail addresses, without `user:`."
  }
}

variable "invokers" {
  type        = list(string)
  description = "Who may reach the API at all (IAM members, e.g. group:bi@example.org); admins, operators and viewers are added."
  default     = []

  validation {
    condition     = alltrue([for member in var.invokers : can(regex("^(user|group|serviceAccount|domain):[^: ]+$", member))])
    error_message = "invokers are user:, group:, serviceAccount: or domain: members; allUsers and allAuthenticatedUsers are refused."
  }
}

variable "warehouse_hosts" {
  type        = list(string)
  description = "Hosts, addresses or networks that a Looker connector's warehouse may be at."
  default     = []

  validation {
    condition     = alltrue([for host in var.warehouse_hosts : can(cidrhost(host, 0)) || can(cidrhost("${host}/32", 0)) || can(cidrhost("${host}/128", 0)) || can(regex("^[.]?([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?[.])*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$", host))])
    error_message = "warehouse_hosts are names, `.suffixes` of names, addresses, or networks such as 10.0.0.0/8: without scheme, port or path."
  }
}

variable "settings" {
  type        = map(string)
  description = "Further environment variables of all functions, as README's table of settings names them."
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.settings), ["ENVIRONMENT", "CLOUD_RUN_CHECKS_CALLERS"])) == 0 && alltrue([for name in keys(var.settings) : !endswith(name, "_EMULATOR_HOST")])
    error_message = "ENVIRONMENT and emulator hosts are for the local cloud only; CLOUD_RUN_CHECKS_CALLERS is set with the invokers."
  }

  validation {
    condition     = length(setintersection(keys(var.settings), ["BI_ADMINS", "BI_OPERATORS", "BI_VIEWERS", "EXPORTS_BUCKET", "EXPORT_QUEUE", "EXPORT_ROLE", "EXPORT_URL", "EXPORT_WORKER_URL", "FIRESTORE_DATABASE", "FROZEN_BUCKET", "GOOGLE_CLOUD_PROJECT", "LOCATION", "NAME_PREFIX", "NOTICE_QUEUE", "REFRESH_QUEUE", "REFRESH_URL", "REGISTER_URL", "SCHEDULER_SERVICE_ACCOUNT", "TABLES_BUCKET", "TASKS_SERVICE_ACCOUNT", "THREADS", "WAREHOUSE_HOSTS"])) == 0 && !(var.trace_export && contains(keys(var.settings), "TRACE_EXPORT_URL"))
    error_message = "settings names what the configuration sets itself, and what is said here would be dropped: people, warehouse_hosts, max_workers and trace_export (which sets TRACE_EXPORT_URL) are variables of their own; the other names follow from prefix, project and region."
  }
}

variable "max_workers" {
  type        = number
  description = "Export jobs at work at once; each is one instance of the worker."
  default     = 20

  validation {
    condition     = var.max_workers >= 1 && var.max_workers <= 500 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers is a whole number from 1 to 500."
  }
}

variable "worker_memory" {
  type        = string
  description = "Memory of one worker."
  default     = "1Gi"

  validation {
    condition     = try(tonumber(regex("^([0-9]+)(?:Mi|Gi)$", var.worker_memory)[0]) * (endswith(var.worker_memory, "Gi") ? 1024 : 1) >= 512, false) && try(tonumber(regex("^([0-9]+)(?:Mi|Gi)$", var.worker_memory)[0]) * (endswith(var.worker_memory, "Gi") ? 1024 : 1) <= 4096, false)
    error_message = "worker_memory is like 512Mi or 2Gi, and from 512Mi to 4Gi: all that one CPU may have."
  }
}

variable "source_datasets" {
  type        = list(string)
  description = "BigQuery datasets of this project that exports may read."
  default     = []

  validation {
    condition     = alltrue([for name in var.source_datasets : can(regex("^[A-Za-z0-9_]+$", name))])
    error_message = "source_datasets are ids of datasets of this project, as `sales`: letters, digits and underscores, without the project."
  }
}

variable "source_buckets" {
  type        = list(string)
  description = "Buckets beside our own tables bucket that exports may read."
  default     = []

  validation {
    condition     = alltrue([for name in var.source_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", name))])
    error_message = "source_buckets are names of buckets, as `my-lake`: without gs:// and without a path."
  }
}

variable "rows_retention_days" {
  type        = number
  description = "Days after which the bucket itself deletes frozen rows; the sweeper does after 7."
  default     = 9

  validation {
    condition     = var.rows_retention_days >= 9 && var.rows_retention_days <= 90 && floor(var.rows_retention_days) == var.rows_retention_days
    error_message = "rows_retention_days is a whole number from 9 to 90: jobs can be retried and republished for 7 days."
  }
}

variable "audit_retention_days" {
  type        = number
  description = "Days for which nobody can delete an exported audit record."
  default     = 400

  validation {
    condition     = var.audit_retention_days >= 1 && var.audit_retention_days <= 36500 && floor(var.audit_retention_days) == var.audit_retention_days
    error_message = "audit_retention_days is a whole number from 1 to 36500: a locked bucket keeps them for as long, whatever you do."
  }
}

variable "audit_locked" {
  type        = bool
  description = "Lock the audit bucket's retention. It cannot be undone: the bucket outlives `make destroy` until its last record's time is up."
  default     = true
}

variable "delete_protection" {
  type        = bool
  description = "Protect the database and buckets with content; set to false and apply before `make destroy`."
  default     = true
}

variable "private_network" {
  type = object({
    network = string
    cidr    = string
  })
  description = "A VPC network and a free /28 in it: all egress then leaves through it, with one static address for vendors' and warehouses' allow-lists. Null: Google's changing addresses."
  default     = null

  validation {
    condition     = var.private_network == null || try(endswith(var.private_network.cidr, "/28") && cidrhost(var.private_network.cidr, 0) == split("/", var.private_network.cidr)[0], false)
    error_message = "private_network.cidr is a /28, which is what a VPC connector takes, from its first address on: 10.8.0.0/28, 10.8.0.16/28."
  }

  validation {
    condition     = var.private_network == null || try(can(regex("^(projects/[^/]+/global/networks/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.private_network.network)), false)
    error_message = "private_network.network is a network's name, as `default`, or projects/…/global/networks/…."
  }
}

variable "domain" {
  type        = string
  description = "A domain name of yours that puts all functions under one origin, through a load balancer (which costs while idle). Null: each function has its own URL."
  default     = null

  validation {
    condition     = var.domain == null || (can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.domain)) && length(coalesce(var.domain, "-")) <= 63)
    error_message = "domain is a name such as bi.example.org, in lower case, of at most 63 characters: without scheme, port, path, wildcard or a dot at the end."
  }
}

variable "notify" {
  type        = list(string)
  description = "E-mail addresses that alerts go to."
  default     = []

  validation {
    condition     = alltrue([for address in var.notify : can(regex("^[^@:, ]+@[^@:, ]+$", address))])
    error_message = "notify holds plain e-mail addresses, without `user:`."
  }
}

variable "billing_account" {
  type        = string
  description = "Billing account for a budget over all that the project costs, other environments and services in it included, e.g. 012345-6789AB-CDEF01. Null: no budget."
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is an id such as 012345-6789AB-CDEF01, as `gcloud billing accounts list` tells it."
  }
}

variable "monthly_budget" {
  type        = number
  description = "Budget of the whole project in the billing account's currency; it tells people (at half, 90 % and all of it), it stops nothing."
  default     = 50

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget is a whole number of at least 1, in the billing account's currency."
  }
}

variable "trace_export" {
  type        = bool
  description = "Send OpenTelemetry spans to Google Cloud; each request then waits for its spans, two seconds at most."
  default     = false
}
