"""The deployment by gcloud alone grants what Terraform grants."""

from __future__ import annotations

import re
import shlex

import pytest

from infra.check.gcloud import commands_of_moment, commands_of_script, left_behind, removal_of_all
from infra.check.terraform import ROOT, CheckError
from tests.e2e.permissions.granted import granted, roles

NOT_OFFERED = {"queries", "datasets", "traces"}


def test_every_function_gets_the_rights_that_access_json_lists() -> None:
    commands = [shlex.split(command) for command in commands_of_script(missing=True)]
    made = {
        words[4].removeprefix("bi_"): words[-1].removeprefix("--permissions=").split(",")
        for words in commands
        if words[1:4] == ["iam", "roles", "create"]
    }
    assert made == {name: role["permissions"] for name, role in roles().items()}
    found = set()
    for words in commands:
        line = " ".join(words)
        grant = re.search(r"serviceAccount:bi-([\w-]+)@.* --role=projects/example-project/roles/bi_(\w+)", line)
        if grant:
            on = words[words.index("add-iam-policy-binding") + 1]
            found |= {(grant.group(1), permission, _place(on, line)) for permission in made[grant.group(2)]}
    assert found == {(r.function, r.permission, r.on) for r in granted(roles()) if r.on not in NOT_OFFERED}


def test_what_builds_holds_what_terraform_grants() -> None:
    grants = {}
    for words in map(shlex.split, commands_of_script(missing=True)):
        flags = dict(word.split("=", 1) for word in words if re.match(r"--[\w-]+=", word))
        if "serviceAccount:bi-build@" in flags.get("--member", ""):
            on = words[words.index("add-iam-policy-binding") + 1]
            grants[flags["--role"]] = (on, flags.get("--condition", "").partition(",title=")[0])
    text = (ROOT / "infra" / "terraform" / "identities.tf").read_text()
    (condition,) = re.findall(r'expression = "(.*)"$', text, re.MULTILINE)
    of_functions = condition.partition(" || ")[0].replace('\\"', '"').replace("${var.project_number}", "123456789012")
    assert grants == {
        "roles/artifactregistry.writer": ("bi-functions", ""),
        "roles/logging.logWriter": ("example-project", "None"),
        "roles/storage.objectViewer": ("example-project", f"expression={of_functions}"),
    }
    assert {*re.findall(r'"(roles/[\w.]+)"', text)} == grants.keys()


def test_what_runs_again_has_the_limits_that_a_new_queue_gets() -> None:
    new, again = (
        {words[4]: words[5:] for words in map(shlex.split, commands_of_script(missing=missing)) if words[1:4] == verb}
        for missing, verb in ((True, ["tasks", "queues", "create"]), (False, ["tasks", "queues", "update"]))
    )
    assert sorted(new) == ["bi-export", "bi-notices", "bi-refresh"]
    assert new == again


def test_cloud_run_checks_every_caller_of_every_function() -> None:
    """The functions are told to believe tokens without a signature: so nobody may come in unchecked."""
    lines = commands_of_script(missing=True)
    deployed = [words for words in map(shlex.split, lines) if words[1:3] == ["functions", "deploy"]]
    assert [words[3] for words in deployed] == ["bi-register", "bi-export", "bi-export-worker", "bi-refresh"]
    for words in deployed:
        assert "--no-allow-unauthenticated" in words
        (settings,) = (word for word in words if word.startswith("--set-env-vars="))
        assert "CLOUD_RUN_CHECKS_CALLERS=true" in settings.removeprefix("--set-env-vars=").split(",")
    assert not [line for line in lines if re.search(r"allUsers|allAuthenticatedUsers|no-invoker-iam-check", line)]


@pytest.mark.parametrize(
    ("admin", "member"),
    [
        ("ada@example.org", "user:ada@example.org"),
        ("robot@p.iam.gserviceaccount.com", "serviceAccount:robot@p.iam.gserviceaccount.com"),
    ],
)
def test_an_administrator_is_granted_as_what_he_is(admin: str, member: str) -> None:
    """IAM refuses a service account as `user:`."""
    grants = [line for line in commands_of_script(missing=True, admin=admin) if f":{admin}" in line]
    assert len(grants) == 3
    assert all(f"--member={member}" in shlex.split(line) for line in grants)


BACKUP = "projects/example-project/locations/europe-west1/backups/b"


def test_the_newest_backup_is_restored_once() -> None:
    first = commands_of_moment(backup=BACKUP, state="SUCCESSFUL")
    again = commands_of_moment(backup=BACKUP, state="SUCCESSFUL", missing=False)
    restore = f"gcloud firestore databases restore --source-backup={BACKUP} --destination-database=bi-restored"
    assert (first.count(restore), again.count(restore)) == (1, 0)


@pytest.mark.parametrize(
    ("backup", "state", "complaint"),
    [
        ("", "SUCCESSFUL", "no backup of bi-connectors that is ready"),
        (BACKUP, "PROCESSING", "not whole after four hours"),
        (BACKUP, "FAILED", "could not be restored"),
        (BACKUP, "CANCELLED", "could not be restored"),
    ],
)
def test_a_moment_that_cannot_be_taken_ends_by_itself_and_says_why(backup: str, state: str, complaint: str) -> None:
    """Without an end, or on the first day, nobody would know what the command waits for."""
    with pytest.raises(CheckError, match=complaint):
        commands_of_moment(backup=backup, state=state)


def test_what_one_script_makes_the_other_takes_away_and_nothing_else() -> None:
    assert left_behind() == (set(), set())


def test_something_that_the_removal_forgot_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [
        one for one in removal_of_all() if not re.search(r"queues delete bi-notices|roles delete bi_tracer", one)
    ]
    monkeypatch.setattr(
        "infra.check.gcloud.removal_of_all", lambda: [*commands, "gcloud tasks queues delete bi2-export"]
    )
    assert left_behind() == (
        {("tasks queues", "bi-notices"), ("iam roles", "bi_tracer")},
        {("tasks queues", "bi2-export")},
    )


def _place(on: str, line: str) -> str:
    """Return what a grant is on, as `granted` names it."""
    if on.startswith("gs://"):
        return f"bucket {on.rpartition('-')[2]}"
    if "@" in on:
        return f"account {on.partition('@')[0].removeprefix('bi-')}"
    if on.startswith("bi-"):
        return f"queue {on.removeprefix('bi-')}"
    return "secrets" if "own-secrets" in line else "database" if "own-database" in line else "project"
