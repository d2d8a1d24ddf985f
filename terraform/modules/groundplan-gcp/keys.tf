# One key for all that lies still, and who uses it: the services themselves, never a pod.

resource "google_kms_key_ring" "own" {
  project    = var.account
  name       = var.name
  location   = var.region
  depends_on = [terraform_data.asked]
}

resource "google_kms_crypto_key" "own" {
  name            = "own"
  key_ring        = google_kms_key_ring.own.id
  rotation_period = "7776000s"
  labels          = local.tags
  lifecycle {
    prevent_destroy = true # what it locked could never be read again; a key ring cannot be removed in any case
  }
}

resource "google_kms_crypto_key_iam_member" "user" {
  for_each = merge(
    { store = data.google_storage_project_service_account.store.email_address },
    # Google's own accounts for its services in this project; docs/terraform.md says how they come to be there
    { for service in ["gcp-sa-cloud-sql", "gcp-sa-artifactregistry", "gcp-sa-secretmanager", "compute-system", "container-engine-robot"] :
    service => "service-${data.google_project.here.number}@${service}.iam.gserviceaccount.com" },
  )
  crypto_key_id = google_kms_crypto_key.own.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"
}
