# The providers' schemas are those of the stand-ins in tests/kube/tofu-providers, and their answers are mocked: no cluster is asked.
mock_provider "helm" {}
mock_provider "kubernetes" {
  mock_data "kubernetes_service_v1" {
    defaults = { status = [{ load_balancer = [{ ingress = [{ hostname = "", ip = "192.0.2.10" }] }] }] }
  }
}

variables {
  rendered_values = "tests/rendered/values.yaml"
}

run "the_release_has_what_was_rendered_and_the_namespace_is_restricted" {
  command = plan
  assert {
    condition     = helm_release.plane.values[0] == file("tests/rendered/values.yaml")
    error_message = "the rendered values are not those of the release"
  }
  assert {
    condition     = kubernetes_namespace_v1.plane[0].metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"
    error_message = "the namespace takes pods that Pod Security restricted refuses"
  }
  assert {
    condition     = tolist(output.service_accounts) == tolist(["midwatch-drills", "midwatch-recovery"])
    error_message = "the accounts are not those that are rendered: ${jsonencode(output.service_accounts)}"
  }
  assert {
    condition     = output.gate_address == null
    error_message = "a gate inside the cluster has an address outside"
  }
}

run "identities_reach_the_accounts_and_the_pods" {
  command = plan
  variables {
    service_account_annotations = { midwatch-drills = { "eks.amazonaws.com/role-arn" = "arn:a" } }
    pod_labels                  = { "azure.workload.identity/use" = "true" }
  }
  assert {
    condition     = yamldecode(helm_release.plane.values[1]).serviceAccounts["midwatch-drills"].annotations["eks.amazonaws.com/role-arn"] == "arn:a"
    error_message = "the annotation is not given to the account"
  }
  assert {
    condition     = yamldecode(helm_release.plane.values[1]).labels["azure.workload.identity/use"] == "true"
    error_message = "the label is not given to the pods"
  }
}

run "an_account_that_is_not_rendered_is_refused" {
  command = plan
  variables {
    service_account_annotations = { midwatch-dril = { a = "b" } }
  }
  expect_failures = [helm_release.plane]
}

run "a_gate_outside_has_its_address" {
  command = apply
  variables {
    gate_service = { type = "LoadBalancer" }
  }
  assert {
    condition     = output.gate_address == "192.0.2.10"
    error_message = "the address is ${jsonencode(output.gate_address)}"
  }
}

run "a_file_that_was_not_rendered_is_refused" {
  command = plan
  variables {
    rendered_values = "versions.tf"
  }
  expect_failures = [var.rendered_values]
}
