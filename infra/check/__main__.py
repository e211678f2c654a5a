"""`make infra-check`: format, schema, plan, tests, inventory, policies, mutants and checkov, offline. Nothing is ever applied."""

from __future__ import annotations

import collections
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.check import guide, real
from infra.check.gcloud import lint, urls_of_script
from infra.check.mutants import MUTANTS, SCRIPT_MUTANTS, Mutant, script_survivor, survivor
from infra.check.plan import Plan
from infra.check.planned import outcome_of_plan
from infra.check.policies import POLICIES, violations
from infra.check.terraform import ROOT, SOURCE, CheckError, Terraform, copy_of, find, run_to_the_end, stop_on_signals

EXAMPLE = ROOT / "infra" / "check" / "example.tfvars"
PLAIN = ROOT / "infra" / "check" / "plain.tfvars"
AT_ONCE = 2
"""Mistakes judged at once; each plan keeps about one core busy."""

INVENTORY = ROOT / "infra" / "check" / "inventory.json"
SKIPPED_BY_CHECKOV = {
    "CKV_GCP_62": "access logs of each bucket: only the functions' own accounts may read them, and the audit trail says who exported",
    "CKV_GCP_78": "versions of what is deleted after days, and is erased on request, would keep what must go",
    "CKV_GCP_84": "customer-managed keys of Artifact Registry: Google's own keys encrypt at rest",
}


