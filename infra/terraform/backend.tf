# The bucket comes from bootstrap/; `make deploy` names it and the environment's prefix.
terraform {
  backend "gcs" {}
}
