# The facts, said in Groundplan's own words.

locals {
  store = "az://${azurerm_storage_container.store.name}/${var.prefix}"
}

module "words" {
  source   = "../groundplan-values"
  cloud    = "azure"
  store    = { url = local.store, account = azurerm_storage_account.store.name }
  landing  = var.landing
  registry = azurerm_container_registry.own.login_server
  tag      = var.tag
  nodes    = local.chosen
  grid     = var.grid
  settings = var.settings
  service  = var.service

  previews_url = var.previews_url
  results_url  = var.service ? "postgresql://${azurerm_postgresql_flexible_server.here["results"].fqdn}/results" : ""

  identities = { for name in ["run", "dagster", "previews", "serve", "work", "relay"] : name => azurerm_user_assigned_identity.account[name].client_id if contains(keys(var.accounts), name) }
  database   = { host = azurerm_postgresql_flexible_server.here["dagster"].fqdn }
  vault = {
    store    = var.secret_store
    database = azurerm_key_vault_secret.database["dagster"].name
    results  = try(azurerm_key_vault_secret.database["results"].name, "")
  }
}
