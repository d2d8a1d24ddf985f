# Who may do what. Rights are written down by process; a role is made for each of the chart's accounts and has the rights
# of the processes that run under it. A role is given to its account in its namespace, and to nobody else.
#
# Measured, not guessed: tests/terraform runs each process under its role, with access checks on. doctor/ is where who
# moves an alias tries out a store behind another address than the cloud's own. Only runs have claims/, copies/ and
# arrivals/: S3 keeps conditions, so nobody else makes a claim, and it pushes no event to serve.

locals {
  home   = "${aws_s3_bucket.store.arn}/${var.prefix}"
  may    = { read = ["s3:GetObject"], write = ["s3:PutObject", "s3:AbortMultipartUpload"], remove = ["s3:DeleteObject"] }
  others = { for url in var.landing : url => regex("^s3://(?P<bucket>[^/]+)/?(?P<folder>.*?)/?$", url) }

  work   = [for name, queue in aws_sqs_queue.here : queue.arn if name == "work"]
  events = [for name, queue in aws_sqs_queue.here : queue.arn if name == "events"]

  listing = {
    Sid       = "List"
    Effect    = "Allow"
    Action    = ["s3:ListBucket"]
    Resource  = [aws_s3_bucket.store.arn]
    Condition = { StringLike = { "s3:prefix" = [var.prefix, "${var.prefix}/*"] } }
  }
  # S3 and SQS use the key for whoever asks them; nobody uses it by itself
  unlock = {
    Sid       = "Unlock"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = [aws_kms_key.own.arn]
    Condition = { StringLike = { "kms:ViaService" = ["s3.${var.region}.amazonaws.com", "sqs.${var.region}.amazonaws.com"] } }
  }

  rights = {
    run = concat(
      [
        local.listing,
        { Sid = "Store", Effect = "Allow", Action = concat(local.may.read, local.may.write, local.may.remove), Resource = ["${local.home}/*"] },
        { Sid = "Arrivals", Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], Resource = [aws_sqs_queue.here["arrivals"].arn] },
        { Sid = "DeadLetters", Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [aws_sqs_queue.dead["arrivals"].arn] },
      ],
      [for statement in [
        {
          Sid      = "SheetsOfOthers"
          Effect   = "Allow"
          Action   = local.may.read
          Resource = [for place in local.others : "arn:${local.partition}:s3:::${join("/", compact([place.bucket, place.folder]))}/*"]
        },
        { Sid = "ListOthers", Effect = "Allow", Action = ["s3:ListBucket"], Resource = distinct([for place in local.others : "arn:${local.partition}:s3:::${place.bucket}"]) },
      ] : statement if length(local.others) > 0],
    )
    web = [
      { Sid = "ReadLogs", Effect = "Allow", Action = local.may.read, Resource = ["${local.home}/logs/storage/*"] },
      merge(local.listing, { Condition = { StringLike = { "s3:prefix" = ["${var.prefix}/logs/*"] } } }),
    ]
    daemon = [
      { Sid = "WriteLogs", Effect = "Allow", Action = concat(local.may.read, local.may.write), Resource = ["${local.home}/logs/storage/*"] },
    ]
    previews = [
      local.listing,
      { Sid = "Read", Effect = "Allow", Action = local.may.read, Resource = ["${local.home}/*"] },
      { Sid = "NotWhatCame", Effect = "Deny", Action = local.may.read, Resource = ["${local.home}/landing/*", "${local.home}/inbox/*"] },
    ]
    serve = concat(
      [
        local.listing,
        { Sid = "Read", Effect = "Allow", Action = local.may.read, Resource = ["${local.home}/*"] },
        { Sid = "NotWhatCame", Effect = "Deny", Action = local.may.read, Resource = ["${local.home}/landing/*"] },
        {
          Sid    = "Keep"
          Effect = "Allow"
          Action = local.may.write
          Resource = [
            "${local.home}/inbox/uploads/*", "${local.home}/jobs/*", "${local.home}/reviews/*", "${local.home}/models/*/*.json",
            "${local.home}/doctor/*",
          ]
        },
        { Sid = "ForgetOldJobs", Effect = "Allow", Action = local.may.remove, Resource = ["${local.home}/jobs/*", "${local.home}/doctor/*"] },
      ],
      [for queue in local.work : { Sid = "Ask", Effect = "Allow", Action = ["sqs:SendMessage", "sqs:GetQueueAttributes"], Resource = [queue] }],
    )
    work = concat(
      [
        local.listing,
        { Sid = "Read", Effect = "Allow", Action = local.may.read, Resource = ["${local.home}/*"] },
        { Sid = "NotSheets", Effect = "Deny", Action = local.may.read, Resource = ["${local.home}/landing/*"] },
        { Sid = "Keep", Effect = "Allow", Action = local.may.write, Resource = ["${local.home}/images/*", "${local.home}/analyses/*", "${local.home}/models/*/*.json", "${local.home}/doctor/*"] },
        { Sid = "TakeFromInbox", Effect = "Allow", Action = local.may.remove, Resource = ["${local.home}/inbox/*", "${local.home}/doctor/*"] },
      ],
      [for queue in local.work : {
        Sid      = "Work"
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:SendMessage", "sqs:GetQueueAttributes"]
        Resource = [queue]
      }],
    )
    relay = [for queue in local.events : { Sid = "Tell", Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [queue] }]
  }
}

