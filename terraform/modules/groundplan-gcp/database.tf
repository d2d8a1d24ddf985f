# PostgreSQL: Dagster's, and with the service one for results with PostGIS. A password is made, written into Secret Manager
# and read from there for the user; it is in no state. To change one, raise its version here: both get the new one.

locals {
  databases = var.service ? ["dagster", "results"] : ["dagster"]
  passwords = 1
}

ephemeral "random_password" "database" {
  for_each = toset(local.databases)
  length   = 40
  special  = false
}

resource "google_secret_manager_secret" "database" {
  for_each  = toset(local.databases)
  project   = var.account
  secret_id = "${var.name}-${each.key}"
  labels    = local.tags
  replication {
    user_managed {
      replicas {
        location = var.region
        customer_managed_encryption {
          kms_key_name = google_kms_crypto_key.own.id
        }
      }
    }
  }
  depends_on = [google_kms_crypto_key_iam_member.user]
}

resource "google_secret_manager_secret_version" "database" {
  for_each               = google_secret_manager_secret.database
  secret                 = each.value.id
  secret_data_wo         = ephemeral.random_password.database[each.key].result
  secret_data_wo_version = local.passwords
}

ephemeral "google_secret_manager_secret_version" "database" {
  for_each = google_secret_manager_secret_version.database # after it was written: a run that was cut off between both is mended by the next
  project  = var.account
  secret   = each.value.secret
}

resource "google_sql_database_instance" "here" {
  for_each            = toset(local.databases)
  project             = var.account
  name                = "${var.name}-${each.key}"
  region              = var.region
  database_version    = "POSTGRES_16"
  encryption_key_name = google_kms_crypto_key.own.id
  deletion_protection = var.protect
  depends_on          = [google_service_networking_connection.database, google_kms_crypto_key_iam_member.user]

  settings {
    tier                        = var.database.machine
    availability_type           = var.database.standby ? "REGIONAL" : "ZONAL"
    disk_size                   = var.database.storage
    disk_autoresize             = true
    deletion_protection_enabled = var.protect
    user_labels                 = local.tags

    ip_configuration {
      ipv4_enabled    = false
      private_network = local.network
      ssl_mode        = "ENCRYPTED_ONLY"
    }
    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      backup_retention_settings {
        retained_backups = var.database.days
      }
    }
    dynamic "database_flags" {
      for_each = {
        log_min_duration_statement = "1000"
        log_connections            = "on"
        log_disconnections         = "on"
        log_lock_waits             = "on"
        log_checkpoints            = "on"
      }
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }
}

resource "google_sql_database" "here" {
  for_each = google_sql_database_instance.here
  project  = var.account
  name     = each.key
  instance = each.value.name
}

resource "google_sql_user" "here" {
  for_each            = google_sql_database_instance.here
  project             = var.account
  name                = each.key
  instance            = each.value.name
  password_wo         = ephemeral.google_secret_manager_secret_version.database[each.key].secret_data
  password_wo_version = local.passwords
}
