# Equal in every cloud.

output "service_account_annotations" {
  description = "Annotations by ServiceAccount, for the plane's module."
  value       = local.service_account_annotations
}

output "backup_url" {
  description = "Where backups are written."
  value       = local.backup_url
}

output "key" {
  description = "Identifier of the key that backups are encrypted with."
  value       = local.key
}

output "identities" {
  description = "Identity of each ServiceAccount that has one, by NAMESPACE/NAME: for the annotations of stores, too."
  value       = local.identities
}

output "remote_write_url" {
  description = "Where the managed workspace takes samples; null without one."
  value       = local.remote_write_url
}

output "pod_labels" {
  description = "Labels that pods need for the identity, for the plane's module."
  value       = local.pod_labels
}
