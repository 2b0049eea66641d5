# The providers' schemas are those of the stand-ins in tests/kube/tofu-providers, and their answers are mocked.
mock_provider "aws" {
  alias = "eu_central_1"
}
mock_provider "helm" {
  alias = "eu_central_1"
}
mock_provider "kubernetes" {
  alias = "eu_central_1"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}
mock_provider "aws" {
  alias = "eu_west_1"
}
mock_provider "helm" {
  alias = "eu_west_1"
}
mock_provider "kubernetes" {
  alias = "eu_west_1"
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}

variables {
  domain         = "ml.example.org"
  backup_writers = ["postgres/features"]
  gate_zone_id   = "Z1"
  clusters = {
    "eu-central-1" = { context = "eu-central-1", oidc_provider_arn = "arn:aws:iam::1:oidc-provider/eu-central-1", oidc_issuer = "oidc.example/eu-central-1" }
    "eu-west-1"    = { context = "eu-west-1", oidc_provider_arn = "arn:aws:iam::1:oidc-provider/eu-west-1", oidc_issuer = "oidc.example/eu-west-1" }
  }
}

run "each_region_has_its_own" {
  command = apply
  assert {
    condition     = length(distinct(values(output.backups))) == 2
    error_message = "two regions share a place for backups: ${jsonencode(output.backups)}"
  }
  assert {
    condition     = alltrue([for name in keys(module.cloud_eu_central_1.service_account_annotations) : strcontains(name, "recovery")])
    error_message = "somebody reads backups who need not"
  }
  assert {
    condition     = contains(keys(module.cloud_eu_central_1.identities), "postgres/features")
    error_message = "the store that writes backups has no identity"
  }
}
