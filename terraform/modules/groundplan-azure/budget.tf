# A word by mail when the month's money is nearly spent, and when more is expected to be. It stops nothing.

resource "azurerm_consumption_budget_resource_group" "month" {
  name              = var.name
  resource_group_id = data.azurerm_resource_group.here.id
  amount            = var.budget.amount
  time_grain        = "Monthly"

  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00Z", timestamp())
  }
  filter {
    tag {
      name   = "groundplan"
      values = [var.name]
    }
  }
  dynamic "notification" {
    for_each = { Actual = 80, Forecasted = 100 }
    content {
      threshold_type = notification.key
      threshold      = notification.value
      operator       = "GreaterThan"
      contact_emails = var.budget.mail_to
    }
  }
  lifecycle {
    ignore_changes = [time_period] # of the month in which it was made
  }
}
