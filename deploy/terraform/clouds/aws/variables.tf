# Equal in every cloud, so that a plane can move: only what follows "Of this cloud" differs.

variable "name" {
  description = "Beginning of every name that is made; one for each platform and region."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name has 3 to 32 lower-case letters, digits and hyphens, and begins with a letter: a bucket has to be called so in every cloud."
  }
}

variable "namespace" {
  description = "Namespace of the plane."
  type        = string
  default     = "midwatch"
}

variable "service_accounts" {
  description = "ServiceAccounts of the plane that read backups: drills and the recovery exporter. The output of the plane's module lists what there is."
  type        = list(string)
  default     = []
}

variable "backup_writers" {
  description = "ServiceAccounts that write backups, as NAMESPACE/NAME: those of the stores, never the plane's."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for one in var.backup_writers : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", one))])
    error_message = "backup_writers are written NAMESPACE/NAME."
  }
}

variable "locked_days" {
  description = "Days for which nobody can delete or change a backup, not even whoever owns the account; at least as long as a drill may be overdue."
  type        = number
  default     = 35
  validation {
    condition     = var.locked_days >= 1 && floor(var.locked_days) == var.locked_days
    error_message = "locked_days is a whole number of days, at least 1: a backup that can be deleted is none against whoever broke in."
  }
}

variable "gate_name" {
  description = "DNS name of the gate, without a dot at its end; empty for none. Needs the zone and `gate_address`."
  type        = string
  default     = ""
}

variable "gate_address" {
  description = "Host name or IP address of the gate: the output of the plane's module."
  type        = string
  default     = null
}

variable "monitoring_workspace" {
  description = "Whether a managed workspace for metrics is made, where the cloud has one."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags or labels of everything that can have them."
  type        = map(string)
  default     = {}
}

# Of this cloud ------------------------------------------------------------------------------------------------------

variable "oidc_provider_arn" {
  description = "ARN of the cluster's OpenID Connect provider (EKS)."
  type        = string
}

variable "oidc_issuer" {
  description = "Address of the cluster's issuer, without https://."
  type        = string
  validation {
    condition     = !startswith(var.oidc_issuer, "https://")
    error_message = "oidc_issuer is written without https://, as in the keys of a trust policy."
  }
}

variable "route53_zone_id" {
  description = "Zone of `gate_name`."
  type        = string
  default     = ""
}
