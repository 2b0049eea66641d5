# A plane in each of two regions of Azure: each with its own bucket, key and identities, so that one region that is lost
# takes nothing of the other's with it. Midwatch renders the files in build/ from each region's platform file:
#   midwatch render --target helm -f platform.yaml -f overlays/REGION.yaml -o build/REGION

terraform {
  required_version = ">= 1.6"
  required_providers {
    azurerm    = { source = "hashicorp/azurerm", version = ">= 4.0" }
    helm       = { source = "hashicorp/helm", version = ">= 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = ">= 2.30" }
  }
}

variable "clusters" {
  description = "The cluster of each location: context of the kubeconfig, issuer, resource group and key vault."
  type = map(object({
    context        = string
    oidc_issuer    = string
    resource_group = string
    key_vault_id   = string
  }))
}

variable "dns_zone" {
  description = "Zone of the gates' names, in each resource group."
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

provider "azurerm" {
  features {}
  storage_use_azuread = true
}
provider "kubernetes" {
  alias          = "germanywestcentral"
  config_path    = "~/.kube/config"
  config_context = var.clusters["germanywestcentral"].context
}

provider "helm" {
  alias = "germanywestcentral"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["germanywestcentral"].context
  }
}

module "cloud_germanywestcentral" {
  source = "../../clouds/azure"
  name   = "midwatch-germanywestcentral"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts     = [for name in module.plane_germanywestcentral.service_accounts : name if strcontains(name, "recovery")]
  backup_writers       = var.backup_writers
  gate_name            = "gate.germanywestcentral.${var.domain}"
  gate_address         = module.plane_germanywestcentral.gate_address
  monitoring_workspace = true
  location             = "germanywestcentral"
  resource_group       = var.clusters["germanywestcentral"].resource_group
  key_vault_id         = var.clusters["germanywestcentral"].key_vault_id
  oidc_issuer          = var.clusters["germanywestcentral"].oidc_issuer
  dns_zone             = var.dns_zone
}

module "plane_germanywestcentral" {
  source                      = "../../plane"
  providers                   = { helm = helm.germanywestcentral, kubernetes = kubernetes.germanywestcentral }
  rendered_values             = "${path.module}/build/germanywestcentral/helm/values.yaml"
  service_account_annotations = module.cloud_germanywestcentral.service_account_annotations
  pod_labels                  = module.cloud_germanywestcentral.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

provider "kubernetes" {
  alias          = "westeurope"
  config_path    = "~/.kube/config"
  config_context = var.clusters["westeurope"].context
}

provider "helm" {
  alias = "westeurope"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["westeurope"].context
  }
}

module "cloud_westeurope" {
  source = "../../clouds/azure"
  name   = "midwatch-westeurope"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts     = [for name in module.plane_westeurope.service_accounts : name if strcontains(name, "recovery")]
  backup_writers       = var.backup_writers
  gate_name            = "gate.westeurope.${var.domain}"
  gate_address         = module.plane_westeurope.gate_address
  monitoring_workspace = true
  location             = "westeurope"
  resource_group       = var.clusters["westeurope"].resource_group
  key_vault_id         = var.clusters["westeurope"].key_vault_id
  oidc_issuer          = var.clusters["westeurope"].oidc_issuer
  dns_zone             = var.dns_zone
}

module "plane_westeurope" {
  source                      = "../../plane"
  providers                   = { helm = helm.westeurope, kubernetes = kubernetes.westeurope }
  rendered_values             = "${path.module}/build/westeurope/helm/values.yaml"
  service_account_annotations = module.cloud_westeurope.service_account_annotations
  pod_labels                  = module.cloud_westeurope.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

output "backups" {
  description = "Where each region's backups are written."
  value       = { "germanywestcentral" = module.cloud_germanywestcentral.backup_url, "westeurope" = module.cloud_westeurope.backup_url }
}
