# The bucket: nothing public, a removed object is there for some days yet, and events by push.

resource "google_storage_bucket" "store" {
  project                     = var.account
  name                        = "${var.name}-${data.google_project.here.number}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect
  labels                      = local.tags
  depends_on                  = [google_kms_crypto_key_iam_member.user]

  versioning {
    enabled = true
  }
  encryption {
    default_kms_key_name = google_kms_crypto_key.own.id
  }
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.keep.versions
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = var.keep.incomplete
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
  lifecycle_rule {
    condition {
      age            = var.keep.logs
      matches_prefix = ["${var.prefix}/logs/storage/"]
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_pubsub_topic" "arrived" {
  for_each = toset(var.push_url == "" ? [] : ["images", "images-dead"])
  project  = var.account
  name     = "${var.name}-${each.key}"
  labels   = local.tags
}

resource "google_pubsub_topic_iam_member" "store" {
  for_each = { for name, topic in google_pubsub_topic.arrived : name => topic if name == "images" }
  project  = var.account
  topic    = each.value.name
  role     = "roles/pubsub.publisher"
  member   = "serviceAccount:${data.google_storage_project_service_account.store.email_address}"
}

resource "google_pubsub_topic_iam_member" "dead" {
  for_each = { for name, topic in google_pubsub_topic.arrived : name => topic if name == "images-dead" }
  project  = var.account
  topic    = each.value.name
  role     = "roles/pubsub.publisher"
  member   = "serviceAccount:service-${data.google_project.here.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# what arrives in inbox/; sheets in landing/ are found by the sensor's listings
resource "google_storage_notification" "images" {
  count              = var.push_url == "" ? 0 : 1
  bucket             = google_storage_bucket.store.name
  topic              = google_pubsub_topic.arrived["images"].id
  payload_format     = "JSON_API_V1"
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "${var.prefix}/inbox/"
  depends_on         = [google_pubsub_topic_iam_member.store]
}

resource "google_pubsub_subscription" "images" {
  count                      = var.push_url == "" ? 0 : 1
  project                    = var.account
  name                       = "${var.name}-images"
  topic                      = google_pubsub_topic.arrived["images"].id
  ack_deadline_seconds       = 30
  message_retention_duration = "604800s"
  labels                     = local.tags
  push_config {
    push_endpoint = "${trimsuffix(var.push_url, "/")}/v1/arrivals/pubsub?token=${var.push_token}"
  }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.arrived["images-dead"].id
    max_delivery_attempts = 30
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
}