resource "aws_iam_role" "account" {
  for_each = var.accounts
  name     = "${var.name}-${each.key}"
  tags     = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.made ? aws_iam_openid_connect_provider.own[0].arn : data.aws_iam_openid_connect_provider.given[0].arn }
      Condition = { StringEquals = {
        "${local.cluster.issuer}:sub" = "system:serviceaccount:${var.namespace}:groundplan-${each.key}"
        "${local.cluster.issuer}:aud" = "sts.amazonaws.com"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "account" {
  for_each = var.accounts
  name     = "groundplan"
  role     = aws_iam_role.account[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    # statements of several processes may have one name, which a policy may not: the process goes before it
    Statement = concat([local.unlock], [for pair in flatten([for process in each.value : [
      for statement in local.rights[process] : { process = process, statement = jsonencode(statement) }
    ]]) : merge(jsondecode(pair.statement), { Sid = "${title(pair.process)}${jsondecode(pair.statement).Sid}" })])
  })
}

# --- two that the cluster's own operators have: External Secrets reads the passwords, the scaler adds nodes

locals {
  operators = {
    secrets = {
      account = "external-secrets:external-secrets"
      statements = [
        {
          Sid      = "Passwords"
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
          Resource = [for database in aws_db_instance.here : database.master_user_secret[0].secret_arn]
        },
        {
          Sid       = "Unlock"
          Effect    = "Allow"
          Action    = ["kms:Decrypt"]
          Resource  = [aws_kms_key.own.arn]
          Condition = { StringLike = { "kms:ViaService" = ["secretsmanager.${var.region}.amazonaws.com"] } }
        },
      ]
    }
    scaler = {
      account = "kube-system:cluster-autoscaler"
      statements = [
        {
          Sid    = "Look"
          Effect = "Allow"
          Action = [
            "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags", "ec2:DescribeInstanceTypes", "ec2:DescribeImages",
            "ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements", "eks:DescribeNodegroup",
          ]
          Resource = ["*"] # these know no other
        },
        {
          Sid       = "AddAndTakeAway"
          Effect    = "Allow"
          Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
          Resource  = ["*"]
          Condition = { StringEquals = { "aws:ResourceTag/eks:cluster-name" = local.cluster.name } }
        },
      ]
    }
  }
}

resource "aws_iam_role" "operator" {
  for_each = local.operators
  name     = "${var.name}-${each.key}"
  tags     = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.made ? aws_iam_openid_connect_provider.own[0].arn : data.aws_iam_openid_connect_provider.given[0].arn }
      Condition = { StringEquals = {
        "${local.cluster.issuer}:sub" = "system:serviceaccount:${each.value.account}"
        "${local.cluster.issuer}:aud" = "sts.amazonaws.com"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "operator" {
  for_each = local.operators
  name     = "groundplan"
  role     = aws_iam_role.operator[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value.statements })
}
