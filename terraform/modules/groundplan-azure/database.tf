# PostgreSQL: Dagster's, and with the service one for results with PostGIS. A password is made, written into the vault and
# read from there by the server; it is in no state. To change one, raise its version here: both get the new one.

locals {
  databases = var.service ? ["dagster", "results"] : ["dagster"]
  passwords = 1
}

ephemeral "random_password" "database" {
  for_each = toset(local.databases)
  length   = 40
  special  = false
}

resource "azurerm_key_vault_secret" "database" {
  for_each         = toset(local.databases)
  name             = "${each.key}-password"
  key_vault_id     = azurerm_key_vault.own.id
  value_wo         = ephemeral.random_password.database[each.key].result
  value_wo_version = local.passwords
  content_type     = "password of PostgreSQL"
  tags             = local.tags
  depends_on       = [azurerm_role_assignment.applier]
}

ephemeral "azurerm_key_vault_secret" "database" {
  for_each     = azurerm_key_vault_secret.database # after it was written: a run that was cut off between both is mended by the next
  name         = each.value.name
  key_vault_id = azurerm_key_vault.own.id
}

resource "azurerm_postgresql_flexible_server" "here" {
  for_each                          = toset(local.databases)
  name                              = "${var.name}-${each.key}"
  resource_group_name               = data.azurerm_resource_group.here.name
  location                          = var.region
  version                           = "16"
  sku_name                          = var.database.machine
  storage_mb                        = 1024 * var.database.storage
  auto_grow_enabled                 = true
  delegated_subnet_id               = local.subnets.database
  private_dns_zone_id               = azurerm_private_dns_zone.database.id
  public_network_access_enabled     = false
  administrator_login               = each.key
  administrator_password_wo         = ephemeral.azurerm_key_vault_secret.database[each.key].value
  administrator_password_wo_version = local.passwords
  backup_retention_days             = var.database.days
  tags                              = local.tags
  depends_on                        = [azurerm_private_dns_zone_virtual_network_link.database]

  dynamic "high_availability" {
    for_each = var.database.standby ? ["ZoneRedundant"] : []
    content {
      mode = high_availability.value
    }
  }
  lifecycle {
    ignore_changes = [zone, high_availability[0].standby_availability_zone] # after a fail-over they are the other way round
  }
}

resource "azurerm_postgresql_flexible_server_database" "here" {
  for_each  = azurerm_postgresql_flexible_server.here
  name      = each.key
  server_id = each.value.id
}

resource "azurerm_postgresql_flexible_server_configuration" "postgis" {
  for_each  = { for name, server in azurerm_postgresql_flexible_server.here : name => server if name == "results" }
  name      = "azure.extensions"
  server_id = each.value.id
  value     = "POSTGIS"
}

resource "azurerm_management_lock" "kept" {
  for_each   = var.protect ? merge({ for name, server in azurerm_postgresql_flexible_server.here : name => server.id }, { store = azurerm_storage_account.store.id }) : {}
  name       = "${var.name}-${each.key}"
  scope      = each.value
  lock_level = "CanNotDelete"
  notes      = "Groundplan's store and databases: set protect = false before they are destroyed"
}
