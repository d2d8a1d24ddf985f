# A first region on Google Cloud, in a project that is there.
#
# Written from the provider's documentation and never applied: docs/terraform.md says what was checked.

terraform {
  required_version = ">= 1.11"
  # State names everything that there is: keep it where your team can reach it, and nobody else, encrypted and with a lock.
}

variable "account" {
  type        = string
  description = "Id of the Google project"
}

variable "region" {
  type    = string
  default = "europe-west4"
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

provider "google" {
  project               = var.account
  region                = var.region
  user_project_override = true # for the budget
  billing_project       = var.account
}

module "groundplan" {
  source  = "../../modules/groundplan-gcp"
  name    = "groundplan-small"
  account = var.account
  region  = var.region
  tag     = var.tag

  nodes = {
    ondemand = { machines = ["e2-standard-2"], least = 2, most = 4 }
    spot     = { machines = ["e2-standard-4"], spot = true, most = 4 }
  }
  database = { machine = "db-custom-2-7680", storage = 32, standby = false, days = 7 }
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
