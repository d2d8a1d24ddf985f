# A word by mail when the month's money is nearly spent, and when more is expected to be. It stops nothing.

resource "google_monitoring_notification_channel" "mail" {
  for_each     = toset(var.budget.mail_to)
  project      = var.account
  display_name = "Groundplan ${var.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_billing_budget" "month" {
  billing_account = data.google_project.here.billing_account
  display_name    = var.name
  budget_filter {
    projects = ["projects/${data.google_project.here.number}"]
    labels   = { groundplan = var.name }
  }
  amount {
    specified_amount {
      units = tostring(floor(var.budget.amount)) # in the currency of the billing account
    }
  }
  threshold_rules {
    threshold_percent = 0.8
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }
  all_updates_rule {
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.mail : channel.id]
  }
}
