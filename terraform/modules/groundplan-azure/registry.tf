# The registry of images. Azure cannot say for a whole registry that tags never move: `az acr repository update --image
# groundplan:TAG --write-enabled false` says it for one, after its push (docs/terraform.md).

resource "azurerm_container_registry" "own" {
  name                     = local.plain
  resource_group_name      = data.azurerm_resource_group.here.name
  location                 = var.region
  sku                      = "Premium"
  admin_enabled            = false
  anonymous_pull_enabled   = false
  retention_policy_in_days = 14 # of what no tag names
  tags                     = local.tags
  depends_on               = [terraform_data.asked]
}
