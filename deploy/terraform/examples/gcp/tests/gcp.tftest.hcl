# The providers' schemas are those of the stand-ins in tests/kube/tofu-providers, and their answers are mocked.
mock_provider "google" {}
mock_provider "helm" {
  alias = "europe_west3"
}
mock_provider "kubernetes" {
  alias = "europe_west3"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}
mock_provider "helm" {
  alias = "europe_west4"
}
mock_provider "kubernetes" {
  alias = "europe_west4"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}

variables {
  domain         = "ml.example.org"
  backup_writers = ["postgres/features"]
  dns_zone       = "ml"
  project        = "ml"
  clusters = {
    "europe-west3" = { context = "europe-west3" }
    "europe-west4" = { context = "europe-west4" }
  }
}

run "each_region_has_its_own" {
  command = apply
  assert {
    condition     = length(distinct(values(output.backups))) == 2
    error_message = "two regions share a place for backups: ${jsonencode(output.backups)}"
  }
  assert {
    condition     = alltrue([for name in keys(module.cloud_europe_west3.service_account_annotations) : strcontains(name, "recovery")])
    error_message = "somebody reads backups who need not"
  }
  assert {
    condition     = contains(keys(module.cloud_europe_west3.identities), "postgres/features")
    error_message = "the store that writes backups has no identity"
  }
}
