# Images under tags that nobody moves, and an index of Python packages.

resource "aws_ecr_repository" "image" {
  for_each             = toset(["groundplan", "groundplan-train"])
  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.protect
  tags                 = local.tags
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.own.arn
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({ rules = [{
    rulePriority = 1
    description  = "Layers that no tag names"
    selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
    action       = { type = "expire" }
  }] })
}

resource "aws_codeartifact_domain" "own" {
  count          = var.package_index ? 1 : 0
  domain         = var.name
  encryption_key = aws_kms_key.own.arn
  tags           = local.tags
}

resource "aws_codeartifact_repository" "upstream" {
  count       = var.package_index ? 1 : 0
  domain      = aws_codeartifact_domain.own[0].domain
  repository  = "upstream"
  description = "What others publish, kept as it was first taken"
  tags        = local.tags
  external_connections {
    external_connection_name = "public:pypi"
  }
}

resource "aws_codeartifact_repository" "python" {
  count       = var.package_index ? 1 : 0
  domain      = aws_codeartifact_domain.own[0].domain
  repository  = "python"
  description = "Groundplan's wheels, before those of others"
  tags        = local.tags
  upstream {
    repository_name = aws_codeartifact_repository.upstream[0].repository
  }
}
