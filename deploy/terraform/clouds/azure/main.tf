# What a plane needs of Azure: a container of which nothing can be deleted before its time, a key, an identity for each that
# reads or writes backups, a name for the gate, and an Azure Monitor workspace.

locals {
  readers = { for name in var.service_accounts : "${var.namespace}/${name}" => "Storage Blob Data Reader" }
  writers = { for one in var.backup_writers : one => "Storage Blob Data Contributor" }
  access  = merge(local.readers, local.writers)

  identities = { for account, made in azurerm_user_assigned_identity.account : account => made.client_id }
  backup_url = "${azurerm_storage_account.backups.primary_blob_endpoint}${azurerm_storage_container.backups.name}"
  key        = azurerm_key_vault_key.backups.id
  # Its address is made of a data collection rule's own number, which the workspace's page shows: nothing here knows it.
  remote_write_url = null
  pod_labels       = { "azure.workload.identity/use" = "true" }
  service_account_annotations = {
    for name in var.service_accounts : name => { "azure.workload.identity/client-id" = local.identities["${var.namespace}/${name}"] }
  }
}

resource "azurerm_key_vault_key" "backups" {
  name         = "${var.name}-backups"
  key_vault_id = var.key_vault_id
  key_type     = "RSA"
  key_size     = 3072
  key_opts     = ["wrapKey", "unwrapKey"]
  tags         = var.tags
  rotation_policy {
    automatic {
      time_after_creation = "P90D"
    }
  }
}

# The storage account's own identity, which may use the key.
resource "azurerm_user_assigned_identity" "storage" {
  name                = "${var.name}-storage"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "storage" {
  scope                = var.key_vault_id
  role_definition_name = "Key Vault Crypto Service Encryption User"
  principal_id         = azurerm_user_assigned_identity.storage.principal_id
}

resource "azurerm_storage_account" "backups" {
  # 24 letters and digits, unique in the world.
  name                            = "mw${substr(sha1("${var.resource_group}/${var.name}"), 0, 22)}"
  resource_group_name             = var.resource_group
  location                        = var.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  allow_nested_items_to_be_public = false
  shared_access_key_enabled       = false
  tags                            = var.tags
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.storage.id]
  }
  customer_managed_key {
    key_vault_key_id          = azurerm_key_vault_key.backups.versionless_id
    user_assigned_identity_id = azurerm_user_assigned_identity.storage.id
  }
  blob_properties {
    versioning_enabled = true
    delete_retention_policy {
      days = min(365, var.locked_days)
    }
  }
  depends_on = [azurerm_role_assignment.storage]
}

resource "azurerm_storage_container" "backups" {
  name                  = "${var.name}-backups"
  storage_account_id    = azurerm_storage_account.backups.id
  container_access_type = "private"
}

# Locked: nobody shortens it again.
resource "azurerm_storage_container_immutability_policy" "backups" {
  storage_container_resource_manager_id = azurerm_storage_container.backups.id
  immutability_period_in_days           = var.locked_days
  locked                                = true
}

resource "azurerm_user_assigned_identity" "account" {
  for_each            = local.access
  name                = "${var.name}-${replace(each.key, "/", "-")}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "account" {
  for_each            = local.access
  name                = replace(each.key, "/", "-")
  resource_group_name = var.resource_group
  parent_id           = azurerm_user_assigned_identity.account[each.key].id
  issuer              = var.oidc_issuer
  audience            = ["api://AzureADTokenExchange"]
  subject             = "system:serviceaccount:${replace(each.key, "/", ":")}"
}

resource "azurerm_role_assignment" "account" {
  for_each             = local.access
  scope                = azurerm_storage_container.backups.id
  role_definition_name = each.value
  principal_id         = azurerm_user_assigned_identity.account[each.key].principal_id
}

resource "azurerm_dns_a_record" "gate" {
  count               = var.gate_name != "" ? 1 : 0
  name                = trimsuffix(var.gate_name, ".${var.dns_zone}")
  zone_name           = var.dns_zone
  resource_group_name = var.resource_group
  ttl                 = 60
  records             = [var.gate_address]
  lifecycle {
    precondition {
      condition     = endswith(var.gate_name, ".${var.dns_zone}") && can(regex("^[0-9.]+$", var.gate_address))
      error_message = "gate_name lies in dns_zone, and gate_address is an IP address: give the plane's gate_service the type LoadBalancer, and pass its gate_address."
    }
  }
}

resource "azurerm_monitor_workspace" "metrics" {
  count               = var.monitoring_workspace ? 1 : 0
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}
