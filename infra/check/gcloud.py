"""Every gcloud command of the deployment script and of the guide, held to gcloud's own command tree, offline.

The script runs with a `gcloud` that only notes what it is called with, so loops and variables are expanded as they would be.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.check import listing
from infra.check.guide import gcloud_of_guide
from infra.check.terraform import ROOT, CheckError, run_to_the_end

SCRIPT, REMOVAL, MOMENT = (ROOT / "infra" / f"{name}.sh" for name in ("gcloud", "gcloud_remove", "gcloud_moment"))
SCRIPT_S = 180
ARGUMENTS = ("example-project", "europe-west1", "bi", "ada@example.org")
_NOTES = r"""
gcloud() {
  { printf 'gcloud'; printf ' %q' "$@"; echo; } >>"$NOTES"
  local word
  for word in "$@"; do
    case $word in --lifecycle-file=* | --policy=*) { printf '%s ' "${word#*=}"; cat "${word#*=}"; } >>"$FILES" ;; esac
  done
  case "$*" in
    "projects describe"*) echo 123456789012 ;;
    *"value(deleted)"*) [ "$MISSING" = 1 ] || echo True ;;
    "logging sinks describe"*) [ "$MISSING" = 1 ] || echo bi-links ;;
    "firestore backups list"*) echo "${BACKUP-}" ;;
    "firestore operations list"*) echo "${STATE-}" ;;
    "projects get-iam-policy"*) printf '%s\n' "$GRANTS" ;;
    "iam roles list"*) echo "$ROLES" ;;
    "scheduler jobs list"*) echo bi-schedule-01ke70ehg0txapbgjgxdvk3037 ;;
    "secrets list"*) echo bi-connector-sheets bi-channel-team ;;
    *describe*) return "$MISSING" ;;
  esac
}
sleep() { :; }
command_not_found_handle() {
  { printf '%q ' "$@"; echo; } >>"$NOTES"
  echo "$1: nothing here reads what that does" >&2
  return 127
}
"""
_PROGRAMS = {name: shutil.which(name) or f"/bin/{name}" for name in ("cat", "mktemp", "rm", "tee")} | {
    "python3": str(Path(sys.executable).resolve()),
}
"""What the scripts may run as it is; any other program is noted like gcloud."""


def commands_of_script(*, missing: bool, admin: str = ARGUMENTS[-1]) -> list[str]:
    """What the script would run, once on an empty project (`missing`) and once where everything is there."""
    return _run(SCRIPT, (*ARGUMENTS[:-1], admin), {"MISSING": "1" if missing else "0"})


def commands_of_removal(grants: str, roles: str) -> list[str]:
    """What the removal would run where everything is there: `grants` as lines `role|member`, `roles` as names between spaces."""
    return _run(REMOVAL, ARGUMENTS[:-1], {"MISSING": "0", "GRANTS": grants, "ROLES": roles})


def commands_of_moment(*, backup: str, state: str, missing: bool = True) -> list[str]:
    """What taking a moment of Firestore's backups would run: `backup` is the newest, empty for none, `state` how its restore stands."""
    told = {"MISSING": "1" if missing else "0", "BACKUP": backup, "STATE": state}
    return _run(MOMENT, (ARGUMENTS[0], ARGUMENTS[2]), told)


def urls_of_script(arguments: tuple[str, ...]) -> set[str]:
    """Where the functions are that the script deploys, called with these arguments."""
    words = [word for command in _run(SCRIPT, arguments, {"MISSING": "1"}) for word in shlex.split(command)]
    return {url for word in words for url in re.findall(r"_URL=(https://[^,]+)", word)}


def commands_and_files(script: Path = SCRIPT, *, missing: bool = True) -> tuple[list[str], dict[str, str]]:
    """What the script would run (see `commands_of_script`), and the text of each file that it names."""
    return _run_with_files(script, ARGUMENTS, {"MISSING": "1" if missing else "0"})


