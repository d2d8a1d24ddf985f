# One key for all that lies still. Its policy gives the account the key, and lets the bucket's events into encrypted queues.

resource "aws_kms_key" "own" {
  description             = "Groundplan ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.protect ? 30 : 7
  tags                    = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheAccountsOwnPolicies"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "EventsOfTheBucket"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
    ]
  })
}

resource "aws_kms_alias" "own" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.own.key_id
}
