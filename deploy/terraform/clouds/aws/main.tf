# What a plane needs of AWS: a bucket of which nothing can be deleted before its time, a key, a role for each
# ServiceAccount that reads or writes backups, a name for the gate, and a workspace of Amazon Managed Prometheus.

locals {
  readers = { for name in var.service_accounts : "${var.namespace}/${name}" => ["s3:GetObject", "s3:GetObjectVersion"] }
  writers = { for one in var.backup_writers : one => ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"] }
  access  = merge(local.readers, local.writers)

  identities       = { for account, role in aws_iam_role.account : account => role.arn }
  backup_url       = "s3://${aws_s3_bucket.backups.bucket}"
  key              = aws_kms_key.backups.arn
  remote_write_url = var.monitoring_workspace ? "${aws_prometheus_workspace.metrics[0].prometheus_endpoint}api/v1/remote_write" : null
  pod_labels       = {}
  service_account_annotations = {
    for name in var.service_accounts : name => { "eks.amazonaws.com/role-arn" = local.identities["${var.namespace}/${name}"] }
  }
}

resource "aws_kms_key" "backups" {
  description             = "Backups of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags
}

resource "aws_s3_bucket" "backups" {
  bucket              = "${var.name}-backups"
  object_lock_enabled = true
  tags                = var.tags
}

resource "aws_s3_bucket_versioning" "backups" {
  bucket = aws_s3_bucket.backups.id
  versioning_configuration {
    status = "Enabled"
  }
}

# COMPLIANCE: no account, the root one included, shortens it.
resource "aws_s3_bucket_object_lock_configuration" "backups" {
  bucket = aws_s3_bucket_versioning.backups.bucket
  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.locked_days
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backups" {
  bucket = aws_s3_bucket.backups.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.backups.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "backups" {
  bucket                  = aws_s3_bucket.backups.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_iam_role" "account" {
  for_each = local.access
  name     = substr("${var.name}-${replace(each.key, "/", "-")}", 0, 64)
  tags     = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = var.oidc_provider_arn }
      Condition = {
        StringEquals = {
          "${var.oidc_issuer}:sub" = "system:serviceaccount:${replace(each.key, "/", ":")}"
          "${var.oidc_issuer}:aud" = "sts.amazonaws.com"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "account" {
  for_each = local.access
  name     = "backups"
  role     = aws_iam_role.account[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = each.value, Resource = "${aws_s3_bucket.backups.arn}/*" },
      { Effect = "Allow", Action = ["s3:ListBucket", "s3:ListBucketVersions"], Resource = aws_s3_bucket.backups.arn },
      {
        Effect   = "Allow"
        Action   = contains(keys(local.writers), each.key) ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
        Resource = aws_kms_key.backups.arn
      },
    ]
  })
}

resource "aws_route53_record" "gate" {
  count   = var.gate_name != "" ? 1 : 0
  zone_id = var.route53_zone_id
  name    = var.gate_name
  type    = can(regex("^[0-9.]+$", var.gate_address)) ? "A" : "CNAME"
  ttl     = 60
  records = [var.gate_address]
  lifecycle {
    precondition {
      condition     = var.route53_zone_id != "" && var.gate_address != null
      error_message = "gate_name needs route53_zone_id and gate_address: give the plane's gate_service the type LoadBalancer, and pass its gate_address."
    }
  }
}

resource "aws_prometheus_workspace" "metrics" {
  count = var.monitoring_workspace ? 1 : 0
  alias = var.name
  tags  = var.tags
}
