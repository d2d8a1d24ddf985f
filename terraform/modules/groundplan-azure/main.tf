# Names that several files use, and what is checked before anything is made.

locals {
  group = split("/", "${var.account}/")[1]
  plain = replace(var.name, "-", "") # storage accounts and registries know no hyphen
  tags  = merge(var.tags, { groundplan = var.name })
}

resource "terraform_data" "asked" {
  lifecycle {
    precondition {
      condition     = "${data.azurerm_client_config.who.subscription_id}/${data.azurerm_resource_group.here.name}" == var.account
      error_message = "This log-in is at subscription ${data.azurerm_client_config.who.subscription_id}, and this installation is for ${var.account}. Choose that subscription."
    }
    precondition {
      condition     = var.push_url == "" || var.push_token != ""
      error_message = "Azure pushes what arrived to push_url, and serve lets nobody in without a token. Set push_token."
    }
    precondition {
      condition     = length(var.landing) == 0 || alltrue([for url in var.landing : startswith(url, "az://")])
      error_message = "Runs here read az:// containers of the same storage account. Bring other sheets there first."
    }
    precondition {
      condition     = !var.package_index
      error_message = "An index of Python packages belongs to Azure DevOps, which this does not manage. Set package_index = false."
    }
    precondition {
      condition     = var.previews_url == "" || contains(keys(var.accounts), "previews")
      error_message = "previews_url asks for maps, and no account has the rights of previews."
    }
    precondition {
      condition     = !var.service || length(setsubtract(["serve", "work", "relay"], keys(var.accounts))) == 0
      error_message = "service needs the accounts serve, work and relay."
    }
  }
}
