output "namespace" {
  description = "Namespace of the plane."
  value       = var.namespace
}

output "service_accounts" {
  description = "ServiceAccounts of the plane, by name; a cloud module gives them an identity."
  value       = local.service_accounts
}

output "gate_address" {
  description = "Host name or IP address of the gate outside the cluster; null while it has none."
  value = try(coalesce(
    data.kubernetes_service_v1.gate[0].status[0].load_balancer[0].ingress[0].hostname,
    data.kubernetes_service_v1.gate[0].status[0].load_balancer[0].ingress[0].ip,
  ), null)
}
