# What infra-check plans with: every option on, so that every resource is planned.
project_id     = "example-project"
project_number = "123456789012"
prefix         = "bi"

admins          = ["ada@example.org"]
operators       = ["bob@example.org"]
viewers         = ["cleo@example.org"]
invokers        = ["group:bi@example.org"]
warehouse_hosts = ["10.0.0.5"]
notify          = ["oncall@example.org"]

source_datasets = ["sales"]
source_buckets  = ["example-lake"]
private_network = { network = "default", cidr = "10.8.0.0/28" }
domain          = "bi.example.org"
billing_account = "012345-6789AB-CDEF01"
trace_export    = true
