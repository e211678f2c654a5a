"""`make infra-check`: everything about the deployment that can be proven without a Google Cloud project, and without network."""
