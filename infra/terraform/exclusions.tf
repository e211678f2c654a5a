# A link to a kept file is its path: whose word leads to the file for ten minutes. Cloud Run and the load balancer log the path of every
# request, so those of links are left out of the project's logs.
resource "google_logging_project_exclusion" "links" {
  name        = "${var.prefix}-links"
  description = "Requests for kept files by link"
  filter      = "httpRequest.requestUrl=~\"^https?://[^/]+/files/\" AND (resource.labels.service_name=\"${var.prefix}-export\" OR resource.labels.url_map_name=\"${var.prefix}-origin\")"

  depends_on = [google_project_service.needed]
}
