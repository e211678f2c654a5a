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
import tempfile
from pathlib import Path

from infra.check.guide import gcloud_of_guide
from infra.check.terraform import ROOT, CheckError

SCRIPT = ROOT / "infra" / "gcloud.sh"
ARGUMENTS = ("example-project", "europe-west1", "bi", "ada@example.org")
_NOTES = r"""
gcloud() {
  { printf 'gcloud'; printf ' %q' "$@"; echo; } >>"$NOTES"
  case "$*" in
    "projects describe"*) echo 123456789012 ;;
    *describe*) return "$MISSING" ;;
  esac
}
"""


def commands_of_script(*, missing: bool, admin: str = ARGUMENTS[-1]) -> list[str]:
    """What the script would run, once on an empty project (`missing`) and once where everything is there."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as notes:
        done = subprocess.run(
            ["bash", "-c", f'{_NOTES}\nsource "$0" "$@"', str(SCRIPT), *ARGUMENTS[:-1], admin],
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), "NOTES": notes.name, "MISSING": "1" if missing else "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise CheckError(f"infra/gcloud.sh ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return notes.read().splitlines()


def lint() -> str:
    """Say how many commands gcloud knows. Raises `CheckError` with gcloud's own complaint about the first that it does not."""
    every = sorted({*commands_of_script(missing=True), *commands_of_script(missing=False), *gcloud_of_guide()})
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
    return f"{len(every)} gcloud commands, of {len(found)} forms, are gcloud's"


def _form(command: str) -> str:
    """Return a command without the names that are ours: gcloud looks at commands, flags and the form of values, not at those."""
    words = [re.sub(r"(?<==).*(bi[-_]|example|BI|\.).*", "…", word) for word in shlex.split(command)]
    return " ".join(re.sub(r"^(bi[-_]|example|gs://|projects/|my-project).*", "…", word) for word in words)
