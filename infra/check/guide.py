"""The deployment guide, walked: every line of its steps runs in bash, where the programs are stand-ins that note what they are asked.

Each of its ways, with Terraform and without, has a bash of its own: what only the other sets is not set.

So loops, variables and substitutions are expanded as they would be, and the files that steps write are written. What was noted is then
held to the real programs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.check.plan import Plan
from infra.check.terraform import ROOT, CheckError, Terraform, run_to_the_end

GUIDE = ROOT / "infra" / "DEPLOY.md"
NEVER_APPLIED = "What was never applied"
WITHOUT = "## Without Terraform\n"
EXECUTED = {name: shutil.which(name) for name in ("cat", "date", "grep", "rm", "sed", "tee", "tr")} | {
    "python3": str(Path(sys.executable).resolve()),
}
"""What runs as it is: it only reads and writes files of the walk, or tells the day."""

WALK_S = 60
IDENTITY = "an-identity-token"
"""What gcloud answers for one, below."""

IN_A_SENTENCE = re.compile(r"`(?:make|git|gcloud|terraform|curl|python3?|infra/\S+|GET|POST|PUT|PATCH|DELETE) [^`]+`")
SCRIPTS = ("infra/gcloud.sh", "infra/gcloud_moment.sh", "infra/gcloud_remove.sh")
STAND_INS = ("make", "git", "gcloud", "terraform", "curl", ".venv/bin/python", *SCRIPTS)
ANSWERS = r"""
[ "$NAME" != .venv/bin/python ] || : "${LOCATION:?the settings of the export worker are missing}"
case "$NAME $*" in
  "gcloud projects describe"*projectNumber*) echo 123456789012 ;;
  "gcloud auth print-identity-token"*) echo an-identity-token ;;
  "gcloud firestore backups list"*) echo projects/my-project/locations/europe-west1/backups/b ;;
  "terraform "*" output -json origin") echo '{"url": "https://bi.example.org", "address": "203.0.113.7"}' ;;
  "gcloud functions describe"*) echo '{"serviceConfig": {"environmentVariables": {"LOCATION": "europe-west1"}}}' ;;
  ".venv/bin/python "*" erase "*) printf '%s\n' 'silenced: none' 'erased: none' 'running: 01ke70ehg0txapbgjgxdvk3037' 'unread: 01, 02' ;;
  "make "*) /bin/chmod +x .venv/bin/python ;;
