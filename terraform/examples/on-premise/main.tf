# Machines of one's own: Terraform makes nothing here, and says the same facts in the same words. No provider is needed.
#
#   terraform init && terraform apply
#   terraform output -raw values > values.yaml
#
# A bucket of an S3 server, PostgreSQL on a host, passwords and keys in a vault that External Secrets reads.

terraform {
  required_version = ">= 1.6"
}

module "groundplan" {
  source   = "../../modules/groundplan-values"
  cloud    = "none"
  store    = { url = "s3://imagery/groundplan", endpoint = "https://s3.intranet:8443", region = "us-east-1" }
  database = { host = "postgres.intranet", port = 5433, name = "groundplan", user = "groundplan" }
  vault = {
    store    = "vault"
    database = "groundplan/database"
    property = "password"
    keys = {
      AWS_ACCESS_KEY_ID     = { key = "groundplan/s3", property = "id" }
      AWS_SECRET_ACCESS_KEY = { key = "groundplan/s3", property = "secret" }
    }
  }
  registry = "registry.intranet:5000"
  tag      = "0.1.0"
  nodes = { # kubectl label node NAME groundplan/pool=spot; kubectl taint node NAME groundplan/pool=spot:NoSchedule
    ondemand = { selector = { "groundplan/pool" = "ondemand" }, tolerations = [] }
    spot = {
      selector    = { "groundplan/pool" = "spot" }
      tolerations = [{ key = "groundplan/pool", operator = "Equal", value = "spot", effect = "NoSchedule" }]
    }
  }
  grid     = { crs = "EPSG:25832", resolution = 0.2, block_size = 8192, origin = [280000, 6110000] }
  settings = { imagery = { uint16_range = [120, 3400.5], resampling = "lanczos" } }
}

output "values" { value = module.groundplan.values }
output "settings" { value = module.groundplan.settings }
