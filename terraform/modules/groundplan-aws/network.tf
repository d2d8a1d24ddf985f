# A network of one's own, where none is given: nodes and databases in subnets that nobody outside reaches, in two zones;
# one way out for both; the bucket by a way of its own, which costs nothing by the gigabyte.

data "aws_availability_zones" "open" {
  state = "available"
}

locals {
  own   = var.network == null
  zones = local.own ? slice(data.aws_availability_zones.open.names, 0, 2) : []
  # a /16 becomes: 0 and 1 for nodes, 2 and 3 for databases, 4 for the way out
  cut     = [for index in range(5) : cidrsubnet(var.network_range, 3, index)]
  network = local.own ? aws_vpc.own[0].id : var.network.id
  subnets = {
    nodes    = local.own ? [for subnet in aws_subnet.nodes : subnet.id] : var.network.nodes
    database = local.own ? [for subnet in aws_subnet.database : subnet.id] : var.network.database
  }
}

resource "aws_vpc" "own" {
  count                = local.own ? 1 : 0
  cidr_block           = var.network_range
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = var.name })
}

resource "aws_default_security_group" "closed" {
  count  = local.own ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = local.tags
}

resource "aws_subnet" "nodes" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.own[0].id
  cidr_block        = local.cut[count.index]
  availability_zone = local.zones[count.index]
  tags              = merge(local.tags, { Name = "${var.name}-nodes-${count.index}", "kubernetes.io/role/internal-elb" = "1" })
}

resource "aws_subnet" "database" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.own[0].id
  cidr_block        = local.cut[2 + count.index]
  availability_zone = local.zones[count.index]
  tags              = merge(local.tags, { Name = "${var.name}-database-${count.index}" })
}

resource "aws_subnet" "out" {
  count             = local.own ? 1 : 0
  vpc_id            = aws_vpc.own[0].id
  cidr_block        = local.cut[4]
  availability_zone = local.zones[0]
  tags              = merge(local.tags, { Name = "${var.name}-out" })
}

resource "aws_internet_gateway" "out" {
  count  = local.own ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = local.tags
}

resource "aws_eip" "out" {
  count  = local.own ? 1 : 0
  domain = "vpc"
  tags   = local.tags
}

resource "aws_nat_gateway" "out" {
  count         = local.own ? 1 : 0
  allocation_id = aws_eip.out[0].id
  subnet_id     = aws_subnet.out[0].id
  tags          = local.tags
  depends_on    = [aws_internet_gateway.out]
}

resource "aws_route_table" "out" {
  count  = local.own ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out[0].id
  }
  tags = local.tags
}

resource "aws_route_table" "nodes" {
  count  = local.own ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.out[0].id
  }
  tags = local.tags
}

resource "aws_route_table_association" "out" {
  count          = local.own ? 1 : 0
  subnet_id      = aws_subnet.out[0].id
  route_table_id = aws_route_table.out[0].id
}

resource "aws_route_table_association" "nodes" {
  count          = length(local.zones)
  subnet_id      = aws_subnet.nodes[count.index].id
  route_table_id = aws_route_table.nodes[0].id
}

resource "aws_vpc_endpoint" "store" {
  count             = local.own ? 1 : 0
  vpc_id            = aws_vpc.own[0].id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.nodes[0].id]
  tags              = local.tags
}
