output "urls" {
  description = "Each function's URL; it is also the audience of the ID token to call it with."
  value       = local.urls
}

output "origin" {
  description = "The one origin, and the address that its domain name must point at."
  value       = var.domain == null ? null : { url = "https://${var.domain}", address = google_compute_global_address.origin[0].address }
}

output "buckets" {
  description = "Where tables are put to be found by name, where frozen rows and kept files lie."
  value       = { for name, bucket in google_storage_bucket.data : name => bucket.name }
}

output "egress_address" {
  description = "What vendors and warehouses see, for their allow-lists."
  value       = var.private_network == null ? null : google_compute_address.egress[0].address
}

output "export_service_account" {
  description = "Reads the sources: share buckets, datasets and databases with it."
  value       = google_service_account.function["export-worker"].email
}
