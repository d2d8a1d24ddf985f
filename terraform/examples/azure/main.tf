# A first region on Azure, in a resource group that is there.
#
# Written from the provider's documentation and never applied: docs/terraform.md says what was checked.

terraform {
  required_version = ">= 1.11"
  # State names everything that there is: keep it where your team can reach it, and nobody else, encrypted and with a lock.
}

variable "account" {
  type        = string
  description = "SUBSCRIPTION/RESOURCE_GROUP"
}

variable "region" {
  type    = string
  default = "westeurope"
}

variable "mail" {
  type        = list(string)
  description = "Who is told when the month's money is nearly spent"
}

variable "tag" {
  type        = string
  default     = "0.1.0"
  description = "Of both images, as you will push them"
}

provider "azurerm" {
  subscription_id     = split("/", var.account)[0]
  storage_use_azuread = true # the storage account knows no keys
  features {}
}

module "groundplan" {
  source  = "../../modules/groundplan-azure"
  name    = "groundplan-small"
  account = var.account
  region  = var.region
  tag     = var.tag

  package_index = false # Azure's belongs to Azure DevOps

  nodes = {
    ondemand = { machines = ["Standard_D2s_v5"], least = 2, most = 4 }
    spot     = { machines = ["Standard_D4s_v5"], spot = true, most = 4 }
  }
  database = { machine = "GP_Standard_D2ds_v5", storage = 32, standby = false, days = 7 }
  grid     = { crs = "EPSG:28992", resolution = 0.25, block_size = 4096, origin = [0, 625000] }
  settings = { model = { minutes = 60 } }
  budget   = { amount = 300, mail_to = var.mail }
}

output "values" { value = module.groundplan.values }
output "store" { value = module.groundplan.store }
output "settings" { value = module.groundplan.settings }
output "environment" { value = module.groundplan.environment }
output "queues" { value = module.groundplan.queues }
output "databases" { value = module.groundplan.databases }
output "registry" { value = module.groundplan.registry }
output "package_index" { value = module.groundplan.package_index }
output "identities" { value = module.groundplan.identities }
output "operators" { value = module.groundplan.operators }
output "cluster" { value = module.groundplan.cluster }
