# The plane in one cluster: the chart with what `midwatch render` made of the platform file. What a cloud has to give
# (bucket, key, identity, name) comes from a module in ../clouds, and only as annotations and names.

locals {
  chart    = var.chart != "" ? var.chart : "${path.module}/../../helm/midwatch"
  rendered = yamldecode(file(var.rendered_values))

  objects = flatten([
    for text in values(local.rendered.rendered) : [
      for document in split("\n---\n", "\n${trimprefix(text, "---\n")}") : yamldecode(document) if trimspace(document) != ""
    ]
  ])
  # Whose pods may be given a cloud's identity: read from what is rendered, so that no list of names can be wrong.
  service_accounts = sort(distinct([
    for object in local.objects : object.metadata.name if object.kind == "ServiceAccount"
  ]))
  has_gate = length([for object in local.objects : 1 if object.kind == "Service" && object.metadata.name == "midwatch-gate"]) > 0

  of_the_cloud = {
    labels          = var.pod_labels
    serviceAccounts = { for name, annotations in var.service_account_annotations : name => { annotations = annotations } }
    # The chart refuses a value for a Service that there is not.
    services = { for name in local.has_gate ? ["midwatch-gate"] : [] : name => { type = var.gate_service.type, annotations = var.gate_service.annotations } }
  }
}

resource "kubernetes_namespace_v1" "plane" {
  count = var.create_namespace ? 1 : 0
  metadata {
    name = var.namespace
    labels = {
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
    }
  }
}

resource "helm_release" "plane" {
  name      = var.name
  namespace = var.create_namespace ? kubernetes_namespace_v1.plane[0].metadata[0].name : var.namespace
  chart     = local.chart
  values    = [file(var.rendered_values), yamlencode(local.of_the_cloud), yamlencode(var.values)]
  wait      = true
  atomic    = true
  timeout   = var.timeout_seconds

  lifecycle {
    precondition {
      condition     = length(setsubtract(keys(var.service_account_annotations), local.service_accounts)) == 0
      error_message = "service_account_annotations names accounts that are not rendered: ${join(", ", setsubtract(keys(var.service_account_annotations), local.service_accounts))}. Rendered are: ${join(", ", local.service_accounts)}."
    }
    precondition {
      condition     = var.gate_service.type == "ClusterIP" || local.has_gate
      error_message = "There is no gate to give an address to: no model of the platform file has a canary."
    }
  }
}

data "kubernetes_service_v1" "gate" {
  count = var.gate_service.type == "LoadBalancer" ? 1 : 0
  metadata {
    name      = "midwatch-gate"
    namespace = helm_release.plane.namespace
  }
}
