# Who may do what. Rights are written down by process, as folders that it reads and writes; a service account is made for
# each of the chart's accounts. On Google, to replace an object takes the right to remove it: who writes into a folder may
# also remove from it, and versions are what protects.

locals {
  pushed = var.push_url == "" ? [] : ["arrivals/pushed/"] # serve keeps what Pub/Sub tells until runs look
  rights = {
    run      = { read = [""], write = [""], list = true }
    web      = { read = ["logs/storage/"], write = [], list = true }
    daemon   = { read = ["logs/storage/"], write = ["logs/storage/"], list = false }
    previews = { read = [""], write = [], list = true }
    serve    = { read = [""], write = concat(["inbox/uploads/", "jobs/", "reviews/", "models/", "doctor/"], local.pushed), list = true }
    work     = { read = [""], write = ["images/", "analyses/", "inbox/", "models/", "doctor/"], list = true }
    relay    = { read = [], write = [], list = false } # the database, and whom it tells
  }
  hidden = { previews = ["landing/", "inbox/"], serve = ["landing/"], work = ["landing/"] } # what came: none of their business
  granted = { for account, processes in var.accounts : account => {
    read   = distinct(flatten([for process in processes : local.rights[process].read]))
    write  = distinct(flatten([for process in processes : local.rights[process].write]))
    list   = anytrue([for process in processes : local.rights[process].list])
    hidden = contains(processes, "run") ? [] : distinct(flatten([for process in processes : try(local.hidden[process], [])]))
  } }
  objects = "projects/_/buckets/${google_storage_bucket.store.name}/objects/${var.prefix}/"
}

resource "google_project_iam_custom_role" "object" {
  for_each = {
    read  = ["storage.objects.get"]
    write = ["storage.objects.create", "storage.objects.delete", "storage.multipartUploads.create", "storage.multipartUploads.abort", "storage.multipartUploads.listParts"]
    list  = ["storage.objects.list"]
  }
  project     = var.account
  role_id     = "${replace(var.name, "-", "_")}_${each.key}"
  title       = "Groundplan ${var.name}: ${each.key} objects"
  permissions = each.value
}

resource "google_service_account" "account" {
  for_each     = var.accounts
  project      = var.account
  account_id   = "${var.name}-${each.key}"
  display_name = "Groundplan ${var.name}: ${each.key}"
}

resource "google_service_account_iam_member" "account" {
  for_each           = var.accounts
  service_account_id = google_service_account.account[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.account}.svc.id.goog[${var.namespace}/groundplan-${each.key}]"
}

resource "google_storage_bucket_iam_member" "read" {
  for_each = { for name, may in local.granted : name => may if length(may.read) > 0 }
  bucket   = google_storage_bucket.store.name
  role     = google_project_iam_custom_role.object["read"].name
  member   = google_service_account.account[each.key].member
  condition {
    title = "folders"
    expression = join(" && ", concat(
      ["(${join(" || ", [for folder in each.value.read : "resource.name.startsWith('${local.objects}${folder}')"])})"],
      [for folder in each.value.hidden : "!resource.name.startsWith('${local.objects}${folder}')"],
    ))
  }
}

resource "google_storage_bucket_iam_member" "write" {
  for_each = { for name, may in local.granted : name => may if length(may.write) > 0 }
  bucket   = google_storage_bucket.store.name
  role     = google_project_iam_custom_role.object["write"].name
  member   = google_service_account.account[each.key].member
  condition {
    title      = "folders"
    expression = join(" || ", [for folder in each.value.write : "resource.name.startsWith('${local.objects}${folder}')"])
  }
}

resource "google_storage_bucket_iam_member" "list" {
  for_each = { for name, may in local.granted : name => may if may.list }
  bucket   = google_storage_bucket.store.name
  role     = google_project_iam_custom_role.object["list"].name
  member   = google_service_account.account[each.key].member
}

resource "google_storage_bucket_iam_member" "landing" {
  for_each = toset([for url in var.landing : split("/", trimprefix(url, "gs://"))[0]])
  bucket   = each.key
  role     = "roles/storage.objectViewer"
  member   = google_service_account.account["run"].member
}

# --- External Secrets reads the passwords

resource "google_service_account" "secrets" {
  project      = var.account
  account_id   = "${var.name}-secrets"
  display_name = "External Secrets of Groundplan ${var.name}"
}

resource "google_service_account_iam_member" "secrets" {
  service_account_id = google_service_account.secrets.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.account}.svc.id.goog[external-secrets/external-secrets]"
}

resource "google_secret_manager_secret_iam_member" "secrets" {
  for_each  = google_secret_manager_secret.database
  project   = var.account
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.secrets.member
}
