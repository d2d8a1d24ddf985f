# What Terraform made, in Groundplan's own words: the chart's values.yaml, and settings for groundplan.toml.
#
# Here: text from facts, alike for every cloud and for machines of one's own. Not here: making anything (the clouds'
# modules), what the keys mean (helm/groundplan/values.yaml, docs/configuration.md). Needs no provider.

terraform {
  required_version = ">= 1.6"
}

locals {
  scheme = split("://", var.store.url)[0]
  bucket = split("/", split("://", var.store.url)[1])[0]
  prefix = trimprefix(split("://", var.store.url)[1], "${local.bucket}/")

  # a group that is not made has no labels to ask for: its runs go anywhere
  nodes = merge(
    { for name in ["ondemand", "spot"] : name => { selector = {}, tolerations = [] } },
    { for name, group in var.nodes : name => { selector = group.selector, tolerations = group.tolerations } },
  )
  web = { for key, value in { nodeSelector = try(var.nodes.ondemand.selector, {}), tolerations = try(var.nodes.ondemand.tolerations, []) } :
    key => value if length(value) > 0
  }

  arrivals = { for key, value in {
    queue             = var.queues.arrivals
    dead_letter_queue = var.queues.arrivals_dead
  } : key => value if value != "" }
  messages = { for key, value in {
    broker       = var.queues.work == "" ? "" : "sqs"
    queue        = var.queues.work
    events_queue = var.queues.events
  } : key => value if value != "" }
  sections = { for name, section in { arrivals = local.arrivals, messages = local.messages } :
    name => section if length(section) > 0 && (var.service || name != "messages")
  }
  extra = { for name in setunion(keys(var.settings), keys(local.sections)) : name =>
    merge(try(local.sections[name], {}), try(var.settings[name], {}))
  }
  database_section = { for name in ["database"] : name => { url = var.results_url } if var.service }

  image = { repository = "${var.registry}/groundplan", tag = var.tag }
  # Azure's webhook gives tokens to pods with this label only
  marks = { for label in ["azure.workload.identity/use"] : label => "true" if var.cloud == "azure" }
  pods  = merge({ image = local.image }, local.web, { for key in ["labels"] : key => local.marks if length(local.marks) > 0 })
  logs = {
    s3 = { type = "S3ComputeLogManager", config = { s3ComputeLogManager = { for key, value in {
      bucket         = local.bucket
      prefix         = "${local.prefix}/logs"
      region         = var.store.endpoint == "" ? var.store.region : ""
      endpointUrl    = var.store.endpoint
      uploadInterval = 30
    } : key => value if value != "" } } }
    az = { type = "AzureBlobComputeLogManager", config = { azureBlobComputeLogManager = {
      storageAccount         = var.store.account
      container              = local.bucket
      prefix                 = "${local.prefix}/logs"
      defaultAzureCredential = { exclude_environment_credential = false }
      uploadInterval         = 30
    } } }
    gs = { type = "GCSComputeLogManager", config = { gcsComputeLogManager = {
      bucket         = local.bucket
      prefix         = "${local.prefix}/logs"
      uploadInterval = 30
    } } }
  }

  external = merge(
    { enabled = true, storeRef = { name = var.vault.store, kind = "ClusterSecretStore" } },
    { for name, place in { database = var.vault.database, results = var.service ? var.vault.results : "" } : name =>
      { for key, value in { key = place, property = var.vault.property } : key => value if value != "" } if place != ""
    },
    { for name in ["store"] : name => var.vault.keys if length(var.vault.keys) > 0 },
  )
  launcher = { for key in ["runLauncher"] : key => { config = { customRunLauncher = { config = { run_k8s_config = {
    pod_template_spec_metadata = { labels = local.marks }
  } } } } } if length(local.marks) > 0 }

  values = merge(
    {
      image      = local.image
      trainImage = { repository = "${var.registry}/groundplan-train", tag = var.tag }
      store = { for key, value in {
        url         = var.store.url
        endpoint    = var.store.endpoint
        region      = var.store.region
        account     = var.store.account
        credentials = length(var.identities) == 0 ? "secret" : "identity"
      } : key => value if value != "" }
      landing         = var.landing
      cloud           = { provider = var.cloud, identity = var.identities }
      database        = var.database
      externalSecrets = local.external
      settings = {
        grid = {
          crs = var.grid.crs, resolution = var.grid.resolution, blockSize = var.grid.block_size, origin = var.grid.origin
        }
        extra = local.extra
      }
      nodes = local.nodes
      dagster = merge(local.launcher, {
        global = { postgresqlSecretName = var.database.secret }
        postgresql = {
          postgresqlHost     = var.database.host
          postgresqlUsername = var.database.user
          postgresqlDatabase = var.database.name
          service            = { port = var.database.port }
        }
        dagsterWebserver  = local.pods
        dagsterDaemon     = local.pods
        computeLogManager = local.logs[local.scheme]
      })
    },
    { for key in ["previews"] : key => { enabled = true, url = var.previews_url } if var.previews_url != "" },
    { for key in ["service"] : key => { enabled = true, database = { url = var.results_url } } if var.service },
  )

  # what `init` cannot know; TOML has the same strings, numbers and lists as JSON
  toml = merge(local.sections, local.database_section)
}
