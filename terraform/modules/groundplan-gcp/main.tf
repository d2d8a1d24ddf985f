# Names that several files use, and what is checked before anything is made.

locals {
  tags = merge(var.tags, { groundplan = var.name })
}

resource "terraform_data" "asked" {
  lifecycle {
    precondition {
      condition     = var.push_url == "" || var.push_token != ""
      error_message = "Google pushes what arrived to push_url, and serve lets nobody in without a token. Set push_token."
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
