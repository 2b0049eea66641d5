# The provider's schema is that of the stand-in in tests/kube/tofu-providers, and its answers are mocked: no subscription is asked.
mock_provider "azurerm" {
  mock_resource "azurerm_storage_account" {
    defaults = { primary_blob_endpoint = "https://mw.blob.example/" }
  }
}

variables {
  name             = "midwatch-eu"
  resource_group   = "ml"
  location         = "westeurope"
  oidc_issuer      = "https://oidc.example/id/"
  key_vault_id     = "/vaults/ml"
  service_accounts = ["midwatch-drills"]
  backup_writers   = ["postgres/features"]
}

run "nothing_can_be_deleted_before_its_time" {
  assert {
    condition = alltrue([
      azurerm_storage_account.backups.blob_properties[0].versioning_enabled,
      azurerm_storage_container_immutability_policy.backups.locked,
      azurerm_storage_container_immutability_policy.backups.immutability_period_in_days == 35,
      !azurerm_storage_account.backups.allow_nested_items_to_be_public,
      !azurerm_storage_account.backups.shared_access_key_enabled,
    ])
    error_message = "the container is not versioned, not locked, or open to keys and to the public"
  }
  assert {
    condition     = can(regex("^[a-z0-9]{3,24}$", azurerm_storage_account.backups.name))
    error_message = "the name of the storage account is refused by the cloud: ${azurerm_storage_account.backups.name}"
  }
  assert {
    condition     = output.backup_url == "https://mw.blob.example/midwatch-eu-backups"
    error_message = "backups are elsewhere: ${output.backup_url}"
  }
}

run "each_account_has_an_identity_of_its_own_and_only_what_it_needs" {
  assert {
    condition     = azurerm_federated_identity_credential.account["midwatch/midwatch-drills"].subject == "system:serviceaccount:midwatch:midwatch-drills"
    error_message = "somebody else may use the identity"
  }
  assert {
    condition     = azurerm_role_assignment.account["midwatch/midwatch-drills"].role_definition_name == "Storage Blob Data Reader"
    error_message = "a drill may write backups"
  }
  assert {
    condition     = output.pod_labels["azure.workload.identity/use"] == "true"
    error_message = "pods are not given the identity's token"
  }
}

run "a_name_outside_of_the_zone_is_refused" {
  command = plan
  variables {
    gate_name    = "gate.example.org"
    gate_address = "192.0.2.10"
    dns_zone     = "example.net"
  }
  expect_failures = [azurerm_dns_a_record.gate]
}