esac
"""
_STAND_IN = """#!/bin/bash
NAME='…'
printf '%s\\0' "$NAME" "$@" >>"$NOTES"; printf '\\n' >>"$NOTES"
"""


@dataclass(frozen=True)
class Step:
    """A `###` of the guide and the text of its `sh` blocks, joined."""

    title: str
    commands: str


@dataclass(frozen=True)
class Asked:
    """One program that a step runs, with its arguments as bash expanded them."""

    step: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Walk:
    """What the guide asks of programs, in order, and the files that its steps wrote, by name."""

    asked: tuple[Asked, ...]
    files: Mapping[str, str]

    @property
    def environments(self) -> list[str]:
        """The files that describe one."""
        return [name for name in self.files if name.endswith(".tfvars")]

    def of(self, program: str) -> Iterator[Asked]:
        """Yield what one program is asked."""
        return (asked for asked in self.asked if asked.words[0] == program)


def steps(text: str) -> list[Step]:
    """Return the guide's steps in order.

    Raises `CheckError` for one that has no command or tells one in a sentence, and for commands outside of steps.
    """
    found = []
    for part in re.split(r"^(?=#{1,3} )", text, flags=re.MULTILINE):
        title = part.partition("\n")[0].lstrip("# ")
        commands = "".join(re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL))
        if part.startswith("### ") != bool(commands):
            raise CheckError(f"infra/DEPLOY.md, {title!r}: a `###` is a step and has commands, nothing else has")
        if commands and (
            told := IN_A_SENTENCE.search(re.sub(r"^```sh\n.*?^```", "", part, flags=re.MULTILINE | re.DOTALL))
        ):
            raise CheckError(
                f"infra/DEPLOY.md, {title!r}: {told.group()} stands in a sentence, where nothing checks it"
            )
        if commands:
            found.append(Step(title, commands))
    if text.count(f"## {NEVER_APPLIED}\n") != 1:
        raise CheckError(f"infra/DEPLOY.md needs one section {NEVER_APPLIED!r}")
    return found


def ways(text: str) -> list[list[Step]]:
    """Return the steps with Terraform, and those without it, which the guide names in the order to walk them.

    Raises `CheckError` as `steps`, for a step that is named and not there, and for one of the second way that is not named.
    """
    found = steps(text)
    own = {step.title for step in steps(text)} - {step.title for step in steps(text.partition(WITHOUT)[0])}
    said = re.search(r"^Walk (.*?)\.$", text.partition(WITHOUT)[2], re.MULTILINE | re.DOTALL)
    named = re.findall(r"\*([^*]+)\*", said.group(1).replace("\n", " ")) if said else []
    by_title = {step.title: step for step in found}
    if wrong := {*named} - by_title.keys() | own - {*named}:
        raise CheckError(f"infra/DEPLOY.md, 'Without Terraform': names no step, or leaves one out: {sorted(wrong)}")
    return [[step for step in found if step.title not in own], [by_title[title] for title in named]]


def walks(text: str) -> list[Walk]:
    """Walk every way. Raises `CheckError`."""
    return [walk(way) for way in ways(text)]


def walk(found: list[Step]) -> Walk:
    """Run all steps in one bash, in a folder of their own. Raises `CheckError` with bash's complaint about the first that fails."""
    with tempfile.TemporaryDirectory(prefix="guide-") as name:
        folder = Path(name)
        place, notes = folder / "checkout", folder / "notes"
        (place / "infra").mkdir(parents=True)
        shutil.copytree(ROOT / "infra" / "terraform", place / "infra" / "terraform", ignore=_unpublished)
        before = {path for path in place.rglob("*") if path.is_file()}
        for program in STAND_INS:
            _write_stand_in(place if "/" in program else folder / "bin", program)
        for program, path in EXECUTED.items():
            (folder / "bin" / program).symlink_to(path or f"/bin/{program}")
        script = "set -eu\n" + "".join(
            f"printf '# %s\\n' {index} >>\"$NOTES\"\n{step.commands}" for index, step in enumerate(found)
        )
        environment = {"PATH": str(folder / "bin"), "NOTES": str(notes), "HOME": name, "LC_ALL": "C"}
        bash = [shutil.which("bash") or "bash", "-c", script]
        done = run_to_the_end(bash, place, environment, WALK_S, "a walk through infra/DEPLOY.md")
        noted = notes.read_text(encoding="utf-8") if notes.exists() else ""
        if done.returncode:
            last = found[int(re.findall(r"^# (\d+)$", noted, re.MULTILINE)[-1])].title if noted else "bash"
            raise CheckError(f"infra/DEPLOY.md, {last!r}: ended with {done.returncode}: {done.stderr[-1000:]}")
        programs = {place / program for program in STAND_INS}
        written = {path for path in place.rglob("*") if path.is_file()} - before - programs
        return Walk(
            tuple(_asked(noted, found)),
            {str(path.relative_to(place)): path.read_text(encoding="utf-8") for path in written},
        )


def _unpublished(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith((".tfvars", ".tfstate")) or name.startswith(".terraform")}


def _write_stand_in(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_STAND_IN.replace("…", name) + ANSWERS, encoding="utf-8")
    path.chmod(0o644 if name.startswith(".venv") else 0o755)  # make installs that


def _asked(noted: str, found: list[Step]) -> Iterator[Asked]:
    title = ""
    for line in noted.split("\n"):
        if line.startswith("# "):
            title = found[int(line[2:])].title
        elif line:
            yield Asked(title, tuple(line.rstrip("\0").split("\0")))


def of_make(seen: Walk) -> int:
    """Let make read every target that is asked for. Returns how many. Raises `CheckError`, as all that follow."""
    count = 0
    for asked in seen.of("make"):
        for name in re.findall(r"ENV=(\S+)", " ".join(asked.words)):
            if f"infra/terraform/{name}.tfvars" not in seen.files:
                raise CheckError(f"infra/DEPLOY.md, {asked.step!r}: no step writes infra/terraform/{name}.tfvars")
        _run("make", asked, ["make", "--dry-run", *asked.words[1:]], expected=0)
        count += 1
    return count


def of_script(seen: Walk) -> int:
    """Hold the arguments of our scripts to their usage. Returns how many."""
    asked = [one for name in SCRIPTS for one in seen.of(name)]
    for one in asked:
        name = one.words[0]
        text = (ROOT / name).read_text(encoding="utf-8")
        usage = re.search(rf"^# Usage: {re.escape(name)} ([A-Z_ ]+?) *(?:\(|$)", text, re.MULTILINE)
        if usage is None or len(usage.group(1).split()) != len(one.words) - 1:
            raise CheckError(f"infra/DEPLOY.md, {one.step!r}: {name} takes {usage and usage.group(1)}")
    return len(asked)