@dataclass
class Session:
    """One run: where its copy is, what it found."""

    folder: Path
    terraform: Terraform
    place: Path
    plan: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Run all steps; `--accept` writes the inventory anew. 1 if anything is wrong."""
    started = time.monotonic()
    stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="infra-check-") as name:
        try:
            terraform = find(Path(name) / "provider")
            session = Session(Path(name), terraform, copy_of(SOURCE, Path(name) / "copy"))
            for step in STEPS:
                began = time.monotonic()
                said = step(session)
                sys.stdout.write(f"{step.__name__.strip('_'):<12} {said} ({time.monotonic() - began:.0f} s)\n")
                sys.stdout.flush()
                if step is _planned and "--accept" in arguments:
                    INVENTORY.write_text(json.dumps(_counted(session.plan), indent=2) + "\n", encoding="utf-8")
        except CheckError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    mutants = len(MUTANTS) + len(SCRIPT_MUTANTS)
    said = f"{len(_created(session.plan))} resources planned, {len(POLICIES)} policies hold, {mutants}/{mutants} mutants caught"
    sys.stdout.write(
        f"infra-check: {said}, {time.monotonic() - started:.0f} s. Applied to Google Cloud: never from here.\n"
    )
    return 0


def _formatted(session: Session) -> str:
    done = session.terraform.run(session.place, "fmt", "-check", "-diff", "-recursive", check=False)
    if done.returncode:
        raise CheckError(f"terraform fmt would change this:\n{done.stdout[-3000:]}")
    return "as terraform fmt writes it"


def _validated(session: Session) -> str:
    for folder in (session.place, session.place / "bootstrap"):
        session.terraform.run(folder, "init", "-input=false", "-no-color")
        session.terraform.run(folder, "validate", "-no-color")
    return "every attribute, block and type is the provider's"


def _planned(session: Session) -> str:
    session.plan = session.terraform.plan(session.place, EXAMPLE)
    return f"{len(_created(session.plan))} resources of {len(_counted(session.plan))} types"


def _inventory(session: Session) -> str:
    expected, found = json.loads(INVENTORY.read_text(encoding="utf-8")), _counted(session.plan)
    changed = [
        f"{kind}: {expected.get(kind, 0)} before, {found.get(kind, 0)} now"
        for kind in sorted({*expected, *found})
        if expected.get(kind) != found.get(kind)
    ]
    if changed:
        raise CheckError(
            "the plan holds something else than the inventory; if that is meant, make infra-check ACCEPT=1\n"
            + "\n".join(changed)
        )
    return "the plan holds what the inventory lists"


def _policies(session: Session) -> str:
    if found := violations(session.plan):
        raise CheckError("policies are broken:\n" + "\n".join(found))
    return f"{len(POLICIES)} hold"


def _plainly(session: Session) -> str:
    plan = session.terraform.plan(session.place, PLAIN)
    if found := violations(plan):
        raise CheckError("policies are broken without any option:\n" + "\n".join(found))
    return f"{len(_created(plan))} resources without any option, for which all policies hold"


def _tested(session: Session) -> str:
    said = []
    for folder in (session.place, session.place / "bootstrap"):
        done = session.terraform.run(folder, "test", "-no-color", check=False)
        if done.returncode:
            raise CheckError(f"terraform test failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        said.append(done.stdout.strip().splitlines()[-1])
    return " ".join(said)


def _mutated(session: Session) -> str:
    root = session.folder / "copy"
    places = [session.place, *(_twin(session, root, number) for number in range(1, AT_ONCE))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shares = pool.map(_survivors, [session] * AT_ONCE, places, (MUTANTS[n::AT_ONCE] for n in range(AT_ONCE)))
        found = [sentence for share in shares for sentence in share]
    planned = outcome_of_plan(Plan(session.plan))
    found += [script_survivor(planned, session.folder, mutant) for mutant in SCRIPT_MUTANTS]
    if survived := [sentence for sentence in found if sentence]:
        raise CheckError("mistakes that nothing caught:\n" + "\n".join(survived))
    return f"{len(found)} of {len(found)} mistakes caught, {len(SCRIPT_MUTANTS)} of them in gcloud.sh"


def _twin(session: Session, root: Path, number: int) -> Path:
    """Another initialised copy, so that mistakes are seeded in each at the same time."""
    twin = root.with_name(f"copy{number}")
    shutil.copytree(root, twin, symlinks=True)
    return twin / session.place.relative_to(root)


def _survivors(session: Session, place: Path, mutants: tuple[Mutant, ...]) -> list[str | None]:
    return [survivor(session.terraform, place, EXAMPLE, mutant) for mutant in mutants]


def _checkov(session: Session) -> str:
    program = shutil.which("checkov", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise CheckError("checkov is not here; make infra-check installs it")
    command = [
        program,
        "--directory",
        str(session.place),
        "--framework",
        "terraform",
        "--skip-download",
        "--quiet",
        "--compact",
    ]
    command += ["--skip-check", ",".join(SKIPPED_BY_CHECKOV), "--output", "json"]
    done = run_to_the_end(command, ROOT, _offline(), 300, "checkov")
    try:
        summary = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise CheckError(f"checkov said no JSON: {done.stdout[-500:]}{done.stderr[-1000:]}") from error
    failed = [f"{f['check_id']} {f['resource']}: {f['check_name']}" for f in summary["results"]["failed_checks"]]
    if failed:
        raise CheckError("checkov refuses:\n" + "\n".join(failed))
    return f"{summary['summary']['passed']} checks passed, {len(SKIPPED_BY_CHECKOV)} kinds set aside with a reason"


def _gcloud(session: Session) -> str:  # noqa: ARG001 - every step is called alike
    return lint()


def _guide(session: Session) -> str:
    held = steps = planned = 0
    for way in guide.ways(guide.GUIDE.read_text(encoding="utf-8")):
        seen = guide.walk(way)
        steps += len(way)
        held += guide.of_make(seen) + guide.of_script(seen) + real.of_git(seen) + real.of_curl(seen)
        held += guide.of_terraform(seen, session.terraform)
        known = guide.of_environments(seen, session.terraform, session.place)
        for one in seen.of("infra/gcloud.sh"):
            known |= urls_of_script(one.words[1:])
        guide.of_addresses(seen, known)
        planned += len(seen.environments)
    return f"{steps} steps walked on two ways, {held} lines are make's, git's, curl's, Terraform's and ours, {planned} environments planned"


def _offline() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": tempfile.gettempdir(),
        "CHECKOV_RUN_SCA_PACKAGE_SCAN": "false",
    }


def _created(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [change for change in plan["resource_changes"] if "create" in change["change"]["actions"]]


def _counted(plan: dict[str, Any]) -> dict[str, int]:
    return dict(sorted(collections.Counter(change["type"] for change in _created(plan)).items()))


STEPS: tuple[Callable[[Session], str], ...] = (
    _formatted,
    _validated,
    _planned,
    _inventory,
    _policies,
    _plainly,
    _tested,
    _checkov,
    _gcloud,
    _guide,
    _mutated,
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
