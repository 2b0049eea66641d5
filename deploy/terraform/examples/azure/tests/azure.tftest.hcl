# The providers' schemas are those of the stand-ins in tests/kube/tofu-providers, and their answers are mocked.
mock_provider "azurerm" {}
mock_provider "helm" {
  alias = "germanywestcentral"
}
mock_provider "kubernetes" {
  alias = "germanywestcentral"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}
mock_provider "helm" {
  alias = "westeurope"
}
mock_provider "kubernetes" {
  alias = "westeurope"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}

variables {
  domain         = "ml.example.org"
  backup_writers = ["postgres/features"]
  dns_zone       = "ml.example.org"
  clusters = {
    "germanywestcentral" = { context = "germanywestcentral", oidc_issuer = "https://oidc.example/germanywestcentral", resource_group = "ml-germanywestcentral", key_vault_id = "/vaults/germanywestcentral" }
    "westeurope"         = { context = "westeurope", oidc_issuer = "https://oidc.example/westeurope", resource_group = "ml-westeurope", key_vault_id = "/vaults/westeurope" }
  }
}

run "each_region_has_its_own" {
  command = apply
  assert {
    condition     = length(distinct(values(output.backups))) == 2
    error_message = "two regions share a place for backups: ${jsonencode(output.backups)}"
  }
  assert {
    condition     = alltrue([for name in keys(module.cloud_germanywestcentral.service_account_annotations) : strcontains(name, "recovery")])
    error_message = "somebody reads backups who need not"
  }
  assert {
    condition     = contains(keys(module.cloud_germanywestcentral.identities), "postgres/features")
    error_message = "the store that writes backups has no identity"
  }
}
