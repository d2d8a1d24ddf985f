# A country on AWS: hundreds of regions, a stand-by database, many spot nodes, maps, single images, GPUs when wanted.
#
#   terraform init && terraform apply -var account=123456789012 -var 'mail=["you@example.org"]'
#   terraform output -raw values > values.yaml

terraform {
  required_version = ">= 1.6"
  # State names everything that there is: keep it where your team can reach it, and nobody else, encrypted and with a lock.
  # backend "s3" {
  #   bucket = "your-terraform-state"
  #   key    = "groundplan-country"
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

variable "maps" {
  type        = string
  description = "Address at which browsers will reach the maps, as https://maps.example.org"
}

variable "landing" {
  type        = list(string)
  default     = []
  description = "Buckets of suppliers that runs may read: s3://supplier/2024"
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
}

module "groundplan" {
  source   = "../../modules/groundplan-aws"
  name     = "groundplan-country"
  account  = var.account
  region   = var.region
  tag      = var.tag
  api_from = [] # the API is reached out of the cluster's network alone: by a VPN, or a machine in it

  nodes = {
    ondemand = { machines = ["m6i.xlarge"], least = 3, most = 8 }
    spot = {
      machines = ["m6i.2xlarge", "m6a.2xlarge", "m5.2xlarge", "m5a.2xlarge", "m7i.2xlarge"]
      spot     = true
      most     = 60
      disk     = 200
    }
    gpu = { machines = ["g5.4xlarge"], spot = true, gpu = true, most = 4, disk = 200 }
  }
  database     = { machine = "db.m6g.xlarge", storage = 200, standby = true, days = 30 }
  service      = true
  previews_url = var.maps
  landing      = var.landing
  grid         = { crs = "EPSG:28992", resolution = 0.08, block_size = 8192, origin = [0, 625000] }
  settings     = { imagery = { quality = 85 }, model = { minutes = 240 } }
  keep         = { versions = 60, logs = 180 }
  budget       = { amount = 15000, mail_to = var.mail }
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
