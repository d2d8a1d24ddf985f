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
  value       = { AWS_REGION = var.region, AWS_DEFAULT_REGION = var.region }
}

output "queues" {
  description = "Of what arrives, of work and of events; empty where there are none"
  value = {
    arrivals      = aws_sqs_queue.here["arrivals"].url
    arrivals_dead = aws_sqs_queue.dead["arrivals"].url
    work          = try(aws_sqs_queue.here["work"].url, "")
    events        = try(aws_sqs_queue.here["events"].url, "")
  }
}

output "databases" {
  description = "Host of each PostgreSQL, and where its password lies"
  value = { for name, database in aws_db_instance.here : name => {
    host   = database.address
    secret = database.master_user_secret[0].secret_arn
  } }
}

output "registry" {
  description = "What stands before /groundplan and /groundplan-train in the names of the images"
  value       = local.registry
}

output "package_index" {
  description = "Index of Python packages; empty: none"
  value       = var.package_index ? "${aws_codeartifact_domain.own[0].domain}/${aws_codeartifact_repository.python[0].repository}" : ""
}

output "identities" {
  description = "Who each of the chart's accounts is to the cloud"
  value       = { for name, role in aws_iam_role.account : name => role.arn }
}

output "operators" {
  description = "Who the cluster's own operators are to the cloud: secrets (External Secrets), scaler"
  value       = { for name, role in aws_iam_role.operator : name => role.arn }
}

output "cluster" {
  description = "Name of the cluster"
  value       = local.cluster.name
}
