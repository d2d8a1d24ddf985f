# A network of one's own, where none is given, with one way out; and the private way to the databases.

locals {
  own     = var.network == null
  network = local.own ? google_compute_network.own[0].id : var.network.id
  nodes   = local.own ? google_compute_subnetwork.nodes[0].id : var.network.nodes[0]
}

resource "google_compute_network" "own" {
  count                   = local.own ? 1 : 0
  project                 = var.account
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "nodes" {
  count                    = local.own ? 1 : 0
  project                  = var.account
  name                     = "${var.name}-nodes"
  region                   = var.region
  network                  = google_compute_network.own[0].id
  ip_cidr_range            = cidrsubnet(var.network_range, 3, 0)
  private_ip_google_access = true # the bucket is reached without the way out
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
  }
}

resource "google_compute_router" "out" {
  count   = local.own ? 1 : 0
  project = var.account
  name    = "${var.name}-out"
  region  = var.region
  network = google_compute_network.own[0].id
}

resource "google_compute_router_nat" "out" {
  count                              = local.own ? 1 : 0
  project                            = var.account
  name                               = "${var.name}-out"
  region                             = var.region
  router                             = google_compute_router.out[0].name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

resource "google_compute_global_address" "database" {
  count         = local.own ? 1 : 0
  project       = var.account
  name          = "${var.name}-database"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = local.network
}

resource "google_service_networking_connection" "database" {
  count                   = local.own ? 1 : 0
  network                 = local.network
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database[0].name]
}
