# Queues: arrivals (the bucket's events, for the sensor), and with the service work (images) and events (who is told).
# Each has its dead letters.

locals {
  queues = merge(
    # seconds in which nobody else gets a message, and how often it is given out: what the product counts on
    { arrivals = { hidden = 300, most = 5 } },
    # the worker sets a message aside itself after messages.deliveries (25); the policy is for what it never saw
    var.service ? { work = { hidden = 60, most = 30 }, events = { hidden = 60, most = 30 } } : {},
  )
  from_bucket = [for name in keys(local.queues) : name if name != "events"]
}

resource "aws_sqs_queue" "dead" {
  for_each                          = local.queues
  name                              = "${var.name}-${each.key}-dead"
  message_retention_seconds         = 1209600
  kms_master_key_id                 = aws_kms_key.own.arn
  kms_data_key_reuse_period_seconds = 3600
  tags                              = local.tags
}

resource "aws_sqs_queue" "here" {
  for_each                          = local.queues
  name                              = "${var.name}-${each.key}"
  visibility_timeout_seconds        = each.value.hidden
  message_retention_seconds         = 1209600
  receive_wait_time_seconds         = 0
  kms_master_key_id                 = aws_kms_key.own.arn
  kms_data_key_reuse_period_seconds = 3600
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = each.value.most
  })
  tags = local.tags
}

resource "aws_sqs_queue_policy" "from_bucket" {
  for_each  = toset(local.from_bucket)
  queue_url = aws_sqs_queue.here[each.key].url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TheBucketAlone"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.here[each.key].arn
      Condition = {
        ArnEquals    = { "aws:SourceArn" = aws_s3_bucket.store.arn }
        StringEquals = { "aws:SourceAccount" = local.account }
      }
    }]
  })
}
