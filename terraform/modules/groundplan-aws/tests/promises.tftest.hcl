# What the module promises of a plan, with a mocked provider: `terraform test` in this module's folder.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["a", "b", "c"] }
  }
}

variables {
  name     = "try"
  account  = "123456789012"
  region   = "eu-west-1"
  tag      = "1"
  nodes    = { ondemand = { machines = ["m6i.large"], most = 2 }, spot = { machines = ["m6i.large", "m5.large"], spot = true, most = 3 } }
  database = { machine = "db.t4g.medium" }
  grid     = { crs = "EPSG:28992", resolution = 0.25, block_size = 4096, origin = [0, 0] }
  budget   = { amount = 10, mail_to = ["a@example.org"] }
}

run "closed_and_kept" {
  command = plan

  assert {
    condition     = aws_s3_bucket_public_access_block.store.restrict_public_buckets && aws_s3_bucket_versioning.store.versioning_configuration[0].status == "Enabled"
    error_message = "The bucket must be closed, and keep versions."
  }
  assert {
    condition     = alltrue([for database in aws_db_instance.here : database.storage_encrypted && !database.publicly_accessible && database.deletion_protection && database.manage_master_user_password])
    error_message = "Databases must be encrypted, private and protected, with a password that AWS keeps."
  }
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.image : repository.image_tag_mutability == "IMMUTABLE"])
    error_message = "Tags of images must not move."
  }
  assert {
    condition     = !aws_eks_cluster.own[0].vpc_config[0].endpoint_public_access
    error_message = "The cluster's API must be private where nobody is named."
  }
  assert {
    condition     = length(aws_eks_node_group.here["spot"].taint) == 1 && length(aws_eks_node_group.here["ondemand"].taint) == 0
    error_message = "Spot nodes must have a taint, and others none."
  }
  assert {
    condition     = keys(aws_sqs_queue.here) == ["arrivals"] && keys(aws_db_instance.here) == ["dagster"]
    error_message = "Without the service there is no queue of work and no database of results."
  }
}

run "a_wrong_account_makes_nothing" {
  command = plan
  variables {
    account = "999999999999"
  }
  expect_failures = [terraform_data.asked]
}

run "aws_pushes_nowhere" {
  command = plan
  variables {
    push_url = "https://example.org"
  }
  expect_failures = [terraform_data.asked]
}
