# PostgreSQL: Dagster's, and with the service one for results, for which PostGIS is at hand. Two servers, as both keep a
# table alembic_version, and as the load of one is not to slow the other. Passwords are made and kept by AWS: none is here.

locals {
  databases = var.service ? ["dagster", "results"] : ["dagster"]
}

resource "aws_db_subnet_group" "here" {
  name       = var.name
  subnet_ids = local.subnets.database
  tags       = local.tags
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "PostgreSQL, for the pods of the cluster"
  vpc_id      = local.network
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "From the nodes of the cluster"
  referenced_security_group_id = local.cluster.security_group
  from_port                    = 5432
  to_port                      = 5432
  ip_protocol                  = "tcp"
  tags                         = local.tags
}

resource "aws_db_parameter_group" "here" {
  name   = "${var.name}-postgres16"
  family = "postgres16"
  tags   = local.tags
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_min_duration_statement" # milliseconds: slow queries are in the log
    value = "1000"
  }
}

resource "aws_db_instance" "here" {
  for_each                            = toset(local.databases)
  identifier                          = "${var.name}-${each.key}"
  db_name                             = each.key
  username                            = each.key
  engine                              = "postgres"
  engine_version                      = "16"
  instance_class                      = var.database.machine
  allocated_storage                   = var.database.storage
  max_allocated_storage               = 4 * var.database.storage
  storage_type                        = "gp3"
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.own.arn
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = aws_kms_key.own.key_id
  multi_az                            = var.database.standby
  db_subnet_group_name                = aws_db_subnet_group.here.name
  vpc_security_group_ids              = [aws_security_group.database.id]
  parameter_group_name                = aws_db_parameter_group.here.name
  publicly_accessible                 = false
  backup_retention_period             = var.database.days
  copy_tags_to_snapshot               = true
  auto_minor_version_upgrade          = true
  enabled_cloudwatch_logs_exports     = ["postgresql"]
  iam_database_authentication_enabled = true
  performance_insights_enabled        = true
  performance_insights_kms_key_id     = aws_kms_key.own.arn
  deletion_protection                 = var.protect
  skip_final_snapshot                 = !var.protect
  final_snapshot_identifier           = var.protect ? "${var.name}-${each.key}-last" : null
  tags                                = local.tags
}
