# Names that several files use, and what is checked before anything is made.

locals {
  account   = data.aws_caller_identity.who.account_id
  partition = data.aws_partition.here.partition
  bucket    = "${var.name}-${local.account}"
  tags      = merge(var.tags, { groundplan = var.name })
  pools     = { for name, group in var.nodes : name => group.spot ? "spot" : name }
}

resource "terraform_data" "asked" {
  lifecycle {
    precondition {
      condition     = local.account == var.account
      error_message = "These credentials are of account ${local.account}, and this installation is for ${var.account}. Take those of ${var.account}."
    }
    precondition {
      condition     = var.push_url == ""
      error_message = "AWS tells of what arrived by queues, and pushes nowhere. Leave push_url empty."
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
