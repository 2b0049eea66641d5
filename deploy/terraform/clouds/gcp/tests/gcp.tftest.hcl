# The provider's schema is that of the stand-in in tests/kube/tofu-providers, and its answers are mocked: no project is asked.
mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = { email = "made@ml.iam.example", name = "projects/ml/serviceAccounts/made" }
  }
  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/ml/keys/backups" }
  }
}

variables {
  name             = "midwatch-eu"
  project          = "ml"
  region           = "europe-west3"
  service_accounts = ["midwatch-drills"]
  backup_writers   = ["postgres/features"]
}

run "nothing_can_be_deleted_before_its_time" {
  assert {
    condition = alltrue([
      google_storage_bucket.backups.versioning[0].enabled,
      google_storage_bucket.backups.retention_policy[0].is_locked,
      google_storage_bucket.backups.retention_policy[0].retention_period == 35 * 86400,
      google_storage_bucket.backups.public_access_prevention == "enforced",
    ])
    error_message = "the bucket is not versioned, not locked, or can be made public"
  }
  assert {
    condition     = google_kms_crypto_key.backups.rotation_period == "7776000s" && google_storage_bucket.backups.encryption[0].default_kms_key_name == google_kms_crypto_key.backups.id
    error_message = "backups are not encrypted with the key"
  }
}

run "each_account_has_an_identity_of_its_own_and_only_what_it_needs" {
  assert {
    condition     = google_service_account_iam_member.account["midwatch/midwatch-drills"].member == "serviceAccount:ml.svc.id.goog[midwatch/midwatch-drills]"
    error_message = "somebody else may use the identity"
  }
  assert {
    condition     = google_storage_bucket_iam_member.account["midwatch/midwatch-drills"].role == "roles/storage.objectViewer" && google_storage_bucket_iam_member.account["postgres/features"].role == "roles/storage.objectCreator"
    error_message = "a drill may write backups, or a store may delete them"
  }
  assert {
    condition     = alltrue([for account in google_service_account.account : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", account.account_id))])
    error_message = "an identifier of an account is refused by the cloud"
  }
}

run "an_address_is_an_a_record" {
  variables {
    gate_name    = "gate.example.org"
    gate_address = "192.0.2.10"
    dns_zone     = "example"
  }
  assert {
    condition     = google_dns_record_set.gate[0].type == "A" && google_dns_record_set.gate[0].name == "gate.example.org."
    error_message = "the record is ${google_dns_record_set.gate[0].type} ${google_dns_record_set.gate[0].name}"
  }
}
