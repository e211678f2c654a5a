"""What both ways of deploying leave, compared; `make infra-check` does so with the real plan and with seeded mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.check.gcloud import ARGUMENTS, SCRIPT
from infra.check.identities import named
from infra.check.needs import Deployment, of_functions
from infra.check.outcome import Outcome, Right, rule, settings_of
from infra.check.plan import Plan
from infra.check.planned import outcome_of_plan
from infra.check.sameness import APART, NOT_SCRIPTED, RIGHTS_NOT_SCRIPTED, RIGHTS_SCRIPTED, differences, known_of
from infra.check.scripted import outcome_of_script
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


NOT_UNDERSTOOD = {
    "gcloud functions add-invoker-policy-binding f --member=allUsers": "`gcloud functions add-invoker-policy-binding f",
    "gcloud storage buckets set-iam-policy gs://b p.json": "`gcloud storage buckets set-iam-policy",
    "gcloud firestore databases update --database=d --no-delete-protection": "`gcloud firestore databases update",
    "gcloud beta tasks queues create q": "`gcloud beta tasks queues",
    "gcloud iam service-accounts create a1 --project=p": "create a1: nothing here reads --project=",
    "gcloud iam service-accounts create a2 b": "create a2: names a2 b; expected 1",
    "gcloud iam service-accounts create a3 -q": "create a3: nothing here reads -q",
    "gcloud projects add-iam-policy-binding p --member=user:a --role=r": "lacks --condition=",
    "gcloud iam roles update r --project=p --permissions=a --permissions=b": "says --permissions= twice",
    "gsutil ls || true": "runs gsutil, which nothing here reads",
    '[ "$(gcloud iam roles describe x --format="value(deleted)")" != True ] || gcloud iam service-accounts create later': (
        "run again, makes something else of account later"
    ),
}
"""A line more in the script, and what is said of it. The last does something only where the project holds what the script made."""


def test_what_is_not_understood_of_the_script_is_told(tmp_path: Path) -> None:
    """Also where it would show in nothing that is compared."""
    changed = tmp_path / "gcloud.sh"
    changed.write_text("\n".join([SCRIPT.read_text(), *NOT_UNDERSTOOD]))
    outcome = outcome_of_script(changed)
    assert [told for told in NOT_UNDERSTOOD.values() if not any(told in one for one in outcome.unread)] == []
    assert set(outcome.unread) <= set(differences(outcome, outcome))


def test_all_of_the_script_is_understood() -> None:
    assert outcome_of_script(SCRIPT).unread == []


def test_what_is_by_design_with_options_is_none_without() -> None:
    """A difference that only an option makes is not forgiven a plan that has none."""
    apart = Outcome(), Outcome()
    for outcome, hosts in zip(apart, (("10.0.0.5",), ()), strict=True):
        outcome.add("function bi-export", **{"setting warehouse_hosts": hosts})
    (optional,) = (one for one in APART if one.setting == "setting warehouse_hosts")
    bare = Plan({"resource_changes": [], "configuration": {"root_module": {"resources": []}}})
    assert optional not in known_of(bare).settings
    (told, *_) = differences(*apart, known_of(bare))
    assert told.startswith("function bi-export, setting warehouse_hosts: Terraform plans")
    assert not [one for one in differences(*apart) if one.startswith("function bi-export")]


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
