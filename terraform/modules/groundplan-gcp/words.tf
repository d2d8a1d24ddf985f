# The facts, said in Groundplan's own words.

locals {
  store    = "gs://${google_storage_bucket.store.name}/${var.prefix}"
  registry = "${var.region}-docker.pkg.dev/${var.account}/${google_artifact_registry_repository.images.repository_id}"
}

module "words" {
  source   = "../groundplan-values"
  cloud    = "gcp"
  store    = { url = local.store }
  landing  = var.landing
  registry = local.registry
  tag      = var.tag
  nodes    = local.chosen
  grid     = var.grid
  settings = var.settings
  service  = var.service

  previews_url = var.previews_url
  results_url  = var.service ? "postgresql://${google_sql_database_instance.here["results"].private_ip_address}/results" : ""

  identities = { for name in ["run", "dagster", "previews", "serve", "work", "relay"] : name => google_service_account.account[name].email if contains(keys(var.accounts), name) }
  database   = { host = google_sql_database_instance.here["dagster"].private_ip_address }
  vault = {
    store    = var.secret_store
    database = google_secret_manager_secret.database["dagster"].secret_id
    results  = try(google_secret_manager_secret.database["results"].secret_id, "")
  }
}
