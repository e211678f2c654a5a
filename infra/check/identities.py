"""What Google calls the things whose names it makes from what is configured: so that a plan tells who is granted what, and on what."""

from __future__ import annotations

from typing import Any

_NAMES = {
    "google_service_account": {
        "email": "{account_id}@{project}.iam.gserviceaccount.com",
        "member": "serviceAccount:{account_id}@{project}.iam.gserviceaccount.com",
        "name": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
        "id": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
    },
    "google_project_iam_custom_role": {
        "name": "projects/{project}/roles/{role_id}",
        "id": "projects/{project}/roles/{role_id}",
    },
    "google_artifact_registry_repository": {
        "id": "projects/{project}/locations/{location}/repositories/{repository_id}"
    },
    # Google numbers these, or what they are in; a plan needs only to tell them apart.
    "google_monitoring_slo": {"name": "projects/{project}/services/{service}/serviceLevelObjectives/{slo_id}"},
    "google_logging_project_sink": {"writer_identity": "serviceAccount:writer-of-{name}"},
    "google_monitoring_notification_channel": {"id": "channel {display_name}", "name": "channel {display_name}"},
}


def named(kind: str, planned: dict[str, Any], project: str) -> dict[str, Any]:
    """Fill in the names of a resource that follow from what is configured; what hangs on something unknown stays unknown."""
    known = {name: value for name, value in planned.items() if isinstance(value, str)} | {"project": project}
    for name, form in _NAMES.get(kind, {}).items():
        try:
            planned[name] = form.format_map(known)
        except KeyError:
            continue
    return planned
