# A plane in each of two regions of Google Cloud: each with its own bucket, key and identities, so that one region that is lost
# takes nothing of the other's with it. Midwatch renders the files in build/ from each region's platform file:
#   midwatch render --target helm -f platform.yaml -f overlays/REGION.yaml -o build/REGION

terraform {
  required_version = ">= 1.6"
  required_providers {
    google     = { source = "hashicorp/google", version = ">= 5.0" }
    helm       = { source = "hashicorp/helm", version = ">= 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = ">= 2.30" }
  }
}

variable "project" {
  description = "Project of both clusters."
  type        = string
}

variable "clusters" {
  description = "The cluster of each region: context of the kubeconfig."
  type        = map(object({ context = string }))
}

variable "dns_zone" {
  description = "Managed zone of the gates' names."
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

provider "google" {
  project = var.project
}
provider "kubernetes" {
  alias          = "europe_west3"
  config_path    = "~/.kube/config"
  config_context = var.clusters["europe-west3"].context
}

provider "helm" {
  alias = "europe_west3"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["europe-west3"].context
  }
}

module "cloud_europe_west3" {
  source = "../../clouds/gcp"
  name   = "midwatch-europe-west3"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts = [for name in module.plane_europe_west3.service_accounts : name if strcontains(name, "recovery")]
  backup_writers   = var.backup_writers
  gate_name        = "gate.europe-west3.${var.domain}"
  gate_address     = module.plane_europe_west3.gate_address
  project          = var.project
  region           = "europe-west3"
  dns_zone         = var.dns_zone
}

module "plane_europe_west3" {
  source                      = "../../plane"
  providers                   = { helm = helm.europe_west3, kubernetes = kubernetes.europe_west3 }
  rendered_values             = "${path.module}/build/europe-west3/helm/values.yaml"
  service_account_annotations = module.cloud_europe_west3.service_account_annotations
  pod_labels                  = module.cloud_europe_west3.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

provider "kubernetes" {
  alias          = "europe_west4"
  config_path    = "~/.kube/config"
  config_context = var.clusters["europe-west4"].context
}

provider "helm" {
  alias = "europe_west4"
  kubernetes = {
    config_path    = "~/.kube/config"
    config_context = var.clusters["europe-west4"].context
  }
}

module "cloud_europe_west4" {
  source = "../../clouds/gcp"
  name   = "midwatch-europe-west4"
  # Drills and the recovery exporter read backups, and nobody else of the plane.
  service_accounts = [for name in module.plane_europe_west4.service_accounts : name if strcontains(name, "recovery")]
  backup_writers   = var.backup_writers
  gate_name        = "gate.europe-west4.${var.domain}"
  gate_address     = module.plane_europe_west4.gate_address
  project          = var.project
  region           = "europe-west4"
  dns_zone         = var.dns_zone
}

module "plane_europe_west4" {
  source                      = "../../plane"
  providers                   = { helm = helm.europe_west4, kubernetes = kubernetes.europe_west4 }
  rendered_values             = "${path.module}/build/europe-west4/helm/values.yaml"
  service_account_annotations = module.cloud_europe_west4.service_account_annotations
  pod_labels                  = module.cloud_europe_west4.pod_labels
  gate_service                = { type = "LoadBalancer" }
}

output "backups" {
  description = "Where each region's backups are written."
  value       = { "europe-west3" = module.cloud_europe_west3.backup_url, "europe-west4" = module.cloud_europe_west4.backup_url }
}
