# The provider's schema is that of the stand-in in tests/kube/tofu-providers, and its answers are mocked: no account is asked.
mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::midwatch-eu-backups", id = "midwatch-eu-backups" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:1:key/1" }
  }
  mock_resource "aws_prometheus_workspace" {
    defaults = { prometheus_endpoint = "https://aps.example/workspaces/ws-1/" }
  }
}

variables {
  name              = "midwatch-eu"
  service_accounts  = ["midwatch-drills"]
  backup_writers    = ["postgres/features"]
  oidc_provider_arn = "arn:aws:iam::1:oidc-provider/oidc.example/id/A"
  oidc_issuer       = "oidc.example/id/A"
}

run "nothing_can_be_deleted_before_its_time" {
  assert {
    condition     = aws_s3_bucket.backups.object_lock_enabled && aws_s3_bucket_versioning.backups.versioning_configuration[0].status == "Enabled"
    error_message = "the bucket is not versioned, or cannot be locked"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_object_lock_configuration.backups.rule[0].default_retention[0].mode == "COMPLIANCE",
      aws_s3_bucket_object_lock_configuration.backups.rule[0].default_retention[0].days == 35,
    ])
    error_message = "the lock can be taken off"
  }
  assert {
    condition     = aws_kms_key.backups.enable_key_rotation && aws_s3_bucket_public_access_block.backups.restrict_public_buckets
    error_message = "the key stays the same for ever, or the bucket can be made public"
  }
}

run "each_account_has_a_role_of_its_own_and_only_what_it_needs" {
  assert {
    condition     = jsondecode(aws_iam_role.account["midwatch/midwatch-drills"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.example/id/A:sub"] == "system:serviceaccount:midwatch:midwatch-drills"
    error_message = "somebody else may take the role"
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.account["midwatch/midwatch-drills"].policy, "PutObject")
    error_message = "a drill may write backups"
  }
  assert {
    condition = alltrue([for policy in aws_iam_role_policy.account :
      !strcontains(policy.policy, "Delete") && !strcontains(policy.policy, "BypassGovernance") && !strcontains(policy.policy, "s3:*")
    ])
    error_message = "somebody may delete backups"
  }
  assert {
    condition     = keys(output.service_account_annotations) == ["midwatch-drills"]
    error_message = "accounts of stores are annotated as if they were the plane's"
  }
}

run "a_workspace_and_a_name_are_made_where_they_are_asked_for" {
  variables {
    monitoring_workspace = true
    gate_name            = "gate.example.org"
    gate_address         = "lb.example.net"
    route53_zone_id      = "Z1"
  }
  assert {
    condition     = output.remote_write_url == "https://aps.example/workspaces/ws-1/api/v1/remote_write"
    error_message = "the workspace takes samples elsewhere: ${jsonencode(output.remote_write_url)}"
  }
  assert {
    condition     = aws_route53_record.gate[0].type == "CNAME"
    error_message = "a host name is no A record"
  }
}

run "a_name_without_an_address_is_refused" {
  command = plan
  variables {
    gate_name       = "gate.example.org"
    route53_zone_id = "Z1"
  }
  expect_failures = [aws_route53_record.gate]
}

run "inputs_are_checked" {
  command = plan
  variables {
    name           = "Midwatch_EU"
    backup_writers = ["features"]
    locked_days    = 0
    oidc_issuer    = "https://oidc.example/id/A"
  }
  expect_failures = [var.name, var.backup_writers, var.locked_days, var.oidc_issuer]
}
