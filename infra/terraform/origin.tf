# Only with `domain`: all functions under one name, each path sent to the function that answers it.
locals {
  public_functions = var.domain == null ? {} : { for name, held in local.permissions : name => local.functions[name] if length(setintersection(held, ["viewer", "operator", "admin"])) > 0 }

  # /api/bi-connectors/export-jobs/{id}:cancel is export-jobs/* here: a wildcard takes one whole segment.
  patterns = { for route in local.routes : replace(replace(route.path, "/\\{[a-z_]+\\}(:[A-Za-z]+)?/", "*"), "/:[A-Za-z]+$/", "") => local.of_route[route.function]... if route.function != "*" && contains(["viewer", "operator", "admin"], route.permission) }
  # Literal segments before wildcards, so that no connector's path hides another's.
  ordered = [for key in sort([for pattern in keys(local.patterns) : "${length(regexall("\\*", pattern))} ${pattern}"]) : split(" ", key)[1]]
}

resource "google_compute_region_network_endpoint_group" "function" {
  for_each = local.public_functions

  name                  = "${var.prefix}-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloudfunctions2_function.function[each.key].name
  }
}

resource "google_compute_backend_service" "function" {
  for_each = local.public_functions

  name                  = "${var.prefix}-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"

  backend {
    group = google_compute_region_network_endpoint_group.function[each.key].id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "origin" {
  count = var.domain == null ? 0 : 1

  name            = "${var.prefix}-origin"
  default_service = google_compute_backend_service.function["register"].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "functions"
  }

  path_matcher {
    name            = "functions"
    default_service = google_compute_backend_service.function["register"].id

    dynamic "route_rules" {
      for_each = { for index, pattern in local.ordered : index => pattern }
      content {
        priority = route_rules.key + 1
        service  = google_compute_backend_service.function[local.patterns[route_rules.value][0]].id
        match_rules {
          path_template_match = route_rules.value
        }
      }
    }
  }
}

resource "google_compute_managed_ssl_certificate" "origin" {
  count = var.domain == null ? 0 : 1

  name = "${var.prefix}-origin"

  managed {
    domains = [var.domain]
  }
}

resource "google_compute_ssl_policy" "origin" {
  count = var.domain == null ? 0 : 1

  name            = "${var.prefix}-origin"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "origin" {
  count = var.domain == null ? 0 : 1

  name             = "${var.prefix}-origin"
  url_map          = google_compute_url_map.origin[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.origin[0].id]
  ssl_policy       = google_compute_ssl_policy.origin[0].id
}

resource "google_compute_global_address" "origin" {
  count = var.domain == null ? 0 : 1

  name = "${var.prefix}-origin"
}

resource "google_compute_global_forwarding_rule" "origin" {
  count = var.domain == null ? 0 : 1

  name                  = "${var.prefix}-origin"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.origin[0].id
  target                = google_compute_target_https_proxy.origin[0].id
  port_range            = "443"
}
