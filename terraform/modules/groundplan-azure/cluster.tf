# A cluster, or one that is there, and its groups of nodes. AKS sets label and taint of spot nodes by itself.

locals {
  made   = var.cluster == ""
  id     = local.made ? azurerm_kubernetes_cluster.own[0].id : data.azurerm_kubernetes_cluster.given[0].id
  issuer = local.made ? azurerm_kubernetes_cluster.own[0].oidc_issuer_url : data.azurerm_kubernetes_cluster.given[0].oidc_issuer_url
  puller = local.made ? azurerm_kubernetes_cluster.own[0].kubelet_identity[0].object_id : data.azurerm_kubernetes_cluster.given[0].kubelet_identity[0].object_id
}

data "azurerm_kubernetes_cluster" "given" {
  count               = local.made ? 0 : 1
  name                = var.cluster
  resource_group_name = data.azurerm_resource_group.here.name
}

resource "azurerm_kubernetes_cluster" "own" {
  count                             = local.made ? 1 : 0
  name                              = var.name
  resource_group_name               = data.azurerm_resource_group.here.name
  location                          = var.region
  dns_prefix                        = var.name
  kubernetes_version                = var.kubernetes
  sku_tier                          = "Standard"
  oidc_issuer_enabled               = true
  workload_identity_enabled         = true
  local_account_disabled            = true
  azure_policy_enabled              = true
  role_based_access_control_enabled = true
  private_cluster_enabled           = length(var.api_from) == 0
  automatic_upgrade_channel         = "patch"
  node_os_upgrade_channel           = "NodeImage"
  tags                              = local.tags

  azure_active_directory_role_based_access_control {
    azure_rbac_enabled = true
    tenant_id          = data.azurerm_client_config.who.tenant_id
  }
  identity {
    type = "SystemAssigned"
  }
  dynamic "api_server_access_profile" {
    for_each = length(var.api_from) > 0 ? [var.api_from] : []
    content {
      authorized_ip_ranges = api_server_access_profile.value
    }
  }
  default_node_pool { # the cluster's own pods
    name                         = "system"
    vm_size                      = var.nodes["ondemand"].machines[0]
    node_count                   = 2
    vnet_subnet_id               = local.subnets.nodes
    only_critical_addons_enabled = true
    temporary_name_for_rotation  = "systemnew"
    upgrade_settings {
      max_surge = "33%"
    }
  }
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = var.cluster_addons ? "cilium" : null
    network_policy      = var.cluster_addons ? "cilium" : null
    pod_cidr            = "10.244.0.0/16"
    service_cidr        = "10.245.0.0/16"
    dns_service_ip      = "10.245.0.10"
  }
}

resource "azurerm_kubernetes_cluster_node_pool" "here" {
  for_each              = var.nodes
  name                  = each.key
  kubernetes_cluster_id = local.id
  vm_size               = each.value.machines[0] # a pool of AKS has one kind of machine
  vnet_subnet_id        = local.subnets.nodes
  auto_scaling_enabled  = true
  min_count             = each.value.least
  max_count             = each.value.most
  os_disk_size_gb       = each.value.disk
  priority              = each.value.spot ? "Spot" : "Regular"
  eviction_policy       = each.value.spot ? "Delete" : null
  spot_max_price        = each.value.spot ? -1 : null
  node_labels           = merge({ "groundplan/pool" = each.key }, each.value.spot ? { "kubernetes.azure.com/scalesetpriority" = "spot" } : {})
  node_taints           = concat(each.value.spot ? ["kubernetes.azure.com/scalesetpriority=spot:NoSchedule"] : [], each.value.gpu ? ["nvidia.com/gpu=present:NoSchedule"] : [])
  tags                  = local.tags
  lifecycle {
    ignore_changes = [node_count]
  }
}

resource "azurerm_role_assignment" "pull" {
  scope                = azurerm_container_registry.own.id
  role_definition_name = "AcrPull"
  principal_id         = local.puller
}

locals {
  chosen = { for name, group in var.nodes : name => {
    selector = { "groundplan/pool" = name }
    tolerations = [for taint in concat(
      group.spot ? [{ key = "kubernetes.azure.com/scalesetpriority", value = "spot" }] : [],
      group.gpu ? [{ key = "nvidia.com/gpu", value = "present" }] : [],
    ) : { key = taint.key, operator = "Equal", value = taint.value, effect = "NoSchedule" }]
  } }
}
