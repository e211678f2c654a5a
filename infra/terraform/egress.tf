# Only with `private_network`: a warehouse in a VPC can be reached, and what goes out has one address.
resource "google_vpc_access_connector" "egress" {
  count = var.private_network == null ? 0 : 1

  name          = "${var.prefix}-egress"
  region        = var.region
  network       = var.private_network.network
  ip_cidr_range = var.private_network.cidr
  machine_type  = "e2-micro"
  min_instances = 2
  max_instances = 3

  depends_on = [google_project_service.needed]
}

resource "google_compute_router" "egress" {
  count = var.private_network == null ? 0 : 1

  name    = "${var.prefix}-egress"
  region  = var.region
  network = var.private_network.network
}

resource "google_compute_address" "egress" {
  count = var.private_network == null ? 0 : 1

  name   = "${var.prefix}-egress"
  region = var.region
}

resource "google_compute_router_nat" "egress" {
  count = var.private_network == null ? 0 : 1

  name                               = "${var.prefix}-egress"
  router                             = google_compute_router.egress[0].name
  region                             = var.region
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.egress[0].id]
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
