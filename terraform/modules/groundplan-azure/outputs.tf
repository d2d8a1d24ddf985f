# What an installation tells. The same names in the module of each cloud.

output "values" {
  description = "values.yaml of the chart"
  value       = module.words.values
}

output "store" {
  description = "URL for `groundplan init --store`"
  value       = local.store
}

output "settings" {
  description = "Sections for groundplan.toml of a project that `groundplan init` made"
  value       = module.words.settings
}

output "environment" {
  description = "Variables that the project's programs need outside of the cluster, beside credentials"
  value       = { AZURE_STORAGE_ACCOUNT_NAME = azurerm_storage_account.store.name }
}

output "queues" {
  description = "Of what arrives, of work and of events; empty where there are none"
  value       = { arrivals = "", arrivals_dead = "", work = "", events = "" }
}

output "databases" {
  description = "Host of each PostgreSQL, and where its password lies"
  value = { for name, server in azurerm_postgresql_flexible_server.here : name => {
    host   = server.fqdn
    secret = azurerm_key_vault_secret.database[name].name
  } }
}

output "registry" {
  description = "What stands before /groundplan and /groundplan-train in the names of the images"
  value       = azurerm_container_registry.own.login_server
}

output "package_index" {
  description = "Index of Python packages; empty: none"
  value       = ""
}

output "identities" {
  description = "Who each of the chart's accounts is to the cloud"
  value       = { for name, identity in azurerm_user_assigned_identity.account : name => identity.client_id }
}

output "operators" {
  description = "Who the cluster's own operators are to the cloud: secrets (External Secrets), scaler"
  value       = { secrets = azurerm_user_assigned_identity.secrets.client_id }
}

output "cluster" {
  description = "Name of the cluster"
  value       = local.made ? azurerm_kubernetes_cluster.own[0].name : var.cluster
}
