# A cluster, or one that is there, and its groups of nodes with the labels and taints that the chart asks for.

locals {
  made = var.cluster == ""
  cluster = {
    name           = local.made ? aws_eks_cluster.own[0].name : var.cluster
    issuer         = trimprefix(local.made ? aws_eks_cluster.own[0].identity[0].oidc[0].issuer : data.aws_eks_cluster.given[0].identity[0].oidc[0].issuer, "https://")
    security_group = local.made ? aws_security_group.nodes[0].id : data.aws_eks_cluster.given[0].vpc_config[0].cluster_security_group_id
  }
}

data "aws_eks_cluster" "given" {
  count = local.made ? 0 : 1
  name  = var.cluster
}

data "aws_iam_openid_connect_provider" "given" {
  count = local.made ? 0 : 1
  url   = data.aws_eks_cluster.given[0].identity[0].oidc[0].issuer
}

resource "aws_iam_role" "cluster" {
  count = local.made ? 1 : 0
  name  = "${var.name}-cluster"
  tags  = local.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "eks.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  count      = local.made ? 1 : 0
  role       = aws_iam_role.cluster[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

# nodes and databases know each other by this group; EKS adds its own to the nodes
resource "aws_security_group" "nodes" {
  count       = local.made ? 1 : 0
  name        = "${var.name}-nodes"
  description = "Nodes of the cluster, and the way to its API"
  vpc_id      = local.network
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  count                        = local.made ? 1 : 0
  security_group_id            = aws_security_group.nodes[0].id
  description                  = "Among themselves"
  referenced_security_group_id = aws_security_group.nodes[0].id
  ip_protocol                  = "-1"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  count             = local.made ? 1 : 0
  security_group_id = aws_security_group.nodes[0].id
  description       = "Stores, registries, names; what a pod may reach, the network policies of the chart say"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  tags              = local.tags
}

resource "aws_eks_cluster" "own" {
  count                     = local.made ? 1 : 0
  name                      = var.name
  version                   = var.kubernetes
  role_arn                  = aws_iam_role.cluster[0].arn
  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  tags                      = local.tags
  depends_on                = [aws_iam_role_policy_attachment.cluster]
  vpc_config {
    subnet_ids              = local.subnets.nodes
    security_group_ids      = [aws_security_group.nodes[0].id]
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_from) > 0
    public_access_cidrs     = length(var.api_from) > 0 ? var.api_from : null
  }
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.own.arn
    }
  }
}

resource "aws_iam_openid_connect_provider" "own" {
  count           = local.made ? 1 : 0
  url             = aws_eks_cluster.own[0].identity[0].oidc[0].issuer
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = [] # AWS knows the certificates of its own issuers
  tags            = local.tags
}

resource "aws_eks_addon" "own" {
  # names and network policies; the chart's policies do nothing without them
  for_each             = local.made && var.cluster_addons ? { vpc-cni = { enableNetworkPolicy = "true" }, kube-proxy = {}, coredns = {} } : {}
  cluster_name         = local.cluster.name
  addon_name           = each.key
  tags                 = local.tags
  configuration_values = length(each.value) > 0 ? jsonencode(each.value) : null
}

resource "aws_iam_role" "nodes" {
  name = "${var.name}-nodes"
  tags = local.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.nodes.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.key}"
}

resource "aws_launch_template" "nodes" {
  for_each               = var.nodes
  name                   = "${var.name}-${each.key}"
  description            = "An encrypted disk; a metadata server that pods do not reach"
  tags                   = local.tags
  vpc_security_group_ids = [local.cluster.security_group]
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = each.value.disk
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  tag_specifications {
    resource_type = "instance"
    tags          = local.tags
  }
}

resource "aws_eks_node_group" "here" {
  for_each        = var.nodes
  cluster_name    = local.cluster.name
  node_group_name = "${var.name}-${each.key}"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = local.subnets.nodes
  capacity_type   = each.value.spot ? "SPOT" : "ON_DEMAND"
  instance_types  = each.value.machines # several kinds in a spot group are reclaimed less often at once
  ami_type        = each.value.gpu ? "AL2023_x86_64_NVIDIA" : "AL2023_x86_64_STANDARD"
  labels          = { "groundplan/pool" = each.key }
  tags            = local.tags
  depends_on      = [aws_iam_role_policy_attachment.nodes, aws_eks_addon.own]

  launch_template {
    id      = aws_launch_template.nodes[each.key].id
    version = aws_launch_template.nodes[each.key].latest_version
  }
  scaling_config {
    desired_size = each.value.least
    min_size     = each.value.least
    max_size     = each.value.most
  }
  dynamic "taint" {
    for_each = local.taints[each.key]
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = "NO_SCHEDULE"
    }
  }
  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # the scaler's
  }
}

locals {
  # as docs/kubernetes.md has them: spot nodes are for what tolerates to lose them, GPU nodes for who wants one
  taints = { for name, group in var.nodes : name => concat(
    group.spot ? [{ key = "groundplan/pool", value = "spot" }] : [],
    group.gpu ? [{ key = "nvidia.com/gpu", value = "present" }] : [],
  ) }
  chosen = { for name, group in var.nodes : name => {
    selector    = { "groundplan/pool" = name, "eks.amazonaws.com/capacityType" = group.spot ? "SPOT" : "ON_DEMAND" }
    tolerations = [for taint in local.taints[name] : { key = taint.key, operator = "Equal", value = taint.value, effect = "NoSchedule" }]
  } }
}
