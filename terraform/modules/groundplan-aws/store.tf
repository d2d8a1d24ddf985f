# The bucket: nothing public, nothing unencrypted, a removed object is there for some days yet, and events for queues.

resource "aws_s3_bucket" "store" {
  bucket        = local.bucket
  force_destroy = !var.protect
  tags          = local.tags
  depends_on    = [terraform_data.asked]
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "store" {
  bucket = aws_s3_bucket.store.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id
  rule {
    bucket_key_enabled = true # else each object is a request to the key, which costs
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.own.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket     = aws_s3_bucket.store.id
  depends_on = [aws_s3_bucket_versioning.store]

  rule {
    id     = "replaced-and-unfinished"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.keep.versions
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = var.keep.incomplete
    }
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "what-pods-printed"
    status = "Enabled"
    filter {
      prefix = "${var.prefix}/logs/storage/" # of Dagster; logs/training is the project's
    }
    expiration {
      days = var.keep.logs
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket     = aws_s3_bucket.store.id
  depends_on = [aws_s3_bucket_public_access_block.store]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyEncryptedConnections"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.store.arn, "${aws_s3_bucket.store.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_s3_bucket_notification" "store" {
  bucket     = aws_s3_bucket.store.id
  depends_on = [aws_sqs_queue_policy.from_bucket]

  queue { # the filter matters: without it every block that is made would be an event too
    id            = "sheets"
    queue_arn     = aws_sqs_queue.here["arrivals"].arn
    events        = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    filter_prefix = "${var.prefix}/landing/"
  }

  dynamic "queue" {
    for_each = var.service ? ["images"] : []
    content {
      id            = queue.value
      queue_arn     = aws_sqs_queue.here["work"].arn
      events        = ["s3:ObjectCreated:*"]
      filter_prefix = "${var.prefix}/inbox/"
    }
  }
}
