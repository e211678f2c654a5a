"""The deployment guide: every step has commands, and they are the programs' own. Terraform's and gcloud's: `make infra-check`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from infra.check import guide, real
from infra.check.gcloud import urls_of_script
from infra.check.terraform import ROOT, CheckError
from shared.api.routes import ROUTES
from shared.data.__main__ import _parser
from shared.data.erasure import Erased

TERRAFORM, GCLOUD = 0, 1
"""The two ways of the guide."""
ORIGIN = "bi.example.org"
"""Under which all functions are, once the guide has put them there."""
URLS = {f"bi-{name}-123456789012.europe-west1.run.app": name for name in ("register", "export", "refresh")}


@pytest.fixture(scope="module")
def ways() -> list[guide.Walk]:
    return guide.walks(guide.GUIDE.read_text())


@pytest.fixture(scope="module")
def seen(ways: list[guide.Walk]) -> guide.Walk:
    return ways[TERRAFORM]


def test_every_line_runs_and_programs_take_what_they_are_asked(ways: list[guide.Walk]) -> None:
    assert [guide.of_make(way) for way in ways] == [15, 3]
    assert [guide.of_script(way) for way in ways] == [3, 3]
    assert [real.of_git(way) for way in ways] == [1, 1]
    assert [real.of_curl(way) for way in ways] == [12, 10]


def test_a_program_that_is_not_there_is_told(ways: list[guide.Walk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CheckError, match="curl is not on this machine"):
        real.of_curl(ways[GCLOUD])


def test_every_step_is_walked_on_one_way_at_least() -> None:
    text = guide.GUIDE.read_text()
    walked = {step.title for way in guide.ways(text) for step in way}
    assert walked == {step.title for step in guide.steps(text)}


@pytest.mark.parametrize(("way", "count"), [(TERRAFORM, 12), (GCLOUD, 10)])
def test_every_address_is_a_route_of_the_function_that_is_called(ways: list[guide.Walk], way: int, count: int) -> None:
    asked = list(ways[way].of("curl"))
    for one in asked:
        words = one.words[1:]
        verb = words[words.index("-X") + 1] if "-X" in words else "GET"
        url = urlsplit(next(word for word in words if word.startswith("https://")))
        assert [
            route
            for route in ROUTES
            if route.method == verb
            and (url.netloc == ORIGIN or route.function in ("*", URLS[url.netloc]))
            and re.fullmatch(re.sub(r"\{\w+\}", r"[\\w-]+", route.path), url.path)
        ], one
    assert len(asked) == count


def test_an_address_of_no_function_is_found(ways: list[guide.Walk]) -> None:
    first, again = (one.words for one in ways[GCLOUD].of("infra/gcloud.sh"))
    assert first == again
    urls = urls_of_script(first[1:])
    guide.of_addresses(ways[GCLOUD], urls)
    with pytest.raises(CheckError, match="'Call it': no function of ours is at https://bi-register-"):
        guide.of_addresses(ways[GCLOUD], {url for url in urls if "register" not in url})


def test_every_environment_that_is_described_is_upgraded_and_destroyed(seen: guide.Walk) -> None:
    """In that order: the one that owns what a project has once goes last."""
    asked = [one.words for one in seen.of("make")]
    after = seen.asked[[one.words for one in seen.asked].index(("git", "pull")) :]
    upgraded = [
        one.words[2] for one in after if one.words[:2] == ("make", "deploy") and one.step == "Deploy the new release"
    ]
    assert upgraded == ["ENV=prod", "ENV=test"]
    assert [words[2] for words in asked if words[1] == "destroy"] == ["ENV=test", "ENV=prod"]
    removed = [one.words[3] for one in seen.of("infra/gcloud_remove.sh")]
    assert sorted(removed) == ["bi", "test"]


def test_no_line_of_the_guide_waits_for_ever() -> None:
    """What may never come true is tried for an hour at most, and then says so."""
    commands = "".join(step.commands for step in guide.steps(guide.GUIDE.read_text()))
    assert not re.findall(r"\b(?:until|while)\b", commands)
    assert 'echo "gave up after an hour: $*" >&2; return 1' in commands


def test_our_own_commands_take_what_they_are_asked(seen: guide.Walk) -> None:
    commands = [asked.words[3:] for asked in seen.of(".venv/bin/python") if asked.words[1:3] == ("-m", "shared.data")]
    assert len(commands) == len(list(seen.of(".venv/bin/python")))
    assert {_parser().parse_args(words).command for words in commands} == {
        "backup",
        "restore",
        "resume",
        "migrate",
        "erase",
    }


@pytest.mark.parametrize(
    ("way", "deploy"), [(TERRAFORM, ("make", "deploy", "ENV=prod")), (GCLOUD, ("infra/gcloud.sh",))]
)
def test_both_ways_upgrade_and_lift_what_waits_afterwards(
    ways: list[guide.Walk], way: int, deploy: tuple[str, ...]
) -> None:
    asked = [one.words for one in ways[way].asked]
    pulled = asked.index(("git", "pull"))
    deployed = next(at for at, words in enumerate(asked) if at > pulled and words[: len(deploy)] == deploy)
    assert asked.index((".venv/bin/python", "-m", "shared.data", "migrate")) > deployed


def test_the_guide_reads_of_an_erasure_what_the_command_says() -> None:
    said = re.findall(r"s/\^(\w+): //p", guide.GUIDE.read_text())
    assert said == ["unread", "running", "unread", "unread"]
    assert {*said} <= vars(Erased()).keys()


def test_the_described_environments_set_variables_that_there_are(seen: guide.Walk) -> None:
    declared = set(re.findall(r'^variable "(\w+)"', (ROOT / "infra/terraform/variables.tf").read_text(), re.MULTILINE))
    files = {name: text for name, text in seen.files.items() if name.endswith(".tfvars")}
    assert set(files) == {"infra/terraform/prod.tfvars", "infra/terraform/test.tfvars"}
    for text in files.values():
        assert set(re.findall(r"^(\w+) *=", text, re.MULTILINE)) <= declared
    assert 'project_number = "123456789012"' in files["infra/terraform/prod.tfvars"]


def test_what_state_rm_takes_is_told_by_environment(seen: guide.Walk) -> None:
    audit = {"google_storage_bucket.audit"}
    assert guide.left_out_of_destroy(seen) == {"test": audit, "prod": audit}
    text = guide.GUIDE.read_text()
    line = "  terraform -chdir=infra/terraform state rm google_storage_bucket.audit\n"
    late = text.replace(line, "").replace("done\n```\n\n### Delete what", f"done\n{line}```\n\n### Delete what")
    assert late.count(line) == text.count(line) == 1
    assert guide.left_out_of_destroy(guide.walks(late)[TERRAFORM]) == {"test": set(), "prod": set()}


def test_what_terraform_destroy_would_not_delete_is_seen() -> None:
    def made(kind: str, name: str, **after: object) -> dict[str, object]:
        change = {"actions": ["create"], "after": after}
        return {"address": f"{kind}.{name}", "type": kind, "mode": "managed", "change": change}

    changes = [
        made("google_storage_bucket", "full", force_destroy=False),
        made("google_storage_bucket", "data", force_destroy=True),
        made(
            "google_firestore_database",
            "kept",
            deletion_policy="ABANDON",
            delete_protection_state="DELETE_PROTECTION_ENABLED",
        ),
        made(
            "google_firestore_database",
            "gone",
            deletion_policy="DELETE",
            delete_protection_state="DELETE_PROTECTION_DISABLED",
        ),
        made("google_cloud_tasks_queue", "work"),
    ]
    plan = {"resource_changes": changes, "configuration": {"root_module": {"resources": []}}}
    assert guide.outlives_destroy(plan) == {"google_storage_bucket.full", "google_firestore_database.kept"}


def judge(text: str) -> None:
    for seen in guide.walks(text):
        for held in (guide.of_make, guide.of_script, real.of_git, real.of_curl):
            held(seen)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("make deploy ENV=prod\n", "make depoly ENV=prod\n", "make does not take"),
        ("make deploy ENV=prod\n", "make deploy ENV=other\n", "no step writes infra/terraform/other.tfvars"),
        ("git pull\n", "git pul\n", "git does not take"),
        ("git pull\n", "git pull --no-such-flag\n", "git does not take"),
        ("curl -X DELETE -H", "curl -X DELETE --no-such-flag -H", "curl does not take"),
        ('"Authorization: Bearer $TOKEN" $REGISTER/health', "'Authorization: Bearer $TOKEN' $REGISTER/health", "curl sent"),
        ("make package\n", "maek package\n", "ended with 127"),
        ("for name in register export-worker refresh; do", "for name in register export-worker refresh do", "ended with"),
        ("infra/gcloud.sh $PROJECT $REGION $PREFIX", "infra/gcloud.sh $PROJECT $REGION", "infra/gcloud.sh takes"),
        ("gcloud_remove.sh $PROJECT $REGION $PREFIX", "gcloud_remove.sh $PROJECT $REGION", "infra/gcloud_remove.sh takes"),
        ("$PREFIX $ADMIN\n", "$PREFIX $NOBODY\n", "NOBODY: unbound variable"),
        ("FILE=$BACKUPS/$PREFIX-$(date +%F).jsonl\n", "", "FILE: unbound variable"),
        ("*Name what will be there*,", "", "REGISTER: unbound variable"),
        (" *Take the settings of the export worker*,", "", "the settings of the export worker are missing"),
        ("*Back up*,", "*Back it up*,", "names no step, or leaves one out"),
        ("*Keep backups beside the checkout*, ", "", "names no step, or leaves one out"),
        ("```sh\ngit pull\nmake package\ninfra/gcloud.sh $PROJECT $REGION $PREFIX $ADMIN\n```\n", "Pull it.\n", "is a step and has"),
        ("What each was of,", "Look with `GET …/export-jobs/{id}`: what each was of,", "stands in a sentence"),
        ("## What was never applied\n", "## Notes\n", "needs one section"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_guide_is_found(before: str, after: str, complaint: str) -> None:
    text = guide.GUIDE.read_text()
    assert before in text
    with pytest.raises(CheckError, match=complaint):
        judge(text.replace(before, after))


def test_what_a_step_makes_by_hand_a_later_step_takes_away(seen: guide.Walk) -> None:
    """Terraform destroys its own; a grant or a database that a line of the guide makes is undone by a line further down."""
    assert left_by_hand(seen) == set()
    kept = tuple(one for one in seen.asked if "databases delete" not in " ".join(one.words))
    assert left_by_hand(guide.Walk(kept, seen.files)) == {"database bi-restored"}
    kept = tuple(one for one in seen.asked if "record-sets delete" not in " ".join(one.words))
    assert left_by_hand(guide.Walk(kept, seen.files)) == {"record bi.example.org. in my-zone"}
    kept = tuple(one for one in seen.asked if "service-accounts delete" not in " ".join(one.words))
    assert len(left_by_hand(guide.Walk(kept, seen.files))) == 2


def left_by_hand(seen: guide.Walk) -> set[str]:
    left: set[str] = set()
    for one in seen.asked:
        named = dict(word.removeprefix("--").split("=", 1) for word in one.words if re.match(r"--[\w-]+=", word))
        if (verb := next((word for word in one.words if word.endswith("-iam-policy-binding")), "")) != "":
            on = one.words[one.words.index(verb) + 1]
            grant = f"grant {named['role']} to {named['member']} on {on}"
            left = left | {grant} if verb.startswith("add") else left - {grant}
        elif one.words[1:4] == ("iam", "service-accounts", "create"):
            left |= {f"account {one.words[4]}"}
        elif one.words[1:4] == ("iam", "service-accounts", "delete"):
            left -= {f"account {one.words[4].partition('@')[0]}"} | {own for own in left if own.endswith(one.words[4])}
        elif one.words[0] == "infra/gcloud_moment.sh":
            left |= {f"database {one.words[2]}-restored"}
        elif one.words[1:4] == ("dns", "record-sets", "create"):
            left |= {f"record {one.words[4]} in {named['zone']}"}
        elif one.words[1:4] == ("dns", "record-sets", "delete"):
            left -= {f"record {one.words[4]} in {named['zone']}"}
        elif one.words[1:4] == ("firestore", "databases", "delete"):
            left -= {f"database {named['database']}"}
    return left
