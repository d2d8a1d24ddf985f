# A first region on AWS: one database without a stand-by, a few nodes, nothing but batches.
#
#   terraform init && terraform apply -var account=123456789012 -var 'mail=["you@example.org"]'
#   terraform output -raw values > values.yaml

terraform {
  required_version = ">= 1.6"
  # State names everything that there is: keep it where your team can reach it, and nobody else, encrypted and with a lock.
  # backend "s3" {
  #   bucket = "your-terraform-state"
  #   key    = "groundplan-small"
  #   region = "eu-west-1"
  # }
}

variable "account" {
  type        = string
  description = "Number of the AWS account"
}

variable "region" {
  type    = string
  default = "eu-west-1"
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

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
}

module "groundplan" {
  source   = "../../modules/groundplan-aws"
  name     = "groundplan-small"
  account  = var.account
  region   = var.region
  tag      = var.tag
  api_from = [] # the API is reached out of the cluster's network alone: by a VPN, or a machine in it

  nodes = {
    ondemand = { machines = ["m6i.large"], least = 2, most = 4 }
    spot     = { machines = ["m6i.xlarge", "m6a.xlarge", "m5.xlarge"], spot = true, most = 4 }
  }
  database = { machine = "db.t4g.medium", storage = 20, standby = false, days = 7 }
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
