# A network of one's own, where none is given: a subnet for nodes, one that the databases have for themselves.

locals {
  own     = var.network == null
  network = local.own ? azurerm_virtual_network.own[0].id : var.network.id
  subnets = {
    nodes    = local.own ? azurerm_subnet.nodes[0].id : var.network.nodes[0]
    database = local.own ? azurerm_subnet.database[0].id : var.network.database[0]
  }
}

resource "azurerm_virtual_network" "own" {
  count               = local.own ? 1 : 0
  name                = var.name
  resource_group_name = data.azurerm_resource_group.here.name
  location            = var.region
  address_space       = [var.network_range]
  tags                = local.tags
}

resource "azurerm_subnet" "nodes" {
  count                = local.own ? 1 : 0
  name                 = "nodes"
  resource_group_name  = data.azurerm_resource_group.here.name
  virtual_network_name = azurerm_virtual_network.own[0].name
  address_prefixes     = [cidrsubnet(var.network_range, 3, 0)]
  service_endpoints    = ["Microsoft.Storage"]
}

resource "azurerm_subnet" "database" {
  count                = local.own ? 1 : 0
  name                 = "database"
  resource_group_name  = data.azurerm_resource_group.here.name
  virtual_network_name = azurerm_virtual_network.own[0].name
  address_prefixes     = [cidrsubnet(var.network_range, 3, 1)]
  delegation {
    name = "postgresql"
    service_delegation {
      name    = "Microsoft.DBforPostgreSQL/flexibleServers"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_private_dns_zone" "database" {
  name                = "${var.name}.private.postgres.database.azure.com"
  resource_group_name = data.azurerm_resource_group.here.name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "database" {
  name                  = var.name
  resource_group_name   = data.azurerm_resource_group.here.name
  private_dns_zone_name = azurerm_private_dns_zone.database.name
  virtual_network_id    = local.network
  tags                  = local.tags
}
