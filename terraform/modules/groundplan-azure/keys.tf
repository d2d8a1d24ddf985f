# A vault with the key of all that lies still, and the databases' passwords.

resource "azurerm_key_vault" "own" {
  name                       = var.name
  resource_group_name        = data.azurerm_resource_group.here.name
  location                   = var.region
  tenant_id                  = data.azurerm_client_config.who.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = true # a storage account's key must not vanish
  soft_delete_retention_days = 30
  tags                       = local.tags
  depends_on                 = [terraform_data.asked]
}

# who applies this writes keys and passwords; pods read none, External Secrets reads the passwords
resource "azurerm_role_assignment" "applier" {
  for_each             = toset(["Key Vault Crypto Officer", "Key Vault Secrets Officer"])
  scope                = azurerm_key_vault.own.id
  role_definition_name = each.key
  principal_id         = data.azurerm_client_config.who.object_id
}

resource "azurerm_key_vault_key" "store" {
  name         = "store"
  key_vault_id = azurerm_key_vault.own.id
  key_type     = "RSA"
  key_size     = 3072
  key_opts     = ["wrapKey", "unwrapKey"]
  tags         = local.tags
  depends_on   = [azurerm_role_assignment.applier]
  rotation_policy {
    expire_after         = "P2Y"
    notify_before_expiry = "P30D"
    automatic {
      time_before_expiry = "P60D"
    }
  }
}

resource "azurerm_user_assigned_identity" "store" {
  name                = "${var.name}-store"
  resource_group_name = data.azurerm_resource_group.here.name
  location            = var.region
  tags                = local.tags
}

resource "azurerm_role_assignment" "store" {
  scope                = azurerm_key_vault.own.id
  role_definition_name = "Key Vault Crypto Service Encryption User"
  principal_id         = azurerm_user_assigned_identity.store.principal_id
}
