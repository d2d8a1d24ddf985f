# Groundplan on Azure: store, databases, registry, cluster, identities. Ends where the chart begins: outputs.tf.
#
# Never applied, nor validated by its provider: docs/terraform.md says what was checked of it instead. Passwords are made
# and handed on without lying in the state (write-only arguments), which takes Terraform 1.11 or OpenTofu 1.11.

terraform {
  required_version = ">= 1.11"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.30, < 5"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7, < 4"
    }
  }
}

data "azurerm_client_config" "who" {}

data "azurerm_resource_group" "here" {
  name = local.group
}
