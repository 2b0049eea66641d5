# A plane in each of two regions of AWS: each with its own bucket, key and identities, so that one region that is lost
# takes nothing of the other's with it. Midwatch renders the files in build/ from each region's platform file:
#   midwatch render --target helm -f platform.yaml -f overlays/REGION.yaml -o build/REGION

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws        = { source = "hashicorp/aws", version = ">= 5.0" }
    helm       = { source = "hashicorp/helm", version = ">= 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = ">= 2.30" }
  }
}

variable "clusters" {
  description = "The cluster of each region: context of the kubeconfig, and its OpenID Connect provider."
  type = map(object({
    context           = string
    oidc_provider_arn = string
    oidc_issuer       = string
  }))
}

variable "gate_zone_id" {
  description = "Route 53 zone of the gates' names."
  type        = string
}

variable "domain" {
  description = "Domain of the gates' names."
  type        = string
}

variable "backup_writers" {
  description = "ServiceAccounts of the stores, as NAMESPACE/NAME."
  type        = list(string)
}

provider "aws" {
  alias  = "eu_central_1"
  region = "eu-central-1"
}

provider "kubernetes" {
  alias          = "eu_central_1"
  config_path    = "~/.kube/config"
  config_context = var.clusters["eu-central-1"].context
}

provider "helm" {
  alias = "eu_central_1"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["eu-central-1"].context
  }
}

module "cloud_eu_central_1" {
  source    = "../../clouds/aws"
  providers = { aws = aws.eu_central_1 }
  name      = "midwatch-eu-central-1"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts     = [for name in module.plane_eu_central_1.service_accounts : name if strcontains(name, "recovery")]
  backup_writers       = var.backup_writers
  gate_name            = "gate.eu-central-1.${var.domain}"
  gate_address         = module.plane_eu_central_1.gate_address
  monitoring_workspace = true
  route53_zone_id      = var.gate_zone_id
  oidc_provider_arn    = var.clusters["eu-central-1"].oidc_provider_arn
  oidc_issuer          = var.clusters["eu-central-1"].oidc_issuer
}

module "plane_eu_central_1" {
  source                      = "../../plane"
  providers                   = { helm = helm.eu_central_1, kubernetes = kubernetes.eu_central_1 }
  rendered_values             = "${path.module}/build/eu-central-1/helm/values.yaml"
  service_account_annotations = module.cloud_eu_central_1.service_account_annotations
  pod_labels                  = module.cloud_eu_central_1.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

provider "aws" {
  alias  = "eu_west_1"
  region = "eu-west-1"
}

provider "kubernetes" {
  alias          = "eu_west_1"
  config_path    = "~/.kube/config"
  config_context = var.clusters["eu-west-1"].context
}

provider "helm" {
  alias = "eu_west_1"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["eu-west-1"].context
  }
}

module "cloud_eu_west_1" {
  source    = "../../clouds/aws"
  providers = { aws = aws.eu_west_1 }
  name      = "midwatch-eu-west-1"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts     = [for name in module.plane_eu_west_1.service_accounts : name if strcontains(name, "recovery")]
  backup_writers       = var.backup_writers
  gate_name            = "gate.eu-west-1.${var.domain}"
  gate_address         = module.plane_eu_west_1.gate_address
  monitoring_workspace = true
  route53_zone_id      = var.gate_zone_id
  oidc_provider_arn    = var.clusters["eu-west-1"].oidc_provider_arn
  oidc_issuer          = var.clusters["eu-west-1"].oidc_issuer
}

module "plane_eu_west_1" {
  source                      = "../../plane"
  providers                   = { helm = helm.eu_west_1, kubernetes = kubernetes.eu_west_1 }
  rendered_values             = "${path.module}/build/eu-west-1/helm/values.yaml"
  service_account_annotations = module.cloud_eu_west_1.service_account_annotations
  pod_labels                  = module.cloud_eu_west_1.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

output "backups" {
  description = "Where each region's backups are written."
  value       = { "eu-central-1" = module.cloud_eu_central_1.backup_url, "eu-west-1" = module.cloud_eu_west_1.backup_url }
}
