"""Policies on small plans; `make infra-check` holds them to the real one and to seeded mistakes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from infra.check.policies import Plan, callers_are_checked
from infra.check.watching import LOGGED, links_are_not_logged
from shared.api.routes import ROUTES

FUNCTION = "google_cloudfunctions2_function"


def planned(*resources: tuple[str, dict[str, Any]]) -> Plan:
    """Return a plan that creates these (type, values), each under the address `<type>.x`."""
    changes = [
        {"mode": "managed", "type": kind, "address": f"{kind}.x", "change": {"actions": ["create"], "after": values}}
        for kind, values in resources
    ]
    return Plan({"resource_changes": changes, "configuration": {"root_module": {"resources": []}}})


def function(**settings: str) -> tuple[str, dict[str, Any]]:
    return FUNCTION, {"service_config": [{"environment_variables": settings}]}


BELIEVING = function(CLOUD_RUN_CHECKS_CALLERS="true")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("google_cloud_run_service_iam_member", {"member": "allUsers"}),
        ("google_cloud_run_service_iam_binding", {"members": ["user:ada@example.org", "allAuthenticatedUsers"]}),
        ("google_cloud_run_v2_service_iam_member", {"member": "allUsers"}),
        ("google_cloud_run_v2_service_iam_policy", {"policy_data": '{"bindings": [{"members": ["allUsers"]}]}'}),
        ("google_cloudfunctions2_function_iam_binding", {"members": ["allUsers"]}),
        ("google_project_iam_member", {"member": "allAuthenticatedUsers"}),
        ("google_cloud_run_v2_service", {"invoker_iam_disabled": True}),
    ],
)
def test_a_public_invoker_is_found_where_unsigned_tokens_are_believed(kind: str, values: dict[str, Any]) -> None:
    (found,) = callers_are_checked(planned(BELIEVING, (kind, values)))
    assert found.startswith(f"{kind}.x lets")


def test_invokers_with_a_name_are_none() -> None:
    ada = ("google_cloud_run_service_iam_member", {"member": "user:ada@example.org"})
    assert list(callers_are_checked(planned(BELIEVING, ada))) == []


@pytest.mark.parametrize("settings", [{}, {"CLOUD_RUN_CHECKS_CALLERS": "false"}])
def test_a_function_that_believes_no_token_of_cloud_runs_is_found(settings: dict[str, str]) -> None:
    (found,) = callers_are_checked(planned(function(**settings)))
    assert "CLOUD_RUN_CHECKS_CALLERS" in found


LINKS = 'httpRequest.requestUrl=~"^https?://[^/]+/files/" AND '
PLACES = '(resource.labels.service_name="bi-export" OR resource.labels.url_map_name="bi-origin")'


def test_the_path_that_no_log_keeps_is_that_of_a_link() -> None:
    matched = [
        [route.path for route in ROUTES if re.fullmatch(re.sub(r"\{\w+\}", "[^/:]+", route.path), path)]
        for path in LOGGED
    ]
    assert matched[0] == ["/files/{id}"]
    assert ["/files/{id}"] not in matched[1:]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (LINKS + PLACES, 0),
        (LINKS.replace("^https?://[^/]+", "") + PLACES, 1),
        (LINKS.replace("/files/", "/file/") + PLACES, 1),
        (LINKS + PLACES.replace("bi-export", "bi2-export"), 1),
        (LINKS + PLACES.partition(" OR")[0] + ")", 1),
    ],
)
def test_a_filter_that_keeps_links_or_loses_others_is_found(text: str, count: int) -> None:
    plan = planned(("google_logging_project_exclusion", {"filter": text}))
    plan.variables = {"prefix": {"value": "bi"}}
    assert len(list(links_are_not_logged(plan))) == count
