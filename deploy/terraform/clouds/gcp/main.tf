# What a plane needs of Google Cloud: a bucket of which nothing can be deleted before its time, a key, a service account for
# each that reads or writes backups, and a name for the gate. Managed Service for Prometheus is one for each project: there
# is nothing to make.

locals {
  readers = { for name in var.service_accounts : "${var.namespace}/${name}" => "roles/storage.objectViewer" }
  writers = { for one in var.backup_writers : one => "roles/storage.objectCreator" }
  access  = merge(local.readers, local.writers)
  pool    = var.workload_pool != "" ? var.workload_pool : "${var.project}.svc.id.goog"

  identities = { for account, made in google_service_account.account : account => made.email }
  backup_url = "gs://${google_storage_bucket.backups.name}"
  key        = google_kms_crypto_key.backups.id
  # It takes samples by the collector in the cluster or by the sidecar, and has no address for remote write of its own.
  remote_write_url = null
  pod_labels       = {}
  service_account_annotations = {
    for name in var.service_accounts : name => { "iam.gke.io/gcp-service-account" = local.identities["${var.namespace}/${name}"] }
  }
}

resource "google_kms_key_ring" "plane" {
  project  = var.project
  name     = var.name
  location = var.region
}

resource "google_kms_crypto_key" "backups" {
  name            = "backups"
  key_ring        = google_kms_key_ring.plane.id
  rotation_period = "7776000s"
  labels          = var.tags
}

data "google_storage_project_service_account" "storage" {
  project = var.project
}

# The bucket's own service encrypts: without this it refuses the key.
resource "google_kms_crypto_key_iam_member" "storage" {
  crypto_key_id = google_kms_crypto_key.backups.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.storage.email_address}"
}

resource "google_storage_bucket" "backups" {
  project                     = var.project
  name                        = "${var.name}-backups"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.tags
  versioning {
    enabled = true
  }
  # Locked: nobody shortens it again.
  retention_policy {
    retention_period = var.locked_days * 86400
    is_locked        = true
  }
  encryption {
    default_kms_key_name = google_kms_crypto_key_iam_member.storage.crypto_key_id
  }
}

resource "google_service_account" "account" {
  for_each     = local.access
  project      = var.project
  account_id   = "mw-${substr(sha1("${var.name}/${each.key}"), 0, 20)}"
  display_name = "${var.name}: ${each.key}"
}

resource "google_service_account_iam_member" "account" {
  for_each           = local.access
  service_account_id = google_service_account.account[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.pool}[${each.key}]"
}

resource "google_storage_bucket_iam_member" "account" {
  for_each = local.access
  bucket   = google_storage_bucket.backups.name
  role     = each.value
  member   = "serviceAccount:${google_service_account.account[each.key].email}"
}

resource "google_dns_record_set" "gate" {
  count        = var.gate_name != "" ? 1 : 0
  project      = var.project
  managed_zone = var.dns_zone
  name         = "${var.gate_name}."
  type         = can(regex("^[0-9.]+$", var.gate_address)) ? "A" : "CNAME"
  ttl          = 60
  rrdatas      = [can(regex("^[0-9.]+$", var.gate_address)) ? var.gate_address : "${var.gate_address}."]
  lifecycle {
    precondition {
      condition     = var.dns_zone != "" && var.gate_address != null
      error_message = "gate_name needs dns_zone and gate_address: give the plane's gate_service the type LoadBalancer, and pass its gate_address."
    }
  }
}
