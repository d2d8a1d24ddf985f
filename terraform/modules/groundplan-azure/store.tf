# The storage account: nothing public, no account keys, a removed blob is there for some days yet, and events by push.

resource "azurerm_storage_account" "store" {
  name                            = local.plain
  resource_group_name             = data.azurerm_resource_group.here.name
  location                        = var.region
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  allow_nested_items_to_be_public = false
  default_to_oauth_authentication = true
  tags                            = local.tags
  depends_on                      = [azurerm_role_assignment.store]

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.store.id]
  }
  customer_managed_key {
    key_vault_key_id          = azurerm_key_vault_key.store.versionless_id
    user_assigned_identity_id = azurerm_user_assigned_identity.store.id
  }
  blob_properties {
    versioning_enabled = true
    delete_retention_policy {
      days = var.keep.versions
    }
    container_delete_retention_policy {
      days = var.keep.versions
    }
  }
  lifecycle {
    ignore_changes = [customer_managed_key[0].key_vault_key_id] # the newest version, as keys rotate
  }
}

resource "azurerm_storage_container" "store" {
  name                  = "store"
  storage_account_id    = azurerm_storage_account.store.id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "store" {
  storage_account_id = azurerm_storage_account.store.id

  rule {
    name    = "replaced"
    enabled = true
    filters {
      blob_types = ["blockBlob"]
    }
    actions {
      version {
        delete_after_days_since_creation = var.keep.versions
      }
    }
  }

  rule {
    name    = "what-pods-printed"
    enabled = true
    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["store/${var.prefix}/logs/storage/"]
    }
    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = var.keep.logs
      }
    }
  }
}

resource "azurerm_eventgrid_system_topic" "store" {
  count               = var.push_url == "" ? 0 : 1
  name                = var.name
  resource_group_name = data.azurerm_resource_group.here.name
  location            = var.region
  source_resource_id  = azurerm_storage_account.store.id
  topic_type          = "Microsoft.Storage.StorageAccounts"
  tags                = local.tags
}

# what arrives in inbox/; sheets in landing/ are found by the sensor's listings
resource "azurerm_eventgrid_system_topic_event_subscription" "images" {
  count                 = var.push_url == "" ? 0 : 1
  name                  = "images"
  resource_group_name   = data.azurerm_resource_group.here.name
  system_topic          = azurerm_eventgrid_system_topic.store[0].name
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = ["Microsoft.Storage.BlobCreated"]
  subject_filter {
    subject_begins_with = "/blobServices/default/containers/store/blobs/${var.prefix}/inbox/"
  }
  webhook_endpoint {
    url = "${trimsuffix(var.push_url, "/")}/v1/arrivals/event-grid?token=${var.push_token}"
  }
  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.store.id
    storage_blob_container_name = azurerm_storage_container.dead[0].name
  }
}

resource "azurerm_storage_container" "dead" {
  count                 = var.push_url == "" ? 0 : 1
  name                  = "dead"
  storage_account_id    = azurerm_storage_account.store.id
  container_access_type = "private"
}