def of_terraform(seen: Walk, terraform: Terraform) -> int:
    """Hold folders, subcommands, flags, variables and outputs to Terraform and to the configuration. Returns how many."""
    asked = list(seen.of("terraform"))
    for one in asked:
        chdir, command, *rest = one.words[1:]
        folder = ROOT / chdir.removeprefix("-chdir=")
        if not chdir.startswith("-chdir=") or not list(folder.glob("*.tf")):
            raise CheckError(f"infra/DEPLOY.md, {one.step!r}: {chdir} is no folder of Terraform's")
        usage = terraform.run(terraform.folder, command, "-help", check=False).stdout
        declared = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.tf"))
        for word in rest:
            flag, _, value = word.partition("=")
            if word.startswith("-") and not re.search(rf"^ +{re.escape(flag)}\b", usage, re.MULTILINE):
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: terraform {command} has no {flag}")
            if flag == "-var" and f'variable "{value.partition("=")[0]}"' not in declared:
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: {folder.name} has no variable {value}")
            if command == "output" and not word.startswith("-") and f'output "{word}"' not in declared:
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: there is no output {word!r}")
            if command == "state" and "." in word and 'resource "{}" "{}"'.format(*word.split(".")) not in declared:
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: there is no resource {word}")
    return len(asked)


def of_environments(seen: Walk, terraform: Terraform, place: Path) -> set[str]:
    """Plan with each environment that the guide describes; hold what it destroys to those. Returns the functions' URLs."""
    described = seen.environments
    known: set[str] = set()
    kept: dict[str, set[str]] = {}
    for name in described:
        variables = terraform.folder / Path(name).name
        variables.write_text(seen.files[name], encoding="utf-8")
        plan = terraform.plan(place, variables)
        known |= set(plan["planned_values"]["outputs"]["urls"]["value"].values())
        if domain := plan["variables"]["domain"].get("value"):
            known.add(f"https://{domain}")
        kept[Path(name).stem] = outlives_destroy(plan)
    if kept != (left_out := left_out_of_destroy(seen)):
        raise CheckError(
            f"infra/DEPLOY.md: `make destroy` would stop at {kept}, and what `state rm` leaves out of each is {left_out}"
        )
    return known


def of_addresses(seen: Walk, known: set[str]) -> None:
    """Hold what curl is asked for to the URLs of functions."""
    for one in seen.of("curl"):
        if not any(word.startswith(f"{url}/") for word in one.words for url in known):
            raise CheckError(f"infra/DEPLOY.md, {one.step!r}: no function of ours is at {one.words[-1]}")


def left_out_of_destroy(seen: Walk) -> dict[str, set[str]]:
    """What `terraform state rm` took from each environment before it was destroyed; Terraform works on the one of the last make."""
    taken: dict[str, set[str]] = {}
    destroyed: dict[str, set[str]] = {}
    present = ""
    for one in seen.asked:
        if one.words[0] == "make" and (named := re.search(r"ENV=(\S+)", " ".join(one.words))):
            present = named.group(1)
            if "destroy" in one.words:
                destroyed[present] = taken.pop(present, set())
        elif one.words[0] == "terraform" and one.words[2:4] == ("state", "rm"):
            taken.setdefault(present, set()).add(one.words[-1])
    return destroyed


def outlives_destroy(plan: dict[str, Any]) -> set[str]:
    """The resources of a plan that `terraform destroy` would not delete: it stops at them, or forgets them."""
    seen = Plan(plan)
    buckets = {address for address, values in seen.of("google_storage_bucket") if not values.get("force_destroy")}
    databases = {
        address
        for address, values in seen.of("google_firestore_database")
        if values.get("deletion_policy") != "DELETE"
        or values.get("delete_protection_state") == "DELETE_PROTECTION_ENABLED"
    }
    protected = {address for address, values in seen.of("google_") if values.get("deletion_protection")}
    return buckets | databases | protected


def gcloud_of_guide() -> list[str]:
    """Every gcloud command of the guide, as lines of shell."""
    seen = walks(GUIDE.read_text(encoding="utf-8"))
    return [" ".join(_quoted(word) for word in asked.words) for way in seen for asked in way.of("gcloud")]


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else json.dumps(word)


def _run(program: str, asked: Asked, command: list[str], *, expected: int) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": tempfile.gettempdir(), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != expected:
        raise CheckError(
            f"infra/DEPLOY.md, {asked.step!r}: {program} does not take {' '.join(asked.words)}: {done.stderr[-500:]}"
        )
