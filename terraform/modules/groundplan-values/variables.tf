# Facts about an installation, by whoever made it.

variable "cloud" {
  type        = string
  description = "aws, azure, gcp or none"
}

variable "store" {
  type = object({
    url      = string
    endpoint = optional(string, "")
    region   = optional(string, "")
    account  = optional(string, "")
  })
  description = "URL of the project's folder in a bucket; endpoint of an S3 server that is not Amazon's; storage account of Azure"
}

variable "landing" {
  type        = list(string)
  default     = []
  description = "URLs below which delivered .ref files may point"
}

variable "identities" {
  type        = map(string)
  default     = {}
  description = "Who pods are to the cloud, by the chart's account: run, dagster, previews, serve, work, relay. Empty: keys from a vault"
}

variable "queues" {
  type = object({
    arrivals      = optional(string, "")
    arrivals_dead = optional(string, "")
    work          = optional(string, "")
    events        = optional(string, "")
  })
  default     = {}
  description = "URLs of SQS queues; empty where the cloud pushes, or nothing tells of what arrives"
}

variable "database" {
  type = object({
    host   = string
    port   = optional(number, 5432)
    name   = optional(string, "dagster")
    user   = optional(string, "dagster")
    secret = optional(string, "groundplan-database")
  })
  description = "Dagster's PostgreSQL, without its password"
}

variable "vault" {
  type = object({
    store    = string
    database = string
    results  = optional(string, "")
    property = optional(string, "")
    keys     = optional(map(object({ key = string, property = string })), {})
  })
  description = "Of External Secrets: its ClusterSecretStore, under which key and property the passwords of Dagster's database and of results lie, and the store's keys by variable"
}

variable "results_url" {
  type        = string
  default     = ""
  description = "postgresql://HOST/DATABASE of results; needed with service"
}

variable "registry" {
  type        = string
  description = "What stands before /groundplan and /groundplan-train in the names of the images"
}

variable "tag" {
  type        = string
  description = "Of both images"
}

variable "nodes" {
  type = map(object({
    selector    = map(string)
    tolerations = list(map(string))
  }))
  default     = {}
  description = "Labels and tolerated taints of each group of nodes"
}

variable "grid" {
  type        = object({ crs = string, resolution = number, block_size = number, origin = list(number) })
  description = "The project's grid; another grid is another project"
}

variable "settings" {
  type        = any
  default     = {}
  description = "Further sections of groundplan.toml: {model = {minutes = 60}}"
}

variable "service" {
  type        = bool
  default     = false
  description = "Whether single images are answered: serve, work and relay"
}

variable "previews_url" {
  type        = string
  default     = ""
  description = "Address at which browsers reach the maps; empty: none"
}
