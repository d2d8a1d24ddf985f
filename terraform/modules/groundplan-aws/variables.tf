# What an installation is told. The same file in the module of each cloud.

variable "name" {
  type        = string
  description = "Of the installation; all names that are made begin with it"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 lower-case letters, digits and hyphens, a letter first: it becomes part of a bucket's name."
  }
}

variable "account" {
  type        = string
  description = "Whose it is: an AWS account's number, SUBSCRIPTION/RESOURCE_GROUP of Azure, a Google project. Nothing is made in another"
}

variable "region" {
  type        = string
  description = "Where it is made: a region of AWS or Google, a location of Azure"
}

variable "prefix" {
  type        = string
  default     = "v1"
  description = "Folder of the bucket that holds the project"
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+$", var.prefix))
    error_message = "One folder, without slashes: letters, digits, dots, hyphens and underscores."
  }
}

variable "network" {
  type        = object({ id = string, nodes = list(string), database = list(string) })
  default     = null
  description = "An existing network: its id, its subnets for nodes and for databases, each in two zones or more. null makes one"
}

variable "network_range" {
  type        = string
  default     = "10.60.0.0/16"
  description = "Addresses of the network that is made"
}

variable "cluster" {
  type        = string
  default     = ""
  description = "Name of an existing cluster that gets the node groups; empty makes one"
}

variable "kubernetes" {
  type        = string
  default     = null
  description = "Version of the cluster that is made; null: the cloud's default"
}

variable "api_from" {
  type        = list(string)
  default     = []
  description = "Networks from which the API of the cluster is reached; empty: only out of its own network"
}

variable "cluster_addons" {
  type        = bool
  default     = true
  description = "Whether the cloud's add-ons bring pods' network, names and network policies; false where you install your own"
}

variable "nodes" {
  type = map(object({
    machines = list(string)
    spot     = optional(bool, false)
    least    = optional(number, 0)
    most     = number
    disk     = optional(number, 100)
    gpu      = optional(bool, false)
  }))
  description = "Groups of nodes by the names that the chart's profiles use: ondemand, spot, perhaps gpu. disk: GiB"
  validation {
    condition     = alltrue([for name, group in var.nodes : can(regex("^[a-z][a-z0-9]{0,10}$", name))])
    error_message = "A group's name is up to 11 lower-case letters and digits: Azure takes no more."
  }
}

variable "database" {
  type = object({
    machine = string
    storage = optional(number, 50)
    standby = optional(bool, true)
    days    = optional(number, 14)
  })
  description = "Machine of PostgreSQL, GiB of its disk, whether a second stands by in another zone, days of back-ups"
}

variable "service" {
  type        = bool
  default     = false
  description = "Whether single images are answered (serve, work, relay): a database of results and their queues"
}

variable "previews_url" {
  type        = string
  default     = ""
  description = "Address at which browsers will reach the maps; empty: no maps"
}

variable "push_url" {
  type        = string
  default     = ""
  description = "Address of serve below which Azure and Google push what arrived (docs/messages.md); AWS has queues and takes none"
}

variable "push_token" {
  type        = string
  default     = ""
  sensitive   = true
  description = "Token that such a push gives; the variable that messages.arrivals_token_env names holds the same"
}

variable "landing" {
  type        = list(string)
  default     = []
  description = "Buckets of others, or folders in them, that runs may read: s3://supplier/2024"
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

variable "tag" {
  type        = string
  description = "Of both images, as they will be pushed"
}

variable "namespace" {
  type        = string
  default     = "groundplan"
  description = "Of the chart's release; identities are given to its accounts there, and nowhere else"
}

variable "accounts" {
  type = map(list(string))
  default = {
    run      = ["run"]
    dagster  = ["web", "daemon"]
    previews = ["previews"]
    serve    = ["serve"]
    work     = ["work"]
    relay    = ["relay"]
  }
  description = "The chart's service accounts (groundplan-NAME), and whose rights each has: run, web, daemon, previews, serve, work, relay"
  validation {
    condition = alltrue([for processes in values(var.accounts) :
    length(setsubtract(processes, ["run", "web", "daemon", "previews", "serve", "work", "relay"])) == 0])
    error_message = "Rights are those of run, web, daemon, previews, serve, work and relay."
  }
}

variable "secret_store" {
  type        = string
  default     = "cloud"
  description = "Name of the ClusterSecretStore that the External Secrets operator will have"
}

variable "package_index" {
  type        = bool
  default     = true
  description = "Whether there is an index of Python packages of one's own"
}

variable "keep" {
  type = object({
    versions   = optional(number, 30)
    logs       = optional(number, 90)
    incomplete = optional(number, 7)
  })
  default     = {}
  description = "Days for which replaced and removed objects, what pods printed, and unfinished uploads are kept"
}

variable "budget" {
  type        = object({ amount = number, mail_to = list(string) })
  description = "Per month, in the currency of the account; who is told at 80 % spent and when more is expected"
}

variable "protect" {
  type        = bool
  default     = true
  description = "Whether store, databases and keys refuse to be destroyed"
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "On all that is made, beside groundplan = NAME"
}
