# Who may do what. Rights are written down by process, as folders that it reads, writes and removes from; an identity is
# made for each of the chart's accounts. Azure's built-in roles are for whole containers: conditions bind them to folders.

locals {
  all    = ["${var.prefix}/*"]
  pushed = var.push_url == "" ? [] : ["arrivals/pushed/*"] # serve keeps what Event Grid tells until runs look
  rights = {
    run      = { read = local.all, write = local.all, remove = local.all }
    web      = { read = ["${var.prefix}/logs/storage/*"], write = [], remove = [] }
    daemon   = { read = ["${var.prefix}/logs/storage/*"], write = ["${var.prefix}/logs/storage/*"], remove = [] }
    previews = { read = local.all, write = [], remove = [] }
    serve = {
      read   = local.all
      write  = [for folder in concat(["inbox/uploads/*", "jobs/*", "reviews/*", "models/*/*.json", "doctor/*"], local.pushed) : "${var.prefix}/${folder}"]
      remove = ["${var.prefix}/jobs/*", "${var.prefix}/doctor/*"]
    }
    work = {
      read   = local.all
      write  = [for folder in ["images/*", "analyses/*", "models/*/*.json", "doctor/*"] : "${var.prefix}/${folder}"]
      remove = ["${var.prefix}/inbox/*", "${var.prefix}/doctor/*"]
    }
    relay = { read = [], write = [], remove = [] } # the database, and whom it tells
  }
  hidden = { # what came: none of their business
    previews = ["${var.prefix}/landing/*", "${var.prefix}/inbox/*"]
    serve    = ["${var.prefix}/landing/*"]
    work     = ["${var.prefix}/landing/*"]
  }
  granted = { for account, processes in var.accounts : account => {
    read   = distinct(flatten([for process in processes : local.rights[process].read]))
    write  = distinct(flatten([for process in processes : local.rights[process].write]))
    remove = distinct(flatten([for process in processes : local.rights[process].remove]))
    hidden = contains(processes, "run") ? [] : distinct(flatten([for process in processes : try(local.hidden[process], [])]))
  } }
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
  path  = "@Resource[${local.blobs}:path]"
  # of each account and action: it is not this action, or the blob lies where that may be
  conditions = { for account, may in local.granted : account => join(" AND ", [for action, folders in {
    "read"       = may.read
    "write"      = may.write
    "add/action" = may.write
    "delete"     = may.remove
    } : format(
    "(!(ActionMatches{'%s/%s'}%s) OR (%s))",
    local.blobs, action, action == "read" ? " AND NOT SubOperationMatches{'Blob.List'}" : "",
    length(folders) == 0 ? "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'nowhere'" : join(" AND ", concat(
      ["(${join(" OR ", [for folder in folders : "${local.path} StringLike '${folder}'"])})"],
      [for folder in action == "read" ? may.hidden : [] : "${local.path} StringNotLike '${folder}'"],
    ))
  )]) }
}

resource "azurerm_user_assigned_identity" "account" {
  for_each            = var.accounts
  name                = "${var.name}-${each.key}"
  resource_group_name = data.azurerm_resource_group.here.name
  location            = var.region
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "account" {
  for_each            = var.accounts
  name                = "groundplan-${each.key}"
  resource_group_name = data.azurerm_resource_group.here.name
  parent_id           = azurerm_user_assigned_identity.account[each.key].id
  issuer              = local.issuer
  subject             = "system:serviceaccount:${var.namespace}:groundplan-${each.key}"
  audience            = ["api://AzureADTokenExchange"]
}

resource "azurerm_role_assignment" "account" {
  for_each             = { for account, may in local.granted : account => may if length(concat(may.read, may.write, may.remove)) > 0 }
  scope                = azurerm_storage_container.store.id
  role_definition_name = length(concat(local.granted[each.key].write, local.granted[each.key].remove)) > 0 ? "Storage Blob Data Contributor" : "Storage Blob Data Reader"
  principal_id         = azurerm_user_assigned_identity.account[each.key].principal_id
  condition_version    = "2.0"
  condition            = local.conditions[each.key]
}

# what others deliver into containers of this storage account
resource "azurerm_role_assignment" "landing" {
  for_each             = toset([for url in var.landing : split("/", trimprefix(url, "az://"))[0]])
  scope                = "${azurerm_storage_account.store.id}/blobServices/default/containers/${each.key}"
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = azurerm_user_assigned_identity.account["run"].principal_id
}

# --- External Secrets reads the passwords

resource "azurerm_user_assigned_identity" "secrets" {
  name                = "${var.name}-secrets"
  resource_group_name = data.azurerm_resource_group.here.name
  location            = var.region
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "secrets" {
  name                = "external-secrets"
  resource_group_name = data.azurerm_resource_group.here.name
  parent_id           = azurerm_user_assigned_identity.secrets.id
  issuer              = local.issuer
  subject             = "system:serviceaccount:external-secrets:external-secrets"
  audience            = ["api://AzureADTokenExchange"]
}

resource "azurerm_role_assignment" "secrets" {
  for_each             = azurerm_key_vault_secret.database
  scope                = each.value.resource_versionless_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.secrets.principal_id
}
