# Images under tags that nobody moves, and an index of Python packages.

resource "google_artifact_registry_repository" "images" {
  project       = var.account
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"
  kms_key_name  = google_kms_crypto_key.own.id
  labels        = local.tags
  depends_on    = [google_kms_crypto_key_iam_member.user]
  docker_config {
    immutable_tags = true
  }
  cleanup_policies {
    id     = "layers-that-no-tag-names"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "1209600s"
    }
  }
}

resource "google_artifact_registry_repository" "python" {
  count         = var.package_index ? 1 : 0
  project       = var.account
  location      = var.region
  repository_id = "${var.name}-python"
  format        = "PYTHON"
  kms_key_name  = google_kms_crypto_key.own.id
  labels        = local.tags
  depends_on    = [google_kms_crypto_key_iam_member.user]
}
