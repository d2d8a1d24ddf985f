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
  value       = {}
}

output "queues" {
  description = "Of what arrives, of work and of events; empty where there are none"
  value       = { arrivals = "", arrivals_dead = "", work = "", events = "" }
}

output "databases" {
  description = "Host of each PostgreSQL, and where its password lies"
  value = { for name, server in google_sql_database_instance.here : name => {
    host   = server.private_ip_address
    secret = google_secret_manager_secret.database[name].secret_id
  } }
}

output "registry" {
  description = "What stands before /groundplan and /groundplan-train in the names of the images"
  value       = local.registry
}

output "package_index" {
  description = "Index of Python packages; empty: none"
  value       = var.package_index ? google_artifact_registry_repository.python[0].id : ""
}

output "identities" {
  description = "Who each of the chart's accounts is to the cloud"
  value       = { for name, account in google_service_account.account : name => account.email }
}

output "operators" {
  description = "Who the cluster's own operators are to the cloud: secrets (External Secrets), scaler"
  value       = { secrets = google_service_account.secrets.email }
}

output "cluster" {
  description = "Name of the cluster"
  value       = local.name
}
