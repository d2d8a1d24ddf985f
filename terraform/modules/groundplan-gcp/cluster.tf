# A cluster, or one that is there, and its groups of nodes. GKE sets the label of spot nodes by itself, and no taint.

locals {
  made = var.cluster == ""
  name = local.made ? google_container_cluster.own[0].name : var.cluster
}

resource "google_service_account" "nodes" {
  project      = var.account
  account_id   = "${var.name}-nodes"
  display_name = "Nodes of Groundplan ${var.name}"
}

resource "google_project_iam_member" "nodes" {
  for_each = toset(["roles/container.defaultNodeServiceAccount"])
  project  = var.account
  role     = each.key
  member   = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "pull" {
  project    = var.account
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}

resource "google_container_cluster" "own" {
  count                       = local.made ? 1 : 0
  project                     = var.account
  name                        = var.name
  location                    = var.region
  network                     = local.network
  subnetwork                  = local.nodes
  min_master_version          = var.kubernetes
  remove_default_node_pool    = true
  initial_node_count          = 1
  deletion_protection         = var.protect
  datapath_provider           = var.cluster_addons ? "ADVANCED_DATAPATH" : null # enforces network policies
  enable_shielded_nodes       = true
  enable_intranode_visibility = true
  resource_labels             = local.tags

  release_channel {
    channel = "REGULAR"
  }
  workload_identity_config {
    workload_pool = "${var.account}.svc.id.goog"
  }
  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = length(var.api_from) == 0
  }
  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = toset(var.api_from)
      content {
        cidr_block = cidr_blocks.key
      }
    }
  }
  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }
  database_encryption {
    state    = "ENCRYPTED"
    key_name = google_kms_crypto_key.own.id
  }
  ip_allocation_policy {}
  lifecycle {
    ignore_changes = [node_config]
  }
}

resource "google_container_node_pool" "here" {
  for_each = var.nodes
  project  = var.account
  name     = each.key
  location = var.region
  cluster  = local.name
  autoscaling {
    total_min_node_count = each.value.least
    total_max_node_count = each.value.most
    location_policy      = each.value.spot ? "ANY" : "BALANCED"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type      = each.value.machines[0] # a pool of GKE has one kind of machine
    spot              = each.value.spot
    disk_size_gb      = each.value.disk
    boot_disk_kms_key = google_kms_crypto_key.own.id
    service_account   = google_service_account.nodes.email
    oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"]
    labels            = { "groundplan/pool" = each.key }
    resource_labels   = local.tags
    metadata = {
      disable-legacy-endpoints = "true"
    }
    dynamic "taint" {
      for_each = local.taints[each.key]
      content {
        key    = taint.value.key
        value  = taint.value.value
        effect = "NO_SCHEDULE"
      }
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
}

locals {
  taints = { for name, group in var.nodes : name => concat(
    group.spot ? [{ key = "cloud.google.com/gke-spot", value = "true" }] : [],
    group.gpu ? [{ key = "nvidia.com/gpu", value = "present" }] : [],
  ) }
  chosen = { for name, group in var.nodes : name => {
    selector    = { "groundplan/pool" = name }
    tolerations = [for taint in local.taints[name] : { key = taint.key, operator = "Equal", value = taint.value, effect = "NoSchedule" }]
  } }
}
