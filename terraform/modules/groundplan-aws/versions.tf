# Groundplan on AWS: store, queues, databases, registries, cluster, identities. Ends where the chart begins: outputs.tf.
#
# Both Terraform and OpenTofu take it.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 6"
    }
  }
}

data "aws_caller_identity" "who" {}
data "aws_partition" "here" {}
