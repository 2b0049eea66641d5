variable "name" {
  description = "Name of the Helm release; one for each platform and region."
  type        = string
  default     = "midwatch"
}

variable "namespace" {
  description = "Namespace of the plane. It is made, with Pod Security `restricted`, unless `create_namespace` is false."
  type        = string
  default     = "midwatch"
}

variable "create_namespace" {
  description = "Whether the namespace is made here."
  type        = bool
  default     = true
}

variable "chart" {
  description = "Folder or address of the chart; the one beside this module without it."
  type        = string
  default     = ""
}

variable "rendered_values" {
  description = "Path of helm/values.yaml as `midwatch render --target helm` wrote it for this region's platform file."
  type        = string
  validation {
    condition     = can(yamldecode(file(var.rendered_values)).renderedBy)
    error_message = "rendered_values is not a file that `midwatch render --target helm` wrote; render it, and give the path of its helm/values.yaml."
  }
}

variable "values" {
  description = "Values of the chart that differ from the rendered ones (its values.yaml lists them), such as image, tolerations and resources."
  type        = any
  default     = {}
}

variable "service_account_annotations" {
  description = "Annotations by name of the ServiceAccount, those of a cloud's workload identity; the cloud modules give them."
  type        = map(map(string))
  default     = {}
}

variable "pod_labels" {
  description = "Labels of every pod, those that a cloud's workload identity needs; the cloud modules give them."
  type        = map(string)
  default     = {}
}

variable "gate_service" {
  description = "Type and annotations of the gate's Service. LoadBalancer gives it an address outside the cluster; keep it inside unless Argo Rollouts runs elsewhere."
  type = object({
    type        = optional(string, "ClusterIP")
    annotations = optional(map(string), {})
  })
  default = {}
  validation {
    condition     = contains(["ClusterIP", "LoadBalancer"], var.gate_service.type)
    error_message = "gate_service.type is ClusterIP or LoadBalancer."
  }
}

variable "timeout_seconds" {
  description = "How long pods may take to become ready, in seconds; the installation is undone after that."
  type        = number
  default     = 600
}