def _run(script: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> list[str]:
    return _run_with_files(script, arguments, environment)[0]


def _run_with_files(
    script: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    with (
        tempfile.NamedTemporaryFile("r", suffix=".txt") as notes,
        tempfile.NamedTemporaryFile("r") as files,
        tempfile.TemporaryDirectory() as programs,
    ):
        for name, path in _PROGRAMS.items():
            (Path(programs) / name).symlink_to(path)
        bash = [shutil.which("bash") or "/bin/bash", "-c", f'{_NOTES}\nsource "$0" "$@"', str(script), *arguments]
        told = {"PATH": programs, "NOTES": notes.name, "FILES": files.name, "GRANTS": "", "ROLES": "", **environment}
        done = run_to_the_end(bash, ROOT, told, SCRIPT_S, f"infra/{script.name}")
        if done.returncode:
            raise CheckError(f"infra/{script.name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        named = [line.partition(" ")[::2] for line in files.read().splitlines()]
        return notes.read().splitlines(), dict(named)


def removal_of_all() -> list[str]:
    """What the removal would run after the script, where another environment (`bi2`) is in the project, too."""
    made = [shlex.split(command) for command in commands_of_script(missing=True)]
    granted = [(_flag(words, "role"), _flag(words, "member")) for words in made if words[1:3] == _GRANT]
    granted.append(("roles/viewer", f"serviceAccount:bi2-build@{ARGUMENTS[0]}.iam.gserviceaccount.com"))
    roles = [words[4] for words in made if words[1:4] == ["iam", "roles", "create"]]
    return commands_of_removal("\n".join("|".join(pair) for pair in granted), " ".join(roles))


def left_behind() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """What the script makes and the removal leaves, and what the removal takes away that is neither the script's nor the functions'.

    As (kind, name). What belongs to something goes with it: indexes with their database, grants on a queue with the queue.
    """
    made = {one for command in commands_of_script(missing=True) if (one := _made(shlex.split(command)))}
    removed = {one for command in removal_of_all() if (one := _removed(shlex.split(command)))}
    own = {("scheduler jobs", "bi-schedule-01ke70ehg0txapbgjgxdvk3037")}
    own |= {("secrets", name) for name in ("bi-connector-sheets", "bi-channel-team")}
    return made - removed, removed - made - own


_GRANT = ["projects", "add-iam-policy-binding"]
_EXCLUSION = ["logging", "sinks", "update", "_Default"]
_KINDS = (
    "functions",
    "scheduler jobs",
    "tasks queues",
    "artifacts repositories",
    "storage buckets",
    "firestore databases",
    "iam service-accounts",
    "iam roles",
)


def _made(words: list[str]) -> tuple[str, str] | None:
    if words[1:3] == _GRANT:
        return "grant", f"{_flag(words, 'role')} {_flag(words, 'member')}"
    if words[1:5] == _EXCLUSION:
        return "exclusion", _flag(words, "add-exclusion").partition(",")[0].removeprefix("name=")
    for kind in _KINDS:
        verb = [*kind.split(), "deploy" if kind == "functions" else "create"]
        if words[1 : 1 + len(verb)] == verb:
            rest = words[1 + len(verb) :]
            name = _flag(words, "database") or rest[1 if rest[0] == "http" else 0]
            return kind, f"{name}@{ARGUMENTS[0]}.iam.gserviceaccount.com" if kind == "iam service-accounts" else name
    return None


def _removed(words: list[str]) -> tuple[str, str] | None:
    if words[1:3] == ["projects", "remove-iam-policy-binding"]:
        return "grant", f"{_flag(words, 'role')} {_flag(words, 'member')}"
    if words[1:5] == _EXCLUSION:
        return "exclusion", _flag(words, "remove-exclusions")
    if words[1:3] == ["storage", "rm"]:
        return "storage buckets", words[3]
    for kind in (*_KINDS, "secrets"):
        verb = [*kind.split(), "delete"]
        if words[1 : 1 + len(verb)] == verb:
            return kind, _flag(words, "database") or words[1 + len(verb)]
    return None


def _flag(words: list[str], name: str) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(f"--{name}=")), "")


def lint() -> str:
    """Say how many commands gcloud knows. Raises `CheckError` with gcloud's own complaint about the first that it does not."""
    of_scripts = {*commands_of_script(missing=True), *commands_of_script(missing=False), *removal_of_all()}
    of_moment = commands_of_moment(backup=f"{listing.PLACE}/backups/b", state="SUCCESSFUL")
    every = sorted({*of_scripts, *of_moment, *gcloud_of_guide()})
    commands = list({_form(command): command for command in every}.values())
    program = shutil.which("gcloud")
    if program is None:
        return f"{len(every)} gcloud commands; gcloud is not on this machine, so NOT held to its command tree"
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "commands.json"
        listed.write_text(json.dumps([{"command_string": command} for command in commands]), encoding="utf-8")
        done = subprocess.run(
            [program, "meta", "lint-gcloud-commands", f"--commands-file={listed}"],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": folder,
                "CLOUDSDK_CONFIG": folder,
                "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise CheckError(
            f"gcloud meta lint-gcloud-commands said no JSON: {done.stdout[-500:]}{done.stderr[-1500:]}"
        ) from error
    wrong = [f"{one['command_string']}\n  {one['error_message']}" for one in found if not one["success"]]
    if wrong:
        raise CheckError("gcloud does not know:\n" + "\n".join(wrong[:5]))
    if len(found) != len(commands):
        raise CheckError(f"gcloud looked at {len(found)} of {len(commands)} commands")
    held = listing.hold(program, every)
    caught = len(listing.WRONG)
    return f"{len(every)} gcloud commands, of {len(found)} forms, are gcloud's; {held} listings list what is ours, {caught} mistakes caught"


def _form(command: str) -> str:
    """Return a command without the names that are ours: gcloud looks at commands, flags and the form of values, not at those."""
    words = [re.sub(r"(?<==).*(bi[-_]|example|BI|\.).*", "…", word) for word in shlex.split(command)]
    return " ".join(re.sub(r"^(bi[-_]|example|gs://|projects/|my-project).*", "…", word) for word in words)
