"""What both ways of deploying leave, compared; `make infra-check` does so with the real plan and with seeded mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.check.gcloud import ARGUMENTS, SCRIPT
from infra.check.identities import named
from infra.check.needs import Deployment, of_functions
from infra.check.outcome import Outcome, Right, outcome_of_script, rule, settings_of
from infra.check.plan import Plan
from infra.check.planned import outcome_of_plan
from infra.check.sameness import APART, NOT_SCRIPTED, RIGHTS_NOT_SCRIPTED, RIGHTS_SCRIPTED, differences
from tests.e2e.permissions.granted import granted, roles

ASKED = Deployment(project=ARGUMENTS[0], number="123456789012", prefix=ARGUMENTS[2], region=ARGUMENTS[1])
WIDE = (
    'gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$(account register)" '
    "--role=roles/secretmanager.admin --condition=None"
)
STALE = len(APART) + len(NOT_SCRIPTED) + len(RIGHTS_NOT_SCRIPTED) + len(RIGHTS_SCRIPTED)
"""Every name of a difference is said to be stale where two small outcomes are compared."""


def rights_of_functions(script: Path) -> set[Right]:
    functions = {ASKED.member(name) for name in ("register", "export", "export-worker", "refresh")}
    return {right for right in outcome_of_script(script).rights if right.member in functions}


def test_the_script_gives_each_function_what_it_needs_and_nothing_else() -> None:
    assert rights_of_functions(SCRIPT) == of_functions(ASKED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("invoker() {", f"{WIDE}\ninvoker() {{"),
        ("/secrets/$PREFIX-", "/secrets/"),
        ("databases/$DATABASE", "databases/(default)"),
        ('--permissions="$permissions"\n  gcloud', '--permissions="$permissions"\n  permissions+=,storage.buckets.get; gcloud'),
        ('"gs://$(bucket "$place")" "${grant[@]}"', '"gs://$(bucket tables)" "${grant[@]}"'),
    ],
)  # fmt: skip
def test_another_right_of_a_function_is_seen(old: str, new: str, tmp_path: Path) -> None:
    text = SCRIPT.read_text()
    assert old in text
    changed = tmp_path / "gcloud.sh"
    changed.write_text(text.replace(old, new))
    assert rights_of_functions(changed) != of_functions(ASKED)


def test_the_need_is_that_of_the_calls_of_the_end_to_end_run() -> None:
    """Both read access.json: what tests/e2e holds to calls is what plan and script are held to."""
    everything = Deployment("p", "1", "bi", "r", datasets=("d",), traces=True)
    found = {(right.member, right.allows) for right in of_functions(everything)}
    assert found == {(everything.member(right.function), right.permission) for right in granted(roles())}
    assert len(of_functions(everything)) == len(granted(roles()))


def test_a_setting_that_differs_and_is_not_named_is_told() -> None:
    ours, theirs = Outcome(), Outcome()
    for outcome, attempts in ((ours, "20"), (theirs, "-1")):
        outcome.add("queue bi-export", max_attempts=attempts, max_backoff="120s")
    first, *stale = differences(ours, theirs)
    assert first == "queue bi-export, max_attempts: Terraform plans '20', the script '-1'"
    assert len(stale) == STALE


def test_a_right_or_a_thing_of_one_way_alone_is_told() -> None:
    ours, theirs = Outcome(), Outcome()
    ours.grant("user:ada@example.org", "roles/run.invoker", "", "service r/bi-export", {})
    theirs.grant("user:ada@example.org", "roles/run.invoker", "", "service r/bi-refresh", {})
    theirs.add("account bi-else")
    told = list(differences(ours, theirs))
    assert told[:3] == [
        "only the script makes account bi-else",
        "only Terraform grants that user:ada@example.org has roles/run.invoker on service r/bi-export",
        "only the script grants that user:ada@example.org has roles/run.invoker on service r/bi-refresh",
    ]
    assert len(told) == 3 + STALE


def test_a_difference_is_known_by_both_its_values() -> None:
    """The name of a difference is no leave to differ in another way."""
    ours, theirs = Outcome(), Outcome()
    ours.add("function bi-register", max_instances="10")
    theirs.add("function bi-register", max_instances="20")
    assert len(list(differences(ours, theirs))) == STALE - 1
    theirs.add("function bi-register", max_instances="500")
    assert next(differences(ours, theirs)).startswith("function bi-register, max_instances")


def test_a_grant_in_another_form_is_not_overlooked() -> None:
    values: dict[str, Any] = {"bucket": "b", "role": "roles/storage.admin", "members": ["user:ada@example.org"]}
    kind = "google_storage_bucket_iam_binding"
    change = {
        "mode": "managed",
        "type": kind,
        "address": f"{kind}.x",
        "change": {"actions": ["create"], "after": values},
    }
    plan = Plan({"resource_changes": [change], "configuration": {"root_module": {"resources": []}}})
    (told,) = outcome_of_plan(plan).unread
    assert told.startswith(f"{kind}.x grants in a form")


def test_a_setting_is_what_the_code_makes_of_it() -> None:
    told = outcome_of_script(SCRIPT).things["function bi-export-worker"]
    assert (told["EXPORT_ROLE"], told["setting export_queue"], told["unread settings"]) == ("worker", "bi-export", ())
    assert settings_of({"BI_ADMIN": "ada@example.org"})["unread settings"] == ("BI_ADMIN",)
    assert "GOOGLE_CLOUD_PROJECT" in settings_of({})["settings"]


def test_a_rule_of_a_bucket_reads_alike_from_both() -> None:
    planned = rule(
        "Delete", {"days_since_noncurrent_time": 7, "with_state": "ARCHIVED", "age": None, "matches_prefix": []}
    )
    assert planned == rule("Delete", {"daysSinceNoncurrentTime": 7})
    assert planned != rule("Delete", {"age": 7})


def test_a_name_follows_from_what_is_known() -> None:
    account = named("google_service_account", {"account_id": "bi-export"}, "p")
    assert account["member"] == "serviceAccount:bi-export@p.iam.gserviceaccount.com"
    assert named("google_service_account", {"account_id": None}, "p") == {"account_id": None}
