# The facts, said in Groundplan's own words.

locals {
  store    = "s3://${aws_s3_bucket.store.id}/${var.prefix}"
  registry = trimsuffix(aws_ecr_repository.image["groundplan"].repository_url, "/groundplan")
}

module "words" {
  source   = "../groundplan-values"
  cloud    = "aws"
  store    = { url = local.store, region = var.region }
  landing  = var.landing
  registry = local.registry
  tag      = var.tag
  nodes    = local.chosen
  grid     = var.grid
  settings = var.settings
  service  = var.service

  previews_url = var.previews_url
  results_url  = var.service ? "postgresql://${aws_db_instance.here["results"].address}/results" : ""

  identities = { for name in ["run", "dagster", "previews", "serve", "work", "relay"] : name => aws_iam_role.account[name].arn if contains(keys(var.accounts), name) }
  queues = {
    arrivals      = aws_sqs_queue.here["arrivals"].url
    arrivals_dead = aws_sqs_queue.dead["arrivals"].url
    work          = try(aws_sqs_queue.here["work"].url, "")
    events        = try(aws_sqs_queue.here["events"].url, "")
  }
  database = { host = aws_db_instance.here["dagster"].address }
  vault = {
    store    = var.secret_store
    database = aws_db_instance.here["dagster"].master_user_secret[0].secret_arn
    results  = try(aws_db_instance.here["results"].master_user_secret[0].secret_arn, "")
    property = "password"
  }
}
