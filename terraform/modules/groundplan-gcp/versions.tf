# Groundplan on Google Cloud: store, databases, registries, cluster, identities. Ends where the chart begins: outputs.tf.
#
# Never applied, nor validated by its provider: docs/terraform.md says what was checked of it instead. Passwords are made
# and handed on without lying in the state (write-only arguments), which takes Terraform 1.11 or OpenTofu 1.11.

terraform {
  required_version = ">= 1.11"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.40, < 8"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7, < 4"
    }
  }
}

data "google_project" "here" {
  project_id = var.account
}

data "google_storage_project_service_account" "store" {
  project = var.account
}
